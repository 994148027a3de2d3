"""Many commands, few round trips: what is requested in one turn of the event loop goes out as one pipeline of redis-py's.

With a command each, a check would take over a quarter more CPU (docs/performance.md; bench/variants.py measures it). No transaction: each command
succeeds or fails by itself. On a cluster commands go one by one: redis-py's pipelines refuse scripts there.

What must not be lost in a failover waits for replicas: WAIT speaks for what its own connection wrote, so it goes out behind the commands, in their pipeline.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.store.connection import words_of
from app.verification.errors import StoreUnavailable

MAX_PIPELINES = 4
"""Pipelines under way at once: behind a server that hangs, commands wait here and are never sent."""

MAX_ALONE = 64
"""Commands under way at once on a cluster: redis-py has a connection for each, and fails those beyond its 100."""

MAX_COMMANDS = 256
"""Commands in one pipeline."""

MAX_WAITING = 10_000
"""Commands that wait for a pipeline: beyond that the store is unavailable at once, rather than after a long wait."""

LOST = (RedisConnectionError, RedisTimeoutError, OSError)
"""What a node that is gone makes of a command."""

Command = tuple[str | int | bytes, ...]


@dataclass(frozen=True, slots=True)
class Replication:
    """How many replicas must have what a command wrote before it counts as written, and the seconds that they have for that."""

    replicas: int = 0
    timeout: float = 0.3

    @property
    def command(self) -> Command:
        """Waits for the replicas, and returns how many have all that its own connection has written."""
        return ("WAIT", self.replicas, max(1, round(self.timeout * 1000)))


@dataclass(frozen=True, slots=True)
class _Waiting:
    command: Command
    answer: "asyncio.Future[Any]"
    since: float
    replicated: bool


class Pipelines:
    """Sends commands over a client's connections. One for each event loop."""

    def __init__(
        self, client: "Redis | RedisCluster", timeout: float, replication: Replication = Replication()
    ) -> None:
        """Send to a client's server, which answers within `timeout` seconds or not at all."""
        self._client = client
        self._timeout = timeout
        self._replication = replication
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(MAX_ALONE)

    async def execute(self, *command: str | int | bytes, replicated: bool = False) -> tuple[Any, bool]:
        """Run one command; its reply, and, where `replicated` asks for that, whether enough replicas have what it wrote.

        Raises:
            StoreUnavailable: the server did not answer in time (twice the timeout at most), or too many commands wait.
            RedisError: the server refused this command.
        """
        replicated = replicated and self._replication.replicas > 0
        if isinstance(self._client, RedisCluster):
            reply, reached = await self._alone(self._client, command, replicated=replicated)
        else:
            reply, reached = await self._together(command, replicated=replicated)
        if isinstance(reached, Exception):
            raise reached
        return reply, not replicated or reached >= self._replication.replicas

    async def aclose(self) -> None:
        """Wait for what is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    # ---- on a cluster

    async def _alone(self, client: RedisCluster, command: Command, *, replicated: bool) -> tuple[Any, Any]:
        try:
            # Longer than the client waits for one server: it must notice itself that a node hangs, or it never looks for the one that took over.
            async with asyncio.timeout(2 * self._timeout), self._turns:
                if replicated:
                    return await self._on_one_node(client, command)
                return await client.execute_command(*command), None
        except RedisError:
            raise
        except Exception as error:
            # Not only what a server does: a connection that redis-py closes under another command fails it with an AttributeError.
            raise StoreUnavailable(words_of(error)) from error

    async def _on_one_node(self, client: RedisCluster, command: Command) -> tuple[Any, Any]:
        """Run a script and wait for the replicas of the node that executed it."""
        key = command[3]
        for _ in range(2):
            await client.initialize()
            node, pipeline = client.get_node_from_key(str(key)), client.pipeline()
            pipeline.execute_command(*command, target_nodes=node)
            pipeline.execute_command(*self._replication.command, target_nodes=node)
            # A redirected command would leave its WAIT behind.
            reply, reached = await pipeline.execute(raise_on_error=False, allow_redirections=False)
            if not isinstance(reply, MovedError):
                break
            await client.execute_command("EVAL", "return 1", 1, key)  # learns where the slot went; nothing ran so far
        if isinstance(reply, Exception):
            if isinstance(reply, LOST):
                await client.aclose()  # it looks for the nodes again when it is next used
            raise reply
        return reply, reached

    # ---- on any other server

    async def _together(self, command: Command, *, replicated: bool) -> tuple[Any, Any]:
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable("too many commands wait for the store", sent=False)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(command, loop.create_future(), loop.time(), replicated)
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        answer: tuple[Any, Any] = await waiting.answer
        return answer

    def _flush(self) -> None:
        while self._waiting and len(self._under_way) < MAX_PIPELINES:
            if batch := self._next_batch():
                task = asyncio.ensure_future(self._send(batch))
                self._under_way.add(task)
                task.add_done_callback(self._sent)

    def _next_batch(self) -> list[_Waiting]:
        """The oldest commands that someone still waits for. Those that waited too long fail, and are never sent."""
        batch: list[_Waiting] = []
        outdated = asyncio.get_running_loop().time() - self._timeout
        while self._waiting and len(batch) < MAX_COMMANDS:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            if waiting.since < outdated:
                waiting.answer.set_exception(
                    StoreUnavailable("the store is too slow: the command was never sent", sent=False)
                )
            else:
                batch.append(waiting)
        return batch

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._flush()

    async def _send(self, batch: list[_Waiting]) -> None:
        reached = None
        try:
            async with asyncio.timeout(self._timeout):
                replies, reached = await self._execute(batch)
        except Exception as error:  # noqa: BLE001  whatever it is, no caller may wait without end
            replies = [StoreUnavailable(words_of(error))] * len(batch)
        for waiting, reply in zip(batch, replies, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(reply, Exception):
                waiting.answer.set_exception(reply)
            else:
                waiting.answer.set_result((reply, reached if waiting.replicated else None))

    async def _execute(self, batch: list[_Waiting]) -> tuple[list[Any], Any]:
        """Of each command its reply or error; and how many replicas have them, where a command asks for that."""
        replicated = any(waiting.replicated for waiting in batch)
        pipeline = self._client.pipeline(transaction=False)
        for waiting in batch:
            pipeline.execute_command(*waiting.command)
        if replicated:
            pipeline.execute_command(*self._replication.command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        if isinstance(self._client, Redis) and any(isinstance(reply, ReadOnlyError) for reply in replies):
            # The server is no primary any more: its name may lead to another one by now.
            await self._client.connection_pool.disconnect(inuse_connections=False)
        reached = replies.pop() if replicated else None
        return replies, reached

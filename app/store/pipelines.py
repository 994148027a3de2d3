"""Many commands, few round trips: what is requested in one turn of the event loop goes out as one pipeline of redis-py's.

With a command each, a check would take over a quarter more CPU (docs/performance.md; bench/variants.py measures it). No transaction: each command
succeeds or fails by itself. On a cluster commands go one by one: redis-py's pipelines refuse scripts there.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ReadOnlyError, RedisError

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

Command = tuple[str | int | bytes, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    command: Command
    answer: "asyncio.Future[Any]"
    since: float


class Pipelines:
    """Sends commands over a client's connections. One for each event loop."""

    def __init__(self, client: "Redis | RedisCluster", timeout: float) -> None:
        """Send to a client's server, which answers within `timeout` seconds or not at all."""
        self._client = client
        self._timeout = timeout
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._turns = asyncio.Semaphore(MAX_ALONE)

    async def run(self, *command: str | int | bytes) -> Any:  # noqa: ANN401  a Redis reply has the type that its command gives it
        """Run one command.

        Raises:
            StoreUnavailable: the server did not answer in time (twice the timeout at most), or too many commands wait.
            RedisError: the server refused this command.
        """
        if isinstance(self._client, RedisCluster):
            return await self._alone(command)
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable("too many commands wait for the store", sent=False)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(command, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return await waiting.answer

    async def aclose(self) -> None:
        """Wait for what is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _alone(self, command: Command) -> Any:  # noqa: ANN401  as above
        try:
            # Longer than the client waits for one server: it must notice itself that a node hangs, or it never looks for the one that took over.
            async with asyncio.timeout(2 * self._timeout), self._turns:
                return await self._client.execute_command(*command)
        except RedisError:
            raise
        except (
            Exception
        ) as error:  # a connection that redis-py closes under another command fails it with an AttributeError
            raise StoreUnavailable(words_of(error)) from error

    def _flush(self) -> None:
        self._scheduled = False
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
        replies: list[Any]
        try:
            async with asyncio.timeout(self._timeout):
                replies = await self._execute([waiting.command for waiting in batch])
        except Exception as error:  # noqa: BLE001  whatever it is, no caller may wait without end
            replies = [StoreUnavailable(words_of(error))] * len(batch)
        for waiting, reply in zip(batch, replies, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(reply, Exception):
                waiting.answer.set_exception(reply)
            else:
                waiting.answer.set_result(reply)

    async def _execute(self, commands: list[Command]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        if isinstance(self._client, Redis) and any(isinstance(reply, ReadOnlyError) for reply in replies):
            # The server is no primary any more: its name may lead to another one by now.
            await self._client.connection_pool.disconnect(inuse_connections=False)
        return replies

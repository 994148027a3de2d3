"""Many commands, few round trips: what is asked in one turn of the event loop goes out as one pipeline.

The pipeline is no transaction: each command succeeds or fails by itself. docs/performance.md has what it gains.
"""

import asyncio
from collections import deque
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.verification.errors import StoreUnavailable

MOST_IN_A_PIPELINE = 64
"""Commands: more would make the first ones wait for the last ones' answers."""

MOST_PIPELINES = 2
"""Pipelines under way at once, each on a connection of its own: while one waits, the next is filled."""

MOST_WAITING = 10_000
"""Commands: beyond that a caller is told at once that the store is unavailable, rather than after a long wait."""

Command = tuple[Any, ...]


class Coalescer:
    """Sends commands as pipelines. One for each event loop."""

    def __init__(self, client: "Redis", patience: float = 1.0) -> None:
        """Send through a client.

        Args:
            client: of a server; its own timeout bounds each pipeline.
            patience: seconds that a command waits for its pipeline at most: behind a server that hangs, waiting is of no use.
        """
        self._client = client
        self._patience = patience
        self._waiting: deque[tuple[Command, asyncio.Future[Any], float]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def run(self, *command: Any) -> Any:  # noqa: ANN401  a Redis answer has the type that its command gives it
        """Run one command.

        A caller that gives up waiting takes nothing from its neighbours; its own command may still be carried out.

        Raises:
            StoreUnavailable: too many commands wait already, or the server did not answer in time.
            RedisError: the server refused this very command.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many commands wait for the store")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answer, loop.time() + self._patience))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return await answer

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._under_way) < MOST_PIPELINES:
            batch = self._next_batch()
            if not batch:
                continue
            task = asyncio.ensure_future(self._send(batch))
            self._under_way.add(task)
            task.add_done_callback(self._sent)

    def _next_batch(self) -> list[tuple[Command, "asyncio.Future[Any]"]]:
        """What goes out next: neither what nobody waits for any more nor what has waited too long."""
        now = asyncio.get_running_loop().time()
        batch: list[tuple[Command, asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < MOST_IN_A_PIPELINE:
            command, answer, until = self._waiting.popleft()
            if answer.done():
                continue
            if now > until:
                answer.set_exception(StoreUnavailable("the store is too slow: the command was never sent"))
            else:
                batch.append((command, answer))
        return batch

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._flush()

    async def _send(self, batch: list[tuple[Command, "asyncio.Future[Any]"]]) -> None:
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for command, _ in batch:
                    pipeline.execute_command(*command)
                answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as fault:
            answers = [StoreUnavailable(f"{type(fault).__name__}: {fault}")] * len(batch)
        except BaseException as fault:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(StoreUnavailable(f"{type(fault).__name__}"))
            raise
        for (_, answer), value in zip(batch, answers, strict=True):
            if answer.done():
                continue
            if isinstance(value, BaseException):
                answer.set_exception(value)
            else:
                answer.set_result(value)

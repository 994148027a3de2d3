"""Commands that show whether they were executed, and how often: each increments a key of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from app.store.connection import FAILURES, connect
from app.store.pipelines import Pipelines, Replication
from app.verification.errors import StoreUnavailable
from tests.harness import PREFIX

TIMEOUT = 1.0
"""Seconds: what REDIS_TIMEOUT is by default."""

AT_ONCE = 8
NONE = Replication()


@dataclass
class Traffic:
    """What was sent, and what came back."""

    pipelines: Pipelines
    sent: int = 0
    answered: set[int] = field(default_factory=set)
    failed: int = 0
    stopped: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._one_after_another() for _ in range(AT_ONCE)))

    async def _one_after_another(self) -> None:
        while not self.stopped:
            number, self.sent = self.sent, self.sent + 1
            try:
                await self.increment(number)
            except (StoreUnavailable, *FAILURES):
                self.failed += 1
                await asyncio.sleep(0.05)
            else:
                self.answered.add(number)
                await asyncio.sleep(0.002)

    async def increment(self, number: int) -> None:
        script = "return redis.call('INCR', KEYS[1])"
        _, reached = await self.pipelines.execute("EVAL", script, 1, f"{PREFIX}traffic:{number}", replicated=True)
        if not reached:
            raise StoreUnavailable("too few replicas")

    async def more(self, seconds: float = 30) -> None:
        """Wait until commands are answered again: ten of those sent from now on."""
        known = len(self.answered)
        async with asyncio.timeout(seconds):
            while len(self.answered) < known + 10:  # noqa: ASYNC110  no event tells of an answer
                await asyncio.sleep(0.02)

    async def counts(self) -> dict[int, int]:
        """How often each command was executed, as far as the server that has the keys now knows."""
        found = [await self._count(number) for number in range(self.sent)]
        return dict(enumerate(found))

    async def _count(self, number: int) -> int:
        while True:
            with suppress(StoreUnavailable, RedisError):
                return int(await self.pipelines.run("GET", f"{PREFIX}traffic:{number}") or 0)


@asynccontextmanager
async def traffic(url: str, replication: Replication = NONE) -> AsyncIterator[Traffic]:
    """Traffic to a store until the block ends."""
    async with connect(url, TIMEOUT) as client:
        pipelines = Pipelines(client, TIMEOUT, replication)
        found = Traffic(pipelines)
        running = asyncio.create_task(found.run())
        try:
            await found.more()
            yield found
        finally:
            found.stopped = True
            await asyncio.wait_for(running, 30)
            await pipelines.aclose()

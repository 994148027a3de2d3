"""Commands that show whether they were executed, and how often: each increments a key of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from app.store.connection import FAILURES, connect
from app.store.pipelines import Pipelines, Replication
from app.verification.errors import StoreUnavailable
from tests.harness import PREFIX
from tests.server import ask

TIMEOUT = 1.0
"""Seconds: what REDIS_TIMEOUT is by default."""

AT_ONCE = 8
NONE = Replication()


@dataclass
class Traffic:
    """What was sent, and what came back."""

    pipelines: Pipelines
    replication: Replication
    sent: int = 0
    answered: set[int] = field(default_factory=set)
    stopped: bool = False

    async def one_after_another(self) -> None:
        while not self.stopped:
            number, self.sent = self.sent, self.sent + 1
            try:
                await self._increment(number)
            except (StoreUnavailable, *FAILURES):
                await asyncio.sleep(0.05)
            else:
                self.answered.add(number)
                await asyncio.sleep(0.002)

    async def _increment(self, number: int) -> None:
        script = "return redis.call('INCR', KEYS[1])"
        _, reached = await self.pipelines.execute("EVAL", script, 1, f"{PREFIX}traffic:{number}", replicated=True)
        if not reached:
            raise StoreUnavailable("too few replicas")

    async def more(self) -> None:
        """Wait until commands are answered again: ten of those sent from now on."""
        known = len(self.answered)
        async with asyncio.timeout(30):
            while len(self.answered) < known + 10:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.02)

    async def audit(self) -> None:
        """No command was executed twice; with replicas that acknowledge, each one that was answered is there."""
        await self.more()
        self.stopped = True
        counts = [await self._count(number) for number in range(self.sent)]
        assert set(counts) <= {0, 1}, counts
        assert sum(counts) >= 10, "few were executed: this shows nothing"
        if self.replication != NONE:
            assert [number for number in self.answered if not counts[number]] == []

    async def _count(self, number: int) -> int:
        """How often a command was executed, as far as the server that has its key now knows."""
        while True:
            with suppress(StoreUnavailable, RedisError):
                return int(await ask(self.pipelines, "GET", f"{PREFIX}traffic:{number}") or 0)


@asynccontextmanager
async def traffic(url: str, replication: Replication = NONE) -> AsyncIterator[Traffic]:
    """Traffic to a store until the block ends."""
    async with (
        connect(url, TIMEOUT) as client,
        aclosing(Pipelines(client, TIMEOUT, replication)) as pipelines,
        asyncio.TaskGroup() as senders,
    ):
        found = Traffic(pipelines, replication)
        for _ in range(AT_ONCE):
            senders.create_task(found.one_after_another())
        try:
            await found.more()
            yield found
        finally:
            found.stopped = True

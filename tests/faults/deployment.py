"""A deployment that faults are injected into: two workers, a store and a provider, each behind a relay."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.store.connection import connect
from tests.faults.relay import Relay
from tests.harness import Service, Simulator, serving, simulating
from tests.server import Server

PRICE = 0.35
LIMITED = 3
"""Calls an hour of the client `limited`."""

CALL_DEADLINE = 11
"""Seconds after which nothing may wait for a call any more, by the settings below (app/settings.py, `_policy`)."""

COOLDOWN = 5
"""Seconds until a phone may be called again: the least that may be set."""

SETTINGS = {
    "RESEND_COOLDOWNS": str(COOLDOWN),
    "REDIS_TIMEOUT": "0.5",
    "PROVIDER_CONNECT_TIMEOUT": "0.5",
    "PROVIDER_READ_TIMEOUT": "1",
    "PROVIDER_POOL_TIMEOUT": "1",
}


@dataclass
class Deployment:
    """What runs, and what happened to it.

    Attributes:
        store, provider: the relays before them.
        era: how often the store was emptied: what was known before is forgotten.
        kills: workers that were killed.
    """

    service: Service
    simulator: Simulator
    server: Server
    store: Relay
    provider: Relay
    era: int = 0
    kills: int = 0

    async def command(self, *words: str | int) -> object:
        """Run a command at the store itself, past the relay."""
        async with connect(self.server.url, 2) as client:
            return await client.execute_command(*words)

    async def restart_store(self, *, empty: bool = False, **options: str) -> None:
        await asyncio.to_thread(self.server.stop)
        if empty:
            shutil.rmtree(self.server.directory / "appendonlydir", ignore_errors=True)
            self.era += 1
        await asyncio.to_thread(self.server.start, **options)

    def owners_of(self, port: int) -> list[int]:
        """The worker that has a connection from this port."""
        return [worker for worker in self.service.workers() if port in _ports_of(worker)]

    def kill(self, worker: int) -> None:
        with suppress(ProcessLookupError):  # it was killed already
            os.kill(worker, signal.SIGKILL)
            self.kills += 1


def _ports_of(process: int) -> set[int]:
    """The local TCP ports of a process's connections."""
    owned = set()
    for descriptor in Path(f"/proc/{process}/fd").glob("*"):
        with suppress(OSError):  # it was closed meanwhile
            owned.add(str(descriptor.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in owned}


@asynccontextmanager
async def deployed(directory: Path) -> AsyncIterator[Deployment]:
    """A deployment in a directory."""
    server = Server(directory / "store", appendonly="yes", appendfsync="always", logfile=str(directory / "store.log"))
    store = Relay(server.port)
    await store.start()
    try:
        with simulating(directory / "simulator") as simulator:
            provider = Relay(urlsplit(simulator.url).port or 0)
            await provider.start()
            send = f"http://127.0.0.1:{provider.port}{urlsplit(simulator.send_url).path}"
            url = f"redis://127.0.0.1:{store.port}/0"
            # The service's own start and end are waited for elsewhere: the relays run in this loop.
            running = serving(directory / "service", send, REDIS_URL=url, **SETTINGS)
            service = await asyncio.to_thread(running.__enter__)
            try:
                yield Deployment(service, simulator, server, store, provider)
            finally:
                await asyncio.to_thread(running.__exit__, None, None, None)
                await provider.stop()
    finally:
        await store.stop()
        server.stop()

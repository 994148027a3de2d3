"""A deployment that faults are injected into: two workers, a store and a provider, each behind a TCP relay."""

import asyncio
import os
import shutil
import signal
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from app.store.connection import connect
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

CHUNK = 65536
UP, DOWN = "up", "down"


@dataclass(eq=False)
class Link:
    """One connection through the relay: to the client and to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    @property
    def client_port(self) -> int:
        return int(self.client.get_extra_info("peername")[1])

    async def send(self, direction: str, data: bytes) -> None:
        side = self.server if direction == UP else self.client
        side.write(data)
        await side.drain()

    def reset(self) -> None:
        """End both sides at once, as a firewall does."""
        for side in (self.client, self.server):
            with suppress(OSError):
                connection: socket.socket = side.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.transport.abort()

    def half_close(self) -> None:
        """The server says no more, but still listens."""
        with suppress(OSError):
            self.client.write_eof()


Trap = Callable[[Link, str, bytes], Awaitable[bytes]]
"""Gets each piece and its direction, empty at the end; returns what is passed on, when it is."""


async def passing(_: Link, __: str, data: bytes) -> bytes:
    return data


@dataclass
class Relay:
    """Listens on a port of its own, and passes on to another."""

    target: int
    port: int = 0
    accepts: bool = True
    links: set[Link] = field(default_factory=set)
    _trap: Trap = passing
    _server: asyncio.Server | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        for link in list(self.links):
            link.reset()

    def half_close(self) -> None:
        for link in list(self.links):
            link.half_close()

    @contextmanager
    def trapping(self, trap: Trap) -> Iterator[None]:
        self._trap = trap
        try:
            yield
        finally:
            self._trap = passing

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self.accepts:
                raise ConnectionRefusedError
            server_reader, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server)
        self.links.add(link)
        pumps = {
            asyncio.create_task(self._pump(link, UP, reader)),
            asyncio.create_task(self._pump(link, DOWN, server_reader)),
        }
        self._tasks |= pumps
        try:
            await asyncio.wait(pumps)
        finally:
            self._tasks -= pumps
            self.links.discard(link)
            for side in (writer, server):
                side.close()

    async def _pump(self, link: Link, direction: str, source: asyncio.StreamReader) -> None:
        with suppress(OSError, RuntimeError):  # a side that was closed, or half closed
            while data := await source.read(CHUNK):
                await link.send(direction, await self._trap(link, direction, data))
            await self._trap(link, direction, b"")
            (link.server if direction == UP else link.client).write_eof()


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

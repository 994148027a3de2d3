"""A TCP relay between two programs: whoever sets its trap decides what becomes of each piece that is sent."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

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

"""A TCP relay between two programs, which delays, cuts, throttles, resets, half-closes, and drops answers."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

CHUNK = 65536
Direction = str
UP, DOWN = "up", "down"


class Mode(Enum):
    """What becomes of what is sent."""

    PASS = "pass"
    HOLD = "hold"  # it arrives once the mode ends
    DROP_ANSWERS = (
        "drop_answers"  # what the client says arrives; what the server says is lost, and the connection with it
    )
    DROP_REQUESTS = "drop_requests"  # what the client says is lost, and the connection stays open
    CUT = "cut"  # no connection, old or new


@dataclass(eq=False)
class Link:
    """One connection through the relay: to the client and to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    @property
    def client_port(self) -> int:
        return int(self.client.get_extra_info("peername")[1])

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


Trap = Callable[[Link, Direction, bytes], Awaitable[bool]]
"""Sees each piece before it is passed on; whether it lets it pass."""


@dataclass
class Relay:
    """Listens on a port of its own, and passes on to another.

    Attributes:
        mode: of all connections.
        delay: seconds that each piece is late.
        rate: bytes a second of each direction; None without a limit.
        trap: looks at each piece; None for none.
    """

    target: int
    mode: Mode = Mode.PASS
    delay: float = 0.0
    rate: int | None = None
    trap: Trap | None = None
    port: int = 0
    links: set[Link] = field(default_factory=set)
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

    def heal(self) -> None:
        """From now on everything passes. What answers were dropped on is ended: its next answer would be taken for the lost one."""
        if self.mode is Mode.DROP_ANSWERS:
            self.reset()
        self.mode, self.delay, self.rate, self.trap = Mode.PASS, 0.0, None, None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            server_reader, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server)
        self.links.add(link)
        pumps = [
            asyncio.create_task(self._pump(link, UP, reader, server)),
            asyncio.create_task(self._pump(link, DOWN, server_reader, writer)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.wait(pumps)
        finally:
            self._tasks.difference_update(pumps)
            self.links.discard(link)
            for side in (writer, server):
                side.close()

    async def _pump(
        self, link: Link, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError, RuntimeError):  # a side that was closed, or half closed
            while data := await source.read(CHUNK):
                if await self._passes(link, direction, data):
                    await self._write(sink, data)
            await self._wait_while_held()
            sink.write_eof()

    async def _passes(self, link: Link, direction: Direction, data: bytes) -> bool:
        if self.trap and not await self.trap(link, direction, data):
            return False
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._wait_while_held()
        dropped = {Mode.DROP_ANSWERS: DOWN, Mode.DROP_REQUESTS: UP}.get(self.mode)
        return direction != dropped

    async def _wait_while_held(self) -> None:
        while self.mode is Mode.HOLD:  # noqa: ASYNC110  whoever sets the mode knows of no waiter
            await asyncio.sleep(0.01)

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            piece, data = (
                (data[: max(1, self.rate // 50)], data[max(1, self.rate // 50) :]) if self.rate else (data, b"")
            )
            sink.write(piece)
            await sink.drain()
            if data:
                await asyncio.sleep(0.02)

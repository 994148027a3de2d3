"""A relay between a client and a real server, which loses replies on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.store.connection import StoreUrl, parse_url
from app.store.embedded import socket_of


class Proxy:
    """A relay to a server that loses what the server says to the next command that a test names."""

    def __init__(self) -> None:
        self.lose: bytes | None = None
        self.lost = 0

    @asynccontextmanager
    async def between(self, url: str, where: Path | int) -> AsyncIterator[str]:
        """Relay to a server from a socket or a port; yields that address."""
        server = parse_url(url)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await self._connect(server)
            back = asyncio.ensure_future(self._copy(up_reader, writer))
            with suppress(ConnectionError):
                while data := await reader.read(1 << 20):
                    if self.lose and self.lose in data:
                        back.cancel()
                        await asyncio.wait([back])
                        self.lose, self.lost = None, self.lost + 1
                        up_writer.write(data)
                        await up_reader.read(1 << 20)  # it was executed
                        break
                    up_writer.write(data)
            for each in (writer, up_writer):
                each.close()

        serving = (
            asyncio.start_unix_server(relay, str(where))
            if isinstance(where, Path)
            else asyncio.start_server(relay, "127.0.0.1", where)
        )
        async with await serving:
            yield f"unix://{where}"
            await asyncio.sleep(0.01)  # the relay's side of the connections ends too

    @staticmethod
    async def _connect(server: StoreUrl) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if server.kind == "standalone":
            return await asyncio.open_connection(*server.hosts[0])
        assert server.path
        path = socket_of(server.path) if server.kind == "embedded" else server.path
        return await asyncio.open_unix_connection(path)

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            writer.write(data)

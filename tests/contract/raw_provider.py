"""A provider made of raw bytes on loopback: it can answer anything, and do to a connection whatever a network does."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[bool]]
"""What is done to a connection when a request was read; whether the connection lives on."""


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(body: bytes | dict[str, Any], status: int = 200, *headers: str, length: int | None = None) -> Behaviour:
    """Answer and keep the connection; a `length` beyond the body's announces more than comes, and closes."""
    payload = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    lines = (
        f"HTTP/1.1 {status} X",
        "Content-Type: application/json",
        f"Content-Length: {length or len(payload)}",
        *headers,
    )
    return send("\r\n".join(lines).encode() + b"\r\n\r\n" + payload, keep=length is None)


def send(data: bytes, *, keep: bool = False) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return keep

    return behave


def drip(data: bytes, seconds: float) -> Behaviour:
    """Send byte after byte, with a pause before each."""

    async def behave(writer: asyncio.StreamWriter) -> bool:
        for byte in data:
            await asyncio.sleep(seconds)
            writer.write(bytes([byte]))
            await writer.drain()
        return True

    return behave


def flood(head: bytes) -> Behaviour:
    """Send without end."""

    async def behave(writer: asyncio.StreamWriter) -> bool:
        writer.write(head)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    return behave


async def hang(_writer: asyncio.StreamWriter) -> bool:
    await asyncio.Event().wait()
    return False


async def close(_writer: asyncio.StreamWriter) -> bool:
    return False


async def reset(writer: asyncio.StreamWriter) -> bool:
    writer.transport.abort()
    return False


class RawProvider:
    """Behaves by its script, one entry a request; the last entry stays.

    Attributes:
        requests: all that were read.
        news: notified for each of them, and for each connection that ends.
        connections: how many were made.
        open: how many of them have not ended.
        accepts: False: each connection is closed before a byte is read.
    """

    def __init__(
        self, *script: Behaviour, tls: ssl.SSLContext | None = None, accepts: bool = True, host: str = "127.0.0.1"
    ) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.news = asyncio.Condition()
        self.connections = 0
        self.open = 0
        self.accepts = accepts
        self._tls = tls
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/api/call-password/send/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note(self, request: Request) -> None:
        self.requests.append(request)
        async with self.news:
            self.news.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while self.accepts:
                await self._note(await read_request(reader))
                behave = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if not await behave(writer):
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            async with self.news:
                self.news.notify_all()


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))

"""A server made of raw bytes on loopback: it can answer anything, and do to a connection what a network does."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[bool]]
"""What is done to a connection after a request was read; returns whether the connection stays open."""

OK = {"result": "ok", "id": "1234", "number": "79161234567", "price": "0.35", "code": "0427"}


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def whole(body: bytes | dict[str, Any], status: int = 200, *headers: str, length: int | None = None) -> bytes:
    """A response; `length` announces another length than the body has."""
    payload = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(payload) if length is None else length}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + payload


def send(*parts: bytes, keep: bool = False, pause: float = 0) -> Behaviour:
    """Send bytes, with a pause of so many seconds before each part."""

    async def behave(writer: asyncio.StreamWriter) -> bool:
        for part in parts:
            await asyncio.sleep(pause)
            writer.write(part)
            await writer.drain()
        return keep

    return behave


def answer(body: bytes | dict[str, Any], status: int = 200, *headers: str) -> Behaviour:
    """Answer, and keep the connection open."""
    return send(whole(body, status, *headers), keep=True)


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
        connections: how many were made.
        accepts: False: each connection is closed before a byte is read.
    """

    def __init__(self, *script: Behaviour, tls: ssl.SSLContext | None = None, accepts: bool = True) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.connections = 0
        self.accepts = accepts
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/api/call-password/send/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def read(self, number: int) -> None:
        """Wait until so many requests were read."""
        async with asyncio.timeout(5):
            while len(self.requests) < number:  # noqa: ASYNC110  a test waits for a millisecond or two
                await asyncio.sleep(0.001)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while self.accepts:
                self.requests.append(await _read_request(reader))
                behave = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if not await behave(writer):
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))

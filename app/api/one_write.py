"""uvicorn's HTTP protocol, but answers go to the kernel in one piece each, and all of one turn of the event loop together.

uvicorn writes an answer's head and its body one after the other, each as soon as it is there: two system calls, and whoever waits at the other end is
woken for both. docs/performance.md has what this saves.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CONTINUE = b"HTTP/1.1 100"


class OneWriteProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=…)`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, with a transport that waits for whole answers."""
        self._gathering = _Gathering(transport, _outbox_of(self.loop))
        super().connection_made(cast("asyncio.Transport", self._gathering))

    def on_response_complete(self) -> None:
        """What is written next is another answer's head."""
        self._gathering.head_next = True
        super().on_response_complete()


class _Outbox:
    """What goes out at the end of this turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._out: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        if not self._out:
            self.loop.call_soon(self.flush)
        self._out.append((transport, data))

    def flush(self) -> None:
        out, self._out = self._out, []
        for transport, data in out:
            if not transport.is_closing():
                transport.write(data)


_outbox: _Outbox | None = None


def _outbox_of(loop: asyncio.AbstractEventLoop) -> _Outbox:
    """The outbox of the one event loop that a process runs."""
    global _outbox  # noqa: PLW0603  a protocol is made for each connection, and gets nothing from us
    if _outbox is None or _outbox.loop is not loop:
        _outbox = _Outbox(loop)
    return _outbox


class _Gathering:
    """A transport that keeps an answer's head until its body comes. What ends the connection sends first what there is."""

    def __init__(self, transport: asyncio.Transport, outbox: _Outbox) -> None:
        self._transport, self._outbox = transport, outbox
        self._head = b""
        self.head_next = True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif self.head_next and not data.startswith(_CONTINUE):
            self._head, self.head_next = data, False
            return
        self._outbox.put(self._transport, data)

    def close(self) -> None:
        if self._head:
            self.write(b"")
        self._outbox.flush()
        self._transport.close()

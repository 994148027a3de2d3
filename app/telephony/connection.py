"""One HTTP/1.1 connection (RFC 9112): a request goes out in one write, its answer comes back bounded in size and time.

The answer is parsed by llhttp, Node's parser, through httptools.
"""

import asyncio
import select
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.telephony.answers import MOST_BYTES

_MOST_HEAD = 16 * 1024
"""Bytes of an answer that may be none of its body: status lines, headers, chunks' sizes."""

_FRAMING = (b"content-length", b"transfer-encoding")
"""An answer with neither of these ends when its connection does (RFC 9112, 6.3)."""


class NeverSent(Exception):  # noqa: N818  a fact about a request, and good news
    """Raised only before `transport.write` was called: no byte of the request has left."""


class Cut(Exception):  # noqa: N818  named for what happened
    """The connection ended when the request may have left, and before a whole answer came. Quotes nothing of it."""


class Connection(asyncio.Protocol):
    """Carries one exchange after the other. Made by `loop.create_connection`.

    Args:
        alive: holds it from when the connection stands, TLS and all, until it has ended.

    Attributes:
        usable: whether another request may be sent: nothing has gone wrong, and nothing came that was not asked for.
    """

    def __init__(self, alive: set["Connection"]) -> None:
        self.usable = False
        self._alive = alive
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._ends_itself = False
        self._has_body = False
        self._unread = select.poll()
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        # Two spellings that do no harm and that aiohttp takes too: a rung phone is worth more than a carriage return.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    async def ask(self, request: bytes, seconds: float) -> tuple[int, bytes]:
        """Send a request and wait for its answer's status and body; of a body beyond `MOST_BYTES`, only that it is.

        Args:
            request: head and body.
            seconds: until the answer's last byte, however it drips.

        Raises:
            NeverSent: the connection ended before.
            Exception: anything else: the request may have been sent.
        """
        if not self.usable or self._transport.is_closing():
            raise NeverSent("the connection ended before the request")
        self.usable = False
        self._size, self._ends_itself, self._has_body = 0, False, False
        waiter: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._waiter = waiter
        bound = self._loop.call_later(seconds, self._end, TimeoutError())
        try:
            self._transport.write(request)
            return await waiter
        except BaseException:
            self.drop()
            raise
        finally:
            bound.cancel()

    def clean(self) -> bool:
        """Whether the connection stands and nothing at all has come since the last answer, not even to the kernel.

        The loop tells of bytes and closes only at its next turn: a stray answer would be taken for the next request's, and
        with it another person's code. Asking the kernel costs 0.4 µs (uvloop's socket can't `recv`, so it is a poll).
        """
        return self.usable and not self._transport.is_closing() and not self._unread.poll(0)

    def drop(self) -> None:
        """End the connection now; a request under way ends as `Cut`."""
        self._end(Cut("the connection was closed"))

    # ---- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS and all."""
        # uvloop's transports are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._alive.add(self)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Parse bytes of an answer; what comes unasked ends the connection."""
        if self._waiter is None or self._parser is None:
            self.drop()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            # Not the parser's own error, whose text may quote the answer. After a whole answer only what follows is broken.
            self._end(Cut("no HTTP"))
            return
        if self._waiter is not None:
            self._size += len(data)
            if self._size > (_MOST_HEAD + MOST_BYTES if self._has_body else _MOST_HEAD):
                self._too_long()

    def eof_received(self) -> None:
        """The other end sends no more: an answer that did not tell its length is whole now."""
        if self._has_body and not self._ends_itself:
            self._answer(keep=False)
        self._end(Cut("the connection ended before the answer"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._end(Cut("the connection broke") if exc else Cut("the connection ended before the answer"))
        self._parser = None  # they hold each other
        self._alive.discard(self)

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        """Another answer begins: after the one that was asked for, it is nobody's."""
        self._body = []
        if self._waiter is None:
            self.drop()

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Learn how the answer ends (0.2 µs a header)."""
        if name.lower() in _FRAMING:
            self._ends_itself = True

    def on_headers_complete(self) -> None:
        """From here on, bytes are the body's."""
        self._has_body = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand over an answer; an interim one (RFC 9110, 15.2) is followed by the one that counts."""
        parser = cast("HttpResponseParser", self._parser)
        if parser.get_status_code() < 200:  # noqa: PLR2004
            self._ends_itself, self._has_body = False, False
        else:
            self._answer(keep=parser.should_keep_alive())

    # ---- how an exchange ends

    def _answer(self, *, keep: bool) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result((cast("HttpResponseParser", self._parser).get_status_code(), b"".join(self._body)))
            self.usable = keep
        if not keep:
            self._transport.abort()

    def _too_long(self) -> None:
        if sum(map(len, self._body)) > MOST_BYTES:
            self._answer(keep=False)
        self._end(Cut("the answer is too long"))

    def _end(self, error: Exception) -> None:
        self.usable = False
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self._transport.abort()

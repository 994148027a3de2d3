"""HTTP/1.1, as much of it as the provider needs: POST a body to one URL and read the answer.

A client of our own for one question that no library answers outright, and for its price (docs/decisions/0008): *was it sent?* Here that is a
matter of where the code stands: whatever goes wrong before `Connection.exchange` writes, nothing has left; from then on everything may have.
httptools parses answers, aiohappyeyeballs connects, the event loop does TLS.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools
from aiohappyeyeballs import start_connection

from app.telephony.answers import MOST_BYTES

KEEP_ALIVE = 4.0
"""Seconds that an idle connection may be used again: less than the five after which common servers close theirs.

A request that meets the server's close has an unknown fate, though it rang nobody: so we give a connection up first.
"""

_NEXT_ADDRESS = 0.25
"""Seconds until the next address of a name is tried beside the one before (RFC 8305, section 5)."""

_MOST_HEAD = 64 * 1024
"""Bytes of an answer besides its body."""

_FIRST_FINAL = 200
_WITHOUT_BODY = frozenset({204, 304})

Answer = tuple[int, bytes]
"""Status and body; of a body longer than `MOST_BYTES` a part."""


class NeverSent(Exception):  # noqa: N818  what it proves is its name
    """There was no connection, so no byte of the request has left. Its cause says why."""


class BrokenAnswer(Exception):  # noqa: N818  as above
    """The request may have been sent, and no whole answer came."""


class LateAnswer(BrokenAnswer):
    """It did not come in time."""


class ConnectionLost(BrokenAnswer):
    """The connection ended before it."""


class Connection(asyncio.Protocol):
    """One connection: one exchange after another, none after anything but a whole answer."""

    def __init__(self, pool: "Poster") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._body = bytearray()
        self.idle_since = 0.0

    async def exchange(self, request: bytes, seconds: float) -> Answer:
        """Send a request and wait for its answer.

        Args:
            request: head and body.
            seconds: until the last byte of the answer, however it drips.

        Raises:
            BrokenAnswer: none came; the request may have been sent.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._received = self._status = 0
        self._until_close, self._complete, self._kept = True, False, False
        bound = loop.call_later(seconds, self._fail, LateAnswer(f"no answer within {seconds:g} s"))
        # At the end of this turn of the event loop, with those of all calls that it begins: whoever answers is woken once for them.
        loop.call_soon(self._send, request)
        try:
            return await answer
        finally:
            bound.cancel()
            if self._answer is answer:  # whoever waited gave up
                self.close()

    @property
    def closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _send(self, request: bytes) -> None:
        if not self.closing:
            self._transport.write(request)

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on, as far as the answer goes."""
        if self._answer is None:
            # Nobody asked: it would be taken for the next request's answer, and hold another person's code.
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            # Only the class: what is quoted may hold the code.
            self._fail(BrokenAnswer(type(fault).__name__))
            return
        if self._complete:
            self._finish(reuse=self._kept and not self._until_close)
        elif len(self._body) > MOST_BYTES:
            self._finish(reuse=False)
        elif self._received > MOST_BYTES + _MOST_HEAD:
            self._fail(BrokenAnswer("its head is too long"))

    def eof_received(self) -> None:
        """End an answer that says no length: it ends with the connection."""
        if self._answer and self._status >= _FIRST_FINAL and self._until_close:
            self._finish(reuse=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever still waits."""
        self._pool.forget(self)
        self._fail(ConnectionLost(type(exc).__name__ if exc else "the server closed it"))

    # ---- the parser's side

    def on_header(self, name: bytes, _value: bytes) -> None:
        """See whether the answer says where it ends."""
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._until_close = False

    def on_headers_complete(self) -> None:
        """Know the status, and whether the server keeps the connection."""
        self._status = self._parser.get_status_code()
        self._kept = self._parser.should_keep_alive()
        if self._status in _WITHOUT_BODY:
            self._until_close = False

    def on_body(self, body: bytes) -> None:
        """Take a piece."""
        if len(self._body) <= MOST_BYTES:
            self._body += body

    def on_message_begin(self) -> None:
        """See that there is one answer only."""
        if self._complete:
            # Two answers to one request: whose would the next be?
            self._until_close = True

    def on_message_complete(self) -> None:
        """Know the end."""
        if self._status >= _FIRST_FINAL:
            self._complete = True
        else:
            self._until_close = True  # an interim answer: the final one has a head of its own

    # ----

    def _finish(self, *, reuse: bool) -> None:
        answer, self._answer = self._answer, None
        whole = self._status, bytes(self._body)
        self._body.clear()
        if reuse:
            self._pool.keep(self)
        else:
            self.close()
        if answer and not answer.done():
            answer.set_result(whole)

    def _fail(self, fault: BrokenAnswer) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer and not answer.done():
            answer.set_exception(fault)


class Poster:
    """Posts bodies to one URL, over connections that it keeps for a while."""

    def __init__(self, url: str, headers: Mapping[str, str], connect_timeout: float, read_timeout: float) -> None:
        """Prepare the head of all requests. Nothing is sent.

        Args:
            url: `http://` or `https://`, without a user.
            headers: what every request says besides `Host` and `Content-Length`.
            connect_timeout: seconds for name, address and TLS together.
            read_timeout: seconds from the connection to the last byte of the answer.

        Raises:
            ValueError: URL or headers can't be sent.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        self._tls = ssl.create_default_context() if secure else None
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc, **headers}
        head = "".join([f"POST {target} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items())])
        self._head = head.encode("ascii") + b"Content-Length: "
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()

    async def post(self, body: bytes) -> Answer:
        """Send a body once.

        Raises:
            NeverSent: nothing of it has left.
            BrokenAnswer: it may have been sent.
        """
        connection = self._idle_one() or await self._connected()
        return await connection.exchange(b"%b%d\r\n\r\n%b" % (self._head, len(body), body), self._read_timeout)

    def close(self) -> None:
        """End all connections; what is under way fails."""
        for connection in tuple(self._open):
            connection.close()

    def keep(self, connection: Connection) -> None:
        """Take a connection back for another request."""
        now = asyncio.get_running_loop().time()
        connection.idle_since = now
        self._idle.append(connection)
        while self._idle[0].idle_since < now - KEEP_ALIVE:
            self._idle.popleft().close()

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _idle_one(self) -> Connection | None:
        """The connection that was used last, if it may be used again."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not connection.closing and connection.idle_since >= now - KEEP_ALIVE:
                return connection
            connection.close()
        return None

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                sock = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)
                name = self._host if self._tls else None
                _, connection = await loop.create_connection(
                    lambda: Connection(self), sock=sock, ssl=self._tls, server_hostname=name
                )
        except (OSError, TimeoutError, ValueError) as fault:
            raise NeverSent from fault
        self._open.add(connection)
        if connection.closing:
            raise NeverSent from ConnectionLost("it ended before it was used")
        return connection

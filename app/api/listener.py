"""uvicorn's HTTP protocol with bounds for what comes before an answer: the size of a head, the time of a head and a body, and silent connections.

For `uvicorn.Config(http=Listener)`, uvicorn's documented place for a protocol class. A service behind a proxy seldom needs these bounds; one without a
proxy has no other.
"""

import asyncio
import re
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.address import TrustedProxies
from app.api.problems import RequestError, request_problem
from app.api.reading import BODY_LATE, BODY_TIMEOUT

MAX_HEAD_BYTES = 32 * 1024
HEAD_TIMEOUT = 10.0
"""Seconds from a connection's beginning, or from the first byte of a further request, until its head is complete."""

READ_TIMEOUT = 10.0
"""Seconds in which a peer must read on, while more of an answer waits than the event loop buffers (64 KiB)."""

MAX_WAITING = 128
"""Connections of one address that wait for a request. Browsers behind one carrier NAT keep some open each: the oldest one makes room for the newest."""

_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n|$)", re.IGNORECASE)
_OF_BODIES = {b"content-length", b"transfer-encoding"}
_NO_BODY = {(b"content-length", b"0")}


class WaitingConnections:
    """The connections of this worker that wait for a request, by their peer's address."""

    def __init__(self, proxies: TrustedProxies) -> None:
        """See the class. Trusted proxies have no bound: they hold connections for everyone."""
        self._proxies = proxies
        self._by_address: dict[str, dict[Listener, None]] = {}

    def add(self, connection: "Listener") -> None:
        """A connection waits from now on. The one that waited longest is closed where its address has too many."""
        if connection.client is None or connection.client[0] in self._proxies:
            return
        waiting = self._by_address.setdefault(connection.client[0], {})
        waiting[connection] = None
        if len(waiting) > MAX_WAITING:
            oldest = next(iter(waiting))
            self.remove(oldest)
            oldest.transport.abort()  # not `close`, which waits until a peer has read all that was sent

    def remove(self, connection: "Listener") -> None:
        """A connection has a request, or is gone."""
        address = connection.client[0] if connection.client else ""
        waiting = self._by_address.get(address, {})
        waiting.pop(connection, None)
        if not waiting:
            self._by_address.pop(address, None)


class Listener(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        super().connection_made(transport)
        self.in_head, self.in_body = True, False
        self.head_bytes = self.chunk_bytes = self.framing_bytes = 0
        self.too_large = False
        self.unread: asyncio.TimerHandle | None = None
        self.timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)
        self.waiting: WaitingConnections = self.app_state["waiting"]
        self.waiting.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_timer()
        self._stop_unread()
        self.waiting.remove(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a peer that does not read, but not for long."""
        super().pause_writing()
        self.unread = self.loop.call_later(READ_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read on."""
        self._stop_unread()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read a piece, and refuse a head that is too large, also one behind a body. What is not complete has so much time for the rest."""
        if b"h2c" in data and not self.in_body and not (self.in_head and self.head_bytes):
            # The piece begins a head, and may offer HTTP/2, as Java's HttpClient does each time: httptools would read no body then.
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _OFFER.sub(b"", head) + end + rest
        self.chunk_bytes = len(data)
        self.framing_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES:
                self.refuse(RequestError.HEAD_TOO_LARGE)
            elif self.timer is None:
                self.timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)
        elif self.in_body:
            if self.framing_bytes > MAX_HEAD_BYTES:
                self.refuse(RequestError.HEAD_TOO_LARGE)
            elif self.timer is None:
                self.timer = self.loop.call_later(BODY_TIMEOUT, self.end_body)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.in_head = True
        self.head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End a head, and begin its request. A ValueError stops the parser, and uvicorn calls `send_400_response`."""
        # Exact only where it may be too large: a piece can hold more than the head.
        if self.head_bytes + self.chunk_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self.too_large = True
                raise ValueError("head too large")
        if self.parser.should_upgrade() and any(
            header[0] in _OF_BODIES and header not in _NO_BODY for header in self.headers
        ):
            # httptools reads no body then: what arrives of it would be the next request.
            raise ValueError("a body with an upgrade")
        self.in_head, self.in_body, self.framing_bytes = False, True, 0
        self._stop_timer()
        self.waiting.remove(self)
        super().on_headers_complete()
        # The request has its list. What comes behind the body (trailers) counts for nothing (RFC 9110, section 6.5.1): proxies hand on what strangers write.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Go on with a body. What comes without any more of it, such as trailers, is bounded like a head: the parser keeps it."""
        self.framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a body."""
        self.in_body = False
        self._stop_timer()
        super().on_message_complete()

    def end_body(self) -> None:
        """Wait no more for the rest of a body: its request is refused (reading.py). One that was answered already has no use for it."""
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.scope["state"][BODY_LATE] = True
            self.on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self.waiting.add(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words
        """Refuse what is not HTTP, or too large."""
        if self.too_large:
            self.refuse(RequestError.HEAD_TOO_LARGE)
        else:
            self.refuse(
                RequestError.MALFORMED_REQUEST,
                "Send HTTP/1.1, and a body without an Upgrade: set your HTTP client to HTTP/1.1.",
            )

    def refuse(self, error: RequestError, detail: str | None = None) -> None:
        """Answer with problem details, and close."""
        answer = request_problem(error, detail, headers={"Connection": "close"})
        head = [f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}".encode()]
        head += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
        self.transport.close()
        self.app_state["metrics"].count_request("other", "other", answer.status_code, answer.code)

    def _stop_unread(self) -> None:
        if self.unread:
            self.unread.cancel()
            self.unread = None

    def _stop_timer(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None

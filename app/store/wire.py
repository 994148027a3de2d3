"""One connection to the server: commands go out in order, and their answers come back in the same order.

redis-py makes the connection (addresses, TLS, passwords) and then hands its socket over: with its own pipelines a check takes 15 to 20 µs of CPU
more, and with a command each twice as much in all (docs/performance.md). hiredis packs and reads, as it does for redis-py.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from hiredis import ProtocolError, Reader
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from app.verification.errors import StoreUnavailable

Answer = asyncio.Future[Any]

_NOTHING = object()
_ERRORS: dict[str, type[ResponseError]] = {"NOSCRIPT": NoScriptError, "READONLY": ReadOnlyError}
"""The server's errors that somebody acts on, by their first word."""


class Wire(asyncio.Protocol):
    """A connection in use. Whoever gives up waiting takes nothing from the others: the answer that comes is dropped.

    Attributes:
        unanswered: what was sent, oldest first: who waits for it, and in which tick it was sent.
        demoted: the server has said that it may not write: it is no primary any more.
    """

    def __init__(self, answered: Callable[["Wire"], None], lost: Callable[["Wire"], None]) -> None:
        """See the class.

        Args:
            answered: called after answers came in: there may be room for more commands.
            lost: called once when the connection has ended; what was unanswered has failed then.
        """
        self.unanswered: deque[tuple[Answer, int]] = deque()
        self.demoted = False
        self._answered, self._lost = answered, lost
        self._out: list[bytes] = []
        self._reader = Reader(replyError=_error, notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def begin(self, stream: asyncio.StreamWriter) -> None:
        """Take over a connection on which nothing is under way."""
        self._stream = stream  # closes its transport when nobody holds it
        self._transport = cast("asyncio.Transport", stream.transport)
        self._transport.set_protocol(self)

    def send(self, packed: bytes, answer: Answer, tick: int) -> None:
        """Send a command at the end of this turn of the event loop, together with all others of it: one system call."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        self.unanswered.append((answer, tick))

    def fail_before(self, tick: int, why: str) -> bool:
        """Tell those who have waited since before a tick that it takes too long; whether there were any. Their answers may still come."""
        late = False
        for answer, sent in self.unanswered:
            if sent >= tick:
                break
            late = True
            fail(answer, why)
        return late

    def close(self) -> None:
        """End the connection."""
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand each answer to whoever waits for it."""
        self._reader.feed(data)
        try:
            while (value := self._reader.gets()) is not _NOTHING:
                answer, _ = self.unanswered.popleft()
                if answer.done():
                    continue
                if isinstance(value, RedisError):
                    self.demoted |= isinstance(value, ReadOnlyError)
                    answer.set_exception(value)
                else:
                    answer.set_result(value)
        except (IndexError, ProtocolError):
            # An answer that nobody asked for, or none at all: nothing that comes after it can be trusted.
            self.close()
            return
        self._answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was unanswered: it may have been carried out."""
        why = f"the connection was lost: {type(exc).__name__}: {exc}" if exc else "the server closed the connection"
        unanswered, self.unanswered = self.unanswered, deque()
        for answer, _ in unanswered:
            fail(answer, why)
        self._lost(self)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport and not self._transport.is_closing():
            self._transport.write(b"".join(out))


def fail(answer: Answer, why: str) -> None:
    """Tell somebody, if they still wait, that the store can't be relied on now."""
    if not answer.done():
        answer.set_exception(StoreUnavailable(why))


def _error(text: str) -> ResponseError:
    return _ERRORS.get(text.partition(" ")[0], ResponseError)(text)

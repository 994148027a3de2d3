"""Mobilgroup, the telephony provider, over HTTP.

Source: the provider's description of the Call-Password API. It knows no idempotency key and no way to ask what became
of a call, so a request that may have left is never sent again.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Self

from app.telephony.answers import log_words, read_answer
from app.telephony.connection import Cut, NeverSent
from app.telephony.connections import Connections
from app.telephony.credentials import Credentials, authorisation, secret_words
from app.telephony.target import Target, target_of
from app.verification.call import CallOutcome, Refusal, Refused, Unknown

PLAIN_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "lastdigits",
}
"""What every request says. An answer of a hundred bytes gains nothing from compression."""

_quoted = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how many.

    A call takes at most `pool_timeout` + 2 × `connect_timeout` + `read_timeout`.

    Attributes:
        connect_timeout: seconds for one try to connect: name, address and TLS together.
        read_timeout: seconds from the connection to the last byte of the answer, however it drips.
        pool_size: calls under way at once.
        pool_timeout: seconds to wait for one of these to end.
    """

    connect_timeout: float = 2.0
    read_timeout: float = 10.0
    pool_size: int = 100
    pool_timeout: float = 2.0


DEFAULT_LIMITS = Limits()


class Mobilgroup:
    """A `Provider` that asks Mobilgroup for calls. Opened and closed in one event loop; `async with` does both.

    Args:
        url: where calls are asked for; without a user or password in it.
        credentials: one of the three ways to authorise.
        limits: times and numbers.

    Raises:
        ValueError: the URL or the key can't be used; says neither.
    """

    def __init__(self, url: str, credentials: Credentials, limits: Limits = DEFAULT_LIMITS) -> None:
        self._target = target_of(url)
        headers, security = authorisation(credentials)
        self._head = _head(self._target, headers)
        self._body = json.dumps(security)[:-1] + (", " if security else "")
        self._secrets = secret_words(credentials)
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.pool_size)
        self._connections: Connections | None = None

    async def open(self) -> Self:
        """Make ready to place calls. Nothing is sent."""
        if self._connections is None:
            self._connections = Connections(self._target, self._limits.connect_timeout, self._limits.read_timeout)
        return self

    async def close(self) -> None:
        """Close every connection; calls still under way end as unknown, or as never sent if they are."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """Ring a phone once: see `Provider.place`.

        Raises:
            RuntimeError: it is not open.
        """
        connections = self._connections
        if connections is None:
            raise RuntimeError("open the provider's client before placing calls")
        if not await self._slot():
            return Refused(Refusal.BUSY, f"all {self._limits.pool_size} connections to the provider are taken")
        try:
            return await self._ask(connections, self._request(phone, code_length), code_length)
        finally:
            self._slots.release()

    async def _slot(self) -> bool:
        if not self._slots.locked():
            # Does not wait, and so needs no bound: one costs 6 µs.
            return await self._slots.acquire()
        try:
            async with asyncio.timeout(self._limits.pool_timeout):
                return await self._slots.acquire()
        except TimeoutError:
            return False

    async def _ask(self, connections: Connections, request: bytes, code_length: int) -> CallOutcome:
        outcome = await self._try(connections, request, code_length)
        # UNREACHABLE is said only of a request that was provably never sent: a second one can't be a second call.
        if isinstance(outcome, Refused) and outcome.reason is Refusal.UNREACHABLE:
            return await self._try(connections, request, code_length)
        return outcome

    async def _try(self, connections: Connections, request: bytes, code_length: int) -> CallOutcome:
        try:
            status, body = await connections.exchange(request)
        except NeverSent as error:
            return Refused(Refusal.UNREACHABLE, log_words(str(error), self._secrets))
        except Cut as cut:
            return Unknown(f"{cut}, and the request may have been sent")
        except Exception as error:  # noqa: BLE001  whatever went wrong, a phone may ring: that is an outcome and not a crash
            # Only the class: the text of an error in reading may quote the answer, and with it the code.
            return Unknown(f"{type(error).__name__} when the request may have been sent")
        return read_answer(status, body, code_length, self._secrets)

    def _request(self, phone: str, code_length: int) -> bytes:
        """Head and body; all but the number is made once, which spares 2 µs and more for the head."""
        body = f'{self._body}"number": {_quoted(phone.removeprefix("+"))}, "capacity": "{code_length}"}}'
        return f"{self._head}{len(body)}\r\n\r\n{body}".encode("ascii")


def _head(target: Target, headers: dict[str, str]) -> str:
    """A request's head up to its body's length."""
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        *(f"{name}: {value}" for name, value in {**PLAIN_HEADERS, **headers}.items()),
        "Content-Length: ",
    )
    return "\r\n".join(lines)

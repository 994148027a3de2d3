"""Mobilgroup, the telephony provider, over HTTP.

Source: the provider's description of the Call-Password API. It knows no idempotency key and no way to ask what became
of a call, so a request that may have left is never sent again.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from app.telephony.answers import log_words, read_answer
from app.telephony.credentials import Credentials, authorisation, secret_words
from app.telephony.http import NeverSent, Poster
from app.verification.call import CallOutcome, Refusal, Refused, Unknown

PLAIN_HEADERS = {"Content-Type": "application/json", "User-Agent": "lastdigits", "Accept-Encoding": "identity"}
"""What every request says. An answer of a hundred bytes gains nothing from compression."""


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
        _check_url(url)
        self._url = url
        headers, self._security = authorisation(credentials)
        self._headers = {**PLAIN_HEADERS, **headers}
        self._secrets = secret_words(credentials)
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.pool_size)
        self._poster: Poster | None = None

    async def open(self) -> Self:
        """Make ready to place calls. Nothing is sent."""
        if self._poster is None:
            self._poster = Poster(self._url, self._headers, self._limits.connect_timeout, self._limits.read_timeout)
        return self

    async def close(self) -> None:
        """Close every connection; calls still under way end as unknown."""
        poster, self._poster = self._poster, None
        if poster is not None:
            poster.close()
            await asyncio.sleep(0)  # lets the connections end

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """Ring a phone once: see `Provider.place`.

        Raises:
            RuntimeError: it is not open.
        """
        poster = self._poster
        if poster is None:
            raise RuntimeError("open the provider's client before placing calls")
        if not await self._slot():
            return Refused(Refusal.BUSY, f"all {self._limits.pool_size} connections to the provider are taken")
        try:
            return await self._ask(poster, self._request(phone, code_length), code_length)
        finally:
            self._slots.release()

    async def _slot(self) -> bool:
        """Wait for one of the calls under way to end, if there are as many as may be."""
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            async with asyncio.timeout(self._limits.pool_timeout):
                return await self._slots.acquire()
        except TimeoutError:
            return False

    async def _ask(self, poster: Poster, request: bytes, code_length: int) -> CallOutcome:
        try:
            try:
                status, body = await poster.post(request)
            except NeverSent:
                # Provably not sent: a second one can't be a second call.
                status, body = await poster.post(request)
        except NeverSent as error:
            cause = error.__cause__
            return Refused(Refusal.UNREACHABLE, log_words(f"{type(cause).__name__}: {cause}", self._secrets))
        except Exception as error:  # noqa: BLE001  whatever went wrong, a phone may ring: that is an outcome and not a crash
            # Only the class: the text of an error in reading may quote the answer, and with it the code.
            return Unknown(f"{type(error).__name__} when the request may have been sent")
        return read_answer(status, body, code_length, self._secrets)

    def _request(self, phone: str, code_length: int) -> bytes:
        return json.dumps({**self._security, "number": phone.removeprefix("+"), "capacity": str(code_length)}).encode()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the provider's URL must begin with https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the provider's URL must not contain a user or password")

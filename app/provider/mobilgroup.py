"""Mobilgroup, the telephony provider, over HTTP.

Source: the provider's description of the Call-Password API. The API has no idempotency key and no way to ask what became
of a call. So a request that may have been sent is never sent again.
"""

import asyncio
import json
import logging
import ssl
from contextlib import aclosing
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Self

import httpx2

from app.provider.responses import MAX_BYTES, one_line, read_response
from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Refused, Unknown

NEVER_SENT: dict[type[Exception], Refusal] = {
    httpx2.ConnectError: Refusal.UNREACHABLE,
    httpx2.ConnectTimeout: Refusal.UNREACHABLE,
    # The proxy refused the tunnel. The request goes through the tunnel, so it did not leave.
    httpx2.ProxyError: Refusal.UNREACHABLE,
    httpx2.PoolTimeout: Refusal.BUSY,
}
"""The exceptions of httpx2 that come only before the first byte of a request. A test lists all others."""

_HEADERS = {
    # An answer of a hundred bytes gains nothing from compression.
    "Accept-Encoding": "identity",
    # No connection is used twice: the server need not wait for another request.
    "Connection": "close",
    "Content-Type": "application/json",
    "User-Agent": "lastdigits",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """One of the three ways to authorise: a header, or the body's `security`, never both. No repr shows a secret.

    Source: the provider's description of the Call-Password API, "Авторизация", sections 1 and 2.
    """

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    security: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The words that no log may contain."""
        return (*self.headers.values(), *self.security.values())


def header_key(key: str) -> Credentials:
    """The API key as the raw value of the `Authorization` header."""
    return Credentials(headers={"Authorization": key})


def body_key(key: str) -> Credentials:
    """The API key in the body."""
    return Credentials(security={"apiKey": key})


def login(name: str, password: str) -> Credentials:
    """Login and password in the body."""
    return Credentials(security={"login": name, "password": password})


@dataclass(frozen=True, slots=True)
class Limits:
    """Times and numbers.

    Attributes:
        connect_timeout: seconds for TCP, and again for TLS, of one try to connect.
        read_timeout: seconds without a byte of the answer.
        pool_size: calls in progress at once.
        pool_timeout: seconds to wait until one of these ends.
    """

    connect_timeout: float = 2.0
    read_timeout: float = 10.0
    pool_size: int = 100
    pool_timeout: float = 2.0

    @property
    def call_timeout(self) -> float:
        """Seconds that a call takes at most, from the wait for a connection to the answer's last byte."""
        return self.pool_timeout + 2 * self.connect_timeout + self.read_timeout


DEFAULT_LIMITS = Limits()


class Mobilgroup:
    """A `Telephone` that places calls at Mobilgroup. Use it with `async with`, in one event loop.

    Each call has a connection of its own. With keep-alive, a second answer on a connection would be taken for the answer
    to the next request, and that is another person's code.

    Args:
        url: of the provider's API, without a user or password in it. The settings have checked it, and the proxy and the key.
        credentials: one of the three ways to authorise.
        limits: times and numbers.
        proxy: URL of an HTTP proxy that all requests go through; None for none. The environment's proxies are ignored.

    Raises:
        httpx2.InvalidURL: the host is one that httpx2 can't read, such as 256.1.1.1: at the start, not with each call.
    """

    def __init__(
        self, url: str, credentials: Credentials, limits: Limits = DEFAULT_LIMITS, proxy: str | None = None
    ) -> None:
        self._url = httpx2.URL(url)
        self._limits = limits
        self._security = {"security": credentials.security} if credentials.security else {}
        # The system's trust store. OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR here. Takes 20 ms, so it is made once.
        trust = ssl.create_default_context()
        through = (
            httpx2.Proxy(proxy, ssl_context=trust if proxy.lower().startswith("https:") else None) if proxy else None
        )
        secrets = (*credentials.secrets, *((through and through.auth) or ()))
        # The longest first: a login may be part of its password.
        self._secrets = tuple(sorted(secrets, key=len, reverse=True))
        self._client = httpx2.AsyncClient(
            headers=_HEADERS | credentials.headers,
            timeout=httpx2.Timeout(limits.read_timeout, connect=limits.connect_timeout, pool=limits.pool_timeout),
            limits=httpx2.Limits(max_connections=limits.pool_size, max_keepalive_connections=0),
            verify=trust,
            proxy=through,
            trust_env=False,
            follow_redirects=False,
            # A balancer's cookie would tie the next calls to each other.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        # httpx2 logs the URL of each request at level info.
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close all connections. The outcome of a call in progress is unknown then."""
        await self._client.aclose()

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """Ring a phone once: see `CallSlot.place`."""
        body = json.dumps({**self._security, "number": phone.removeprefix("+"), "capacity": str(code_length)})
        try:
            async with asyncio.timeout(self._limits.call_timeout):
                outcome = await self._try(body, code_length)
                # UNREACHABLE means that the request was never sent: a second try can't be a second call.
                if isinstance(outcome, Refused) and outcome.reason is Refusal.UNREACHABLE:
                    outcome = await self._try(body, code_length)
                return outcome
        except TimeoutError:
            # Perhaps while connecting: but that can't be known here.
            return Unknown(f"no whole answer in {self._limits.call_timeout:g} s: the request may have been sent")

    async def _try(self, body: str, code_length: int) -> CallOutcome:
        try:
            status, answer = await self._exchange(body)
        except Exception as error:  # noqa: BLE001  whatever went wrong, the phone may ring: that is an outcome, not a crash
            name = type(error).__name__
            match classify(error):
                case None:
                    # Only the class: the message of an error while reading may quote the answer, and with it the code.
                    return Unknown(f"{name}: the request may have been sent")
                case Refusal.BUSY as busy:
                    return Refused(busy, f"all {self._limits.pool_size} connections to the provider are in use")
                case reason:
                    return Refused(reason, one_line(f"{name} {error}", self._secrets))
        return read_response(status, answer, code_length, self._secrets)

    async def _exchange(self, body: str) -> tuple[int, bytes]:
        """The status and the body of the response; of a body with more than `MAX_BYTES`, one byte more than that."""
        answer = b""
        async with (
            self._client.stream("POST", self._url, content=body) as response,
            aclosing(response.aiter_raw()) as chunks,
        ):
            async for chunk in chunks:
                answer = (answer + chunk)[: MAX_BYTES + 1]
                if len(answer) > MAX_BYTES:
                    break
        return response.status_code, answer


def classify(error: Exception) -> Refusal | None:
    """Why the request was certainly never sent; None if it may have been sent.

    Looks at the class itself and not at its bases: a new subclass may mean something else.
    """
    return NEVER_SENT.get(type(error))

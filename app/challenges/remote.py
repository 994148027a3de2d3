"""Challenges of a remote service: its widget gives the page a token, and the service says whether the token is valid.

Whatever goes wrong on the way is ChallengeUnavailable: a start is never let through because the service is down. One answer never reaches another
request: each has a connection of its own.
"""

import asyncio
import hashlib
import json
from collections.abc import Collection
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address

import httpx2

from app.challenges.services import Answer, NoVerdictError, Service
from app.verification.challenge import MAX_LEVEL, ChallengeUnavailable, Solved

TIMEOUT = 3.0
"""Seconds for everything: a free connection, the name, TLS, the answer's last byte."""

CLIENT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, OSError)
"""Whatever the HTTP client raises while it asks."""

_MAX_ANSWER = 16 * 1024
"""Bytes. Documented answers have a few hundred."""

_MAX_CONNECTIONS = 50
"""At once. A request that gets no free one in time is ChallengeUnavailable."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lastdigits"}

_SERVER_ERROR = 500


class Remote:
    """Asks one of the remote services."""

    def __init__(
        self,
        service: Service,
        site_key: str,
        secret_key: str,
        hostnames: Collection[str] = (),
        timeout: float = TIMEOUT,
    ) -> None:
        """Verify with a secret key.

        Args:
            service: the service to ask.
            site_key: public; the page's widget needs it.
            secret_key: the other half; goes in a request's body and nowhere else.
            hostnames: where tokens may have been made, as far as the service says it; empty: anywhere.
            timeout: seconds for one verification.
        """
        self._service = service
        self._site_key = site_key
        self._secret_key = secret_key
        self._hostnames = frozenset(name.lower() for name in hostnames)
        self._timeout = timeout
        self._http = httpx2.AsyncClient(
            headers=_HEADERS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=httpx2.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=0),
            # A third to connect and a third for TLS: a handshake that is cancelled from outside leaves its socket open until it is collected.
            timeout=httpx2.Timeout(timeout, connect=timeout / 3),
            follow_redirects=False,
            trust_env=False,
        )

    def challenge(self, client_id: str, level: int) -> dict[str, object]:  # noqa: ARG002  the service chooses the work
        """What the page's widget needs."""
        return {"provider": self._service.kind.value, "site_key": self._site_key}

    async def verify(self, solution: str, client_id: str, address: str | None) -> Solved | None:  # noqa: ARG002  the service knows no clients
        """Ask the service whether a token is valid. A valid one counts as MAX_LEVEL.

        The service says yes once for each token.

        Raises:
            ChallengeUnavailable: it did not say.
        """
        if not solution or not solution.isascii():
            return None
        if not await self._passed(solution, address):
            return None
        name = hashlib.sha256(f"{self._service.kind}\0{solution}".encode()).hexdigest()[:24]
        return Solved(name, MAX_LEVEL)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def _passed(self, token: str, address: str | None) -> bool:
        # The error is raised outside of the handlers: so it holds no exception of the client, whose request has the secret key.
        try:
            async with asyncio.timeout(self._timeout):
                status, body = await self._ask(token, address)
            return self._read(status, body)
        except NoVerdictError as error:
            reason = str(error)
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        except CLIENT_ERRORS as error:
            reason = type(error).__name__
        raise ChallengeUnavailable(f"{self._service.kind}: {reason}")

    async def _ask(self, token: str, address: str | None) -> tuple[int, bytes]:
        form = {"secret": self._secret_key, self._service.token: token}
        if address is not None and _is_address(address):
            form[self._service.address] = address
        if self._service.site_key is not None:
            form[self._service.site_key] = self._site_key
        body = bytearray()
        async with self._http.stream("POST", self._service.url, data=form) as response:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MAX_ANSWER:
                    raise NoVerdictError("the answer is too long")
        return response.status_code, bytes(body)

    def _read(self, status: int, body: bytes) -> bool:
        if status >= _SERVER_ERROR:
            raise NoVerdictError(f"status {status}")
        answer = _decode(status, body)
        if not self._service.passed(answer):
            return False
        if status != httpx2.codes.OK:
            raise NoVerdictError(f"status {status}")
        host = self._service.host_of(answer)
        return host is None or not self._hostnames or host in self._hostnames


def _is_address(text: str) -> bool:
    """False for a network: what limits count of an IPv6 address is its /64, and the services refuse such a value."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _decode(status: int, body: bytes) -> Answer:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise NoVerdictError(f"status {status}, and no JSON object")
    return answer

"""Challenges of a remote service: its widget gives the page a token, and the service says whether the token is valid.

All three services take a form by POST, answer JSON, and verify a token once. They differ in names. Written from their documentation, which SERVICES names.

Whatever goes wrong on the way is ChallengeUnavailable: a start is never let through because the service is down. One answer never reaches another
request: each has a connection of its own.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address

import httpx2

from app.verification.challenge import MAX_LEVEL, ChallengeKind, ChallengeUnavailable, Solved

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

# Errors that blame the token mean "not valid". All other errors are the operator's or the service's own: then nothing is known of the token.
_TOKEN_ERRORS = (
    "missing-input-response",
    "invalid-input-response",
    "timeout-or-duplicate",  # Turnstile
    "expired-input-response",  # hCaptcha, as the next two
    "already-seen-response",
    "invalid-or-already-seen-response",
)
_ERROR_CODE = re.compile(r"[a-z-]{1,40}")

Answer = Mapping[str, object]


class NoVerdictError(Exception):
    """The answer does not say whether the token is valid. The message is ours."""


def _siteverify(answer: Answer) -> bool:
    """`{"success": true}`, or `{"success": false, "error-codes": […]}`."""
    success, codes = answer.get("success"), answer.get("error-codes", [])
    if success is True:
        return True
    if success is not False or not isinstance(codes, list):
        raise NoVerdictError("unexpected answer")
    for code in codes:
        if code not in _TOKEN_ERRORS:
            shown = code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else "an unknown error"
            raise NoVerdictError(f"the service refused the request: {shown}")
    return False


def _smartcaptcha(answer: Answer) -> bool:
    """`{"status": "ok", "host": "…"}`, or `{"status": "failed", "message": "…"}`. An empty message means a robot; the wording of others varies."""
    status, message = answer.get("status"), answer.get("message")
    if status == "ok":
        return True
    if status != "failed" or not isinstance(message, str):
        raise NoVerdictError("unexpected answer")
    if message and "token" not in message.lower():
        raise NoVerdictError("the service refused the request: is the secret key right?")
    return False


@dataclass(frozen=True)
class Service:
    """One remote service.

    Attributes:
        url: where tokens are verified.
        token: the form field of the token.
        address: the form field of the end user's address.
        passed: reads whether the token is valid. Raises NoVerdictError.
        site_key: the form field of the site key that the token must belong to; None where the secret key implies it.
        host: the field of the answer that names the site where the token was made: it is empty where the account is blocked; None where it can't be relied on.
    """

    url: str
    token: str
    address: str
    passed: Callable[[Answer], bool]
    site_key: str | None = None
    host: str | None = None


SERVICES = {
    # Yandex Cloud documentation, SmartCaptcha: "Verifying the CAPTCHA response", "Domain validation" (May 2026). A token is valid for 5 minutes.
    # A blocked account answers "ok" to robots too, with an empty host.
    ChallengeKind.SMARTCAPTCHA: Service(
        "https://smartcaptcha.cloud.yandex.ru/validate", "token", "ip", _smartcaptcha, host="host"
    ),
    # Cloudflare documentation, Turnstile: "Validate the token" (May 2026). 5 minutes, 2,048 characters at most.
    ChallengeKind.TURNSTILE: Service(
        "https://challenges.cloudflare.com/turnstile/v0/siteverify",
        "response",
        "remoteip",
        _siteverify,
        host="hostname",
    ),
    # hCaptcha documentation: "Developer Guide", "Verify the User Response Server Side". 2 minutes. It says that `hostname` is the browser's word.
    ChallengeKind.HCAPTCHA: Service(
        "https://api.hcaptcha.com/siteverify", "response", "remoteip", _siteverify, site_key="sitekey"
    ),
}


class Remote:
    """Asks one of the remote services.

    Args:
        kind: which one.
        site_key: public; the page's widget needs it.
        secret_key: the other half; goes in a request's body and nowhere else.
        url: where the service is, if not at its own address.
        timeout: seconds for one verification.
    """

    def __init__(
        self, kind: ChallengeKind, site_key: str, secret_key: str, *, url: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._kind = kind
        self._service = SERVICES[kind]
        self._url = url or self._service.url
        self._site_key = site_key
        self._secret_key = secret_key
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
        return {"provider": self._kind.value, "site_key": self._site_key}

    async def verify(self, solution: str, client_id: str, address: str | None) -> Solved | None:  # noqa: ARG002  the service knows no clients
        """Ask the service whether a token is valid. It says yes once for each token; a valid one counts as MAX_LEVEL.

        Raises:
            ChallengeUnavailable: it did not say.
        """
        if not solution or not solution.isascii():
            return None
        if not await self._passed(solution, address):
            return None
        name = hashlib.sha256(f"{self._kind}\0{solution}".encode()).hexdigest()[:24]
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
        raise ChallengeUnavailable(f"{self._kind}: {reason}")

    async def _ask(self, token: str, address: str | None) -> tuple[int, bytes]:
        form = {"secret": self._secret_key, self._service.token: token}
        if address is not None and _is_address(address):
            form[self._service.address] = address
        if self._service.site_key is not None:
            form[self._service.site_key] = self._site_key
        body = bytearray()
        async with self._http.stream("POST", self._url, data=form) as response:
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
        host = self._service.host
        if host is not None and not answer.get(host):
            raise NoVerdictError("the answer names no host: is the account blocked?")
        return True


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

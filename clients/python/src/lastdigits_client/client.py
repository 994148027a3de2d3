"""The requests of a backend, sync and async: one description of each, two ways to send it."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx2

from lastdigits_client.answers import Answer, Approved, Pending, Redeemed, State
from lastdigits_client.errors import NoAnswer, Problem

A = TypeVar("A", bound=Answer)

MAX_WAIT = 5
"""Seconds: whether a longer `retry_after` is worth waiting for is the caller's decision."""

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_NOTHING_DONE = {"idempotency_key_in_use", "store_unavailable"}


class User(TypedDict, total=False):
    """Whom a request is for. Without `client_ip`, the user's address, no limit by address applies."""

    client_ip: str
    device: str


class CallOptions(User, total=False):
    """`idempotency_key`: to continue an earlier action; left out, each call of the method is an action of its own."""

    idempotency_key: str


class StartOptions(CallOptions, total=False):
    """`purpose` goes into the token. `code_length` asks for more digits than the policy."""

    purpose: str
    code_length: int


@dataclass(frozen=True, slots=True)
class _Call(Generic[A]):
    """A request. `repeatable`: sending it twice does no more than sending it once."""

    answer: type[A]
    path: str
    body: dict[str, Any] | None = None
    idempotency_key: str | None = None
    repeatable: bool = True
    method: str = "POST"

    def sent_as(self) -> dict[str, Any]:
        headers = {"Idempotency-Key": self.idempotency_key} if self.idempotency_key else {}
        return {"method": self.method, "url": self.path, "json": self.body, "headers": headers}

    def judge(self, outcome: httpx2.Response | httpx2.RequestError, tries_left: int) -> A | float:
        """The answer, or the seconds to wait before the same request is sent again.

        Raises:
            Problem: the service refused, or something else did.
            NoAnswer: no answer came, or something else answered with a 2xx.
        """
        if isinstance(outcome, httpx2.RequestError):
            return self._unanswered(tries_left, sent=not isinstance(outcome, _NEVER_SENT), cause=outcome)
        try:
            body = outcome.json()
            if outcome.is_success:
                return self.answer.read(body)
        except (ValueError, KeyError, TypeError) as error:
            # A proxy that says 200 in the service's place: callers who pass the status on would pass on a yes.
            if outcome.is_success:
                return self._unanswered(tries_left, sent=True, cause=error)
            body = None
        problem = Problem(outcome.status_code, body if isinstance(body, dict) else {}, self.idempotency_key)
        if tries_left and problem.code in _NOTHING_DONE and (problem.retry_after or 0) <= MAX_WAIT:
            return problem.retry_after or 0.5
        raise problem

    def _unanswered(self, tries_left: int, *, sent: bool, cause: Exception) -> float:
        if tries_left and (self.repeatable or not sent):
            return 0.5
        raise NoAnswer(sent=sent, idempotency_key=self.idempotency_key) from cause


def _place(path: str, body: dict[str, Any]) -> _Call[Pending]:
    key = body.pop("idempotency_key", None) or str(uuid.uuid4())
    if not (key.isascii() and key.isprintable()):  # It may come from a page, and fits into no header.
        raise Problem(400, {"code": "idempotency_key_invalid"})
    return _Call(Pending, path, body, key)


def _check(body: dict[str, Any]) -> _Call[Approved]:
    return _Call(Approved, "/verify/check", body, repeatable=False)


def _state(method: str, verification_id: str, then: str = "") -> _Call[State]:
    return _Call(State, f"/verify/{quote(verification_id, safe='')}{then}", method=method)


def _redeem(token: str) -> _Call[Redeemed]:
    return _Call(Redeemed, "/verify/redeem", {"token": token}, repeatable=False)


def _options(base_url: str, key: str, timeout: float) -> dict[str, Any]:
    # Else the HTTP client refuses it with each request, by an error that repeats it.
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise ValueError("The key has a line break, a space or another character that no key has.")
    # The service closes an idle connection after five seconds: this side drops it sooner.
    limits = httpx2.Limits(keepalive_expiry=2)
    return {"base_url": base_url, "headers": {"Authorization": f"Bearer {key}"}, "timeout": timeout, "limits": limits}


class Client:
    """A backend's requests. A start and a resend keep their idempotency key over all tries: one action is one call.

    Args:
        base_url: of the service.
        key: a secret key, `sk_…`.
        timeout: seconds for one answer; a start takes as long as the provider does.
        retries: how often a request is sent again, where that does no more than sending it once.
    """

    def __init__(self, base_url: str, key: str, *, timeout: float = 30, retries: int = 2) -> None:
        self._http = httpx2.Client(**_options(base_url, key, timeout))
        self._retries = retries

    def start(self, phone: str, **options: Unpack[StartOptions]) -> Pending:
        """Call a phone."""
        return self._send(_place("/verify/start", {"phone": phone, **options}))

    def check(self, verification_id: str, code: str, **user: Unpack[User]) -> Approved:
        """Check what a person typed. A wrong code is the problem `code_incorrect`."""
        return self._send(_check({"id": verification_id, "code": code, **user}))

    def resend(self, verification_id: str, **options: Unpack[CallOptions]) -> Pending:
        """Call the phone of a pending verification again."""
        return self._send(_place("/verify/resend", {"id": verification_id, **options}))

    def read(self, verification_id: str) -> State:
        """The whole state, without the code."""
        return self._send(_state("GET", verification_id))

    def cancel(self, verification_id: str) -> State:
        """End a pending verification."""
        return self._send(_state("POST", verification_id, "/cancel"))

    def redeem(self, token: str) -> Redeemed:
        """Accept a token once. `TokenVerifier` also compares its purpose."""
        return self._send(_redeem(token))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: _Call[A]) -> A:
        tries_left = self._retries
        while isinstance(result := call.judge(self._try(call), tries_left), (int, float)):
            tries_left -= 1
            time.sleep(result)
        return result

    def _try(self, call: _Call[A]) -> httpx2.Response | httpx2.RequestError:
        try:
            return self._http.request(**call.sent_as())
        except httpx2.RequestError as error:
            return error


class AsyncClient:
    """The same as `Client`, for asyncio."""

    def __init__(self, base_url: str, key: str, *, timeout: float = 30, retries: int = 2) -> None:
        self._http = httpx2.AsyncClient(**_options(base_url, key, timeout))
        self._retries = retries

    async def start(self, phone: str, **options: Unpack[StartOptions]) -> Pending:
        """See `Client`."""
        return await self._send(_place("/verify/start", {"phone": phone, **options}))

    async def check(self, verification_id: str, code: str, **user: Unpack[User]) -> Approved:
        """See `Client`."""
        return await self._send(_check({"id": verification_id, "code": code, **user}))

    async def resend(self, verification_id: str, **options: Unpack[CallOptions]) -> Pending:
        """See `Client`."""
        return await self._send(_place("/verify/resend", {"id": verification_id, **options}))

    async def read(self, verification_id: str) -> State:
        """See `Client`."""
        return await self._send(_state("GET", verification_id))

    async def cancel(self, verification_id: str) -> State:
        """See `Client`."""
        return await self._send(_state("POST", verification_id, "/cancel"))

    async def redeem(self, token: str) -> Redeemed:
        """See `Client`."""
        return await self._send(_redeem(token))

    async def close(self) -> None:
        """See `Client`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: _Call[A]) -> A:
        tries_left = self._retries
        while isinstance(result := call.judge(await self._try(call), tries_left), (int, float)):
            tries_left -= 1
            await asyncio.sleep(result)
        return result

    async def _try(self, call: _Call[A]) -> httpx2.Response | httpx2.RequestError:
        try:
            return await self._http.request(**call.sent_as())
        except httpx2.RequestError as error:
            return error

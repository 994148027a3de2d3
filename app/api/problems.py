"""The only place that makes problem details (RFC 9457): a table from each outcome and request error to its status, code and title.

`type` is a URN of the code: there is no page to fetch. The title and docs/errors.md say what a page would.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from app.verification import model
from app.verification.errors import StoreUnavailable
from app.verification.model import PhoneError, Refusal

MEDIA_TYPE = "application/problem+json"

Failed = (
    model.PhoneRejected | model.CodeLengthTooShort | model.ChallengeRequired | model.ChallengeUnavailable
    | model.NotAdmitted | model.CallDenied | model.CallNotPlaced | model.NotFound | model.CodeIncomplete
    | model.CodeIncorrect | model.Ended | model.KeyInUse | model.KeyReused
    | model.TokenInvalid | model.TokenExpired | model.TokenRedeemed
)  # fmt: skip
"""Every outcome that is an error to the caller."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of problem looks like.

    Attributes:
        status: the HTTP status.
        code: the stable, machine-readable name.
        title: the same for people; never changes from one occurrence to the next.
        extras: the members it may have beside the standard ones, with an example value each.
    """

    status: HTTPStatus
    code: str
    title: str
    extras: Mapping[str, object]


def _row(status: int, code: str, title: str, **extras: object) -> Row:
    return Row(HTTPStatus(status), code, title, extras)


_FIELD_ERRORS = [{"field": "phone", "message": "This field is required"}]
_NOT_READY = ["Redis does not answer. Start it, and check the address in REDIS_URL and the network between"]
_CHALLENGE = {
    "provider": "altcha",
    "parameters": {
        "algorithm": "PBKDF2/SHA-256",
        "cost": 250,
        "keyLength": 32,
        "keyPrefix": "000",
        "nonce": "6858cd5c0899f09c2273f3d81d6da187",
        "salt": "11bf50d4c5ad03837c0ec0dbce88dcd7",
        "expiresAt": 1795687441,
        "data": {"client": "app", "level": 0},
    },
    "signature": "24169cabafd98f4aca015d51fa343652f1b909c08d854682c6a0c6287dbe2873",
}

_OVERLOADED = _row(503, "overloaded", "The service has too much to do at the moment", retry_after=2)
"""Too many calls are being placed, or too many requests are under way."""


class RequestError(Enum):
    """What is wrong with a request before any operation, or with the service itself."""

    # fmt: off
    MALFORMED_REQUEST = _row(400, "malformed_request", "This is not an HTTP request")
    MALFORMED_JSON = _row(400, "malformed_json", "The body is not JSON")
    INVALID_REQUEST = _row(422, "invalid_request", "The request has invalid fields", errors=_FIELD_ERRORS)
    BODY_TOO_LARGE = _row(413, "body_too_large", "The body is too large")
    BODY_TIMEOUT = _row(408, "body_timeout", "The body did not arrive in time")
    HEAD_TOO_LARGE = _row(431, "head_too_large", "The request's headers are too large")
    UNSUPPORTED_MEDIA_TYPE = _row(415, "unsupported_media_type", "The body must be plain application/json")
    KEY_MISSING = _row(401, "key_missing", "A key is required")
    KEY_UNKNOWN = _row(401, "key_unknown", "The key is unknown")
    KEY_NOT_ALLOWED = _row(403, "key_not_allowed", "This key does not give access to this route")
    ORIGIN_NOT_ALLOWED = _row(403, "origin_not_allowed", "The key may not be used from here")
    RETURN_URL_NOT_ALLOWED = _row(403, "return_url_not_allowed", "The hosted page may not return there")
    IDEMPOTENCY_KEY_INVALID = _row(400, "idempotency_key_invalid", "The Idempotency-Key is invalid")
    NO_SUCH_ROUTE = _row(404, "no_such_route", "There is no such route")
    METHOD_NOT_ALLOWED = _row(405, "method_not_allowed", "The route does not support this method")
    OVERLOADED = _OVERLOADED
    STORE_UNAVAILABLE = _row(503, "store_unavailable", "Service temporarily unavailable", retry_after=1)
    NOT_READY = _row(503, "not_ready", "The service is not ready", retry_after=5, sandbox=False, breaker="closed", problems=_NOT_READY)
    INTERNAL_ERROR = _row(500, "internal_error", "Something went wrong on our side")
    # fmt: on


# What only the operator or this software can fix is one problem to the caller: the reason is in the log.
_NOT_PLACED = _row(503, "call_not_placed", "The call could not be placed", id="vrf_…", retry_after=30)

OUTCOMES: dict[type | PhoneError | Refusal, Row] = {
    PhoneError.INVALID: _row(422, "phone_invalid", "This is not a phone number"),
    PhoneError.EXTENSION: _row(422, "phone_extension", "A phone number with an extension can't be called"),
    PhoneError.NOT_MOBILE: _row(422, "phone_not_mobile", "Only a mobile phone can be called"),
    PhoneError.COUNTRY_NOT_ALLOWED: _row(422, "country_not_allowed", "Numbers of this country are not called here"),
    Refusal.NOT_A_NUMBER: _row(422, "phone_refused", "The telephony provider does not accept this number", id="vrf_…"),
    Refusal.NOT_PERMITTED: _row(422, "destination_not_permitted", "The telephony provider does not call this destination", id="vrf_…"),
    Refusal.CALLED_TOO_OFTEN: _row(429, "phone_called_too_often", "This phone was called too often", id="vrf_…", retry_after=86400),
    Refusal.CREDENTIALS: _NOT_PLACED,
    Refusal.BALANCE: _NOT_PLACED,
    Refusal.MALFORMED: _NOT_PLACED,
    Refusal.UNREACHABLE: _NOT_PLACED,
    Refusal.BUSY: _NOT_PLACED,
    Refusal.OTHER: _NOT_PLACED,
    model.CodeLengthTooShort: _row(422, "code_length_too_short", "The policy requires a longer code", min_code_length=4),
    model.ChallengeRequired: _row(428, "challenge_required", "Solve the challenge, then send the same request with its solution", challenge=_CHALLENGE),
    model.ChallengeUnavailable: _row(503, "challenge_unavailable", "The challenge can't be verified at the moment", retry_after=10),
    model.CallInProgress: _row(409, "call_in_progress", "A call to this phone is in progress", retry_after=12),
    model.LimitReached: _row(429, "limit_reached", "A limit is reached", limit="resend_cooldown", retry_after=30),
    model.SpendCapReached: _row(503, "spend_cap", "Calls are not available at the moment", retry_after=300),
    model.CodesPredictable: _row(503, "codes_predictable", "No safe code is available at the moment", retry_after=600),
    model.DestinationSuspended: _row(503, "destination_suspended", "Calls to these numbers are suspended for a while", retry_after=900),
    model.ProviderUnavailable: _row(503, "provider_unavailable", "Calls can't be placed at the moment", retry_after=15),
    model.Overloaded: _OVERLOADED,
    model.CallUnknown: _row(504, "call_unknown", "The phone may ring, but the service did not receive its code", id="vrf_…", retry_after=30),
    model.NotFound: _row(404, "verification_not_found", "There is no such verification"),
    model.CodeIncomplete: _row(422, "code_incomplete", "The code has more digits than that; no attempt was spent", code_length=4),
    model.CodeIncorrect: _row(422, "code_incorrect", "The code is wrong", attempts_left=2),
    model.AttemptsExhausted: _row(429, "attempts_exhausted", "All attempts are spent"),
    model.AlreadyUsed: _row(409, "already_used", "The verification was approved before"),
    model.Expired: _row(410, "expired", "The verification has expired"),
    model.CanceledBefore: _row(410, "canceled", "The verification was canceled"),
    model.CallFailed: _row(410, "failed", "The call of this verification could not be placed"),
    model.KeyInUse: _row(409, "idempotency_key_in_use", "A request with this Idempotency-Key is in progress", retry_after=1),
    model.KeyReused: _row(422, "idempotency_key_reused", "This Idempotency-Key was used for another request"),
    model.TokenInvalid: _row(422, "token_invalid", "This is not a verification token for this client"),
    model.TokenExpired: _row(410, "token_expired", "The verification token has expired"),
    model.TokenRedeemed: _row(409, "token_redeemed", "The verification token was redeemed before"),
}  # fmt: skip
"""The row of each outcome: by its reason where it has one, else by its class."""

ROWS = {row.code: row for row in (*OUTCOMES.values(), *(error.value for error in RequestError))}
"""Every problem there is, by its code."""

_CHALLENGES = {  # RFC 6750, section 3
    RequestError.KEY_MISSING: {"WWW-Authenticate": 'Bearer realm="lastdigits"'},
    RequestError.KEY_UNKNOWN: {"WWW-Authenticate": 'Bearer realm="lastdigits", error="invalid_token"'},
}


class Problem(Response):
    """An answer with problem details. The middleware finds it in the scope as `problem`, to count and log it.

    Attributes:
        code: its row's.
        detail: what the caller reads beside the title.
        request_error: set where the request was refused before any operation.
        reason, exception: why, for the log only.
    """

    media_type = MEDIA_TYPE
    request_error: RequestError | None = None
    reason: str | None = None
    exception: Exception | None = None

    def __init__(self, row: Row, headers: Mapping[str, str] | None = None, **members: object) -> None:
        """See `outcome_problem` and `request_problem`. A member that is None is left out."""
        sent = {"Cache-Control": "no-store", **(headers or {})}
        if members.get("retry_after") is not None:
            sent["Retry-After"] = str(members["retry_after"])
        super().__init__(to_json(_body(row, members)), int(row.status), sent)
        self.code = row.code
        self.detail = members.get("detail")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope["problem"] = self
        await super().__call__(scope, receive, send)


def outcome_problem(outcome: Failed) -> Problem:
    """The problem details of an operation's error outcome: its row names which of its attributes are members."""
    match outcome:
        case model.PhoneRejected():
            row = OUTCOMES[outcome.error]
        case model.CallRefused():
            row = OUTCOMES[outcome.refusal]
        case _:
            row = OUTCOMES[type(outcome)]
    return Problem(row, **{name: getattr(outcome, name) for name in ("detail", *row.extras) if hasattr(outcome, name)})


def request_problem(
    error: RequestError, detail: str | None = None, headers: Mapping[str, str] | None = None, **members: object
) -> Problem:
    """The problem details of a request that can't be processed, or of an error of the service itself."""
    row = error.value
    # How long to wait stands in the table where it does not depend on the request.
    waiting = {"retry_after": row.extras["retry_after"]} if "retry_after" in row.extras else {}
    problem = Problem(row, {**_CHALLENGES.get(error, {}), **(headers or {})}, detail=detail, **(waiting | members))
    problem.request_error = error
    return problem


def example(row: Row) -> dict[str, object]:
    """An example of a problem, for the OpenAPI document."""
    return _body(row, row.extras)


def _body(row: Row, members: Mapping[str, object]) -> dict[str, object]:
    kind = f"urn:lastdigits:problem:{row.code}"
    standard = {"type": kind, "title": row.title, "status": int(row.status), "code": row.code}
    return standard | {name: value for name, value in members.items() if value is not None}


# ---- what an exception that leaves a route looks like to the caller


class RequestRejected(Exception):  # noqa: N818  a rejection is what the caller gets, whatever the reason
    """A request that can't be processed as it came. Whatever reads a request raises it."""

    def __init__(
        self, error: RequestError, detail: str, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.error, self.detail, self.headers, self.members = error, detail, headers, members


async def _rejected(_: Request, error: RequestRejected) -> Response:
    return request_problem(error.error, error.detail, error.headers, **error.members)


async def _store_unavailable(_: Request, error: StoreUnavailable) -> Response:
    answer = request_problem(RequestError.STORE_UNAVAILABLE)
    answer.reason = str(error)  # for the log only: it may name hosts
    return answer


async def _not_routed(request: Request, error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return request_problem(RequestError.NO_SUCH_ROUTE)
    if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
        raise error
    # Of all routes that have the path: starlette names those of the first.
    matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    methods = {method for route in matching for method in getattr(route, "methods", None) or ()}
    allowed = sorted(methods | ({"HEAD"} if "GET" in methods else set()))
    return request_problem(RequestError.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(allowed)})


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    RequestRejected: _rejected,
    StoreUnavailable: _store_unavailable,
    HTTPException: _not_routed,
}
"""FastAPI's exception handlers."""

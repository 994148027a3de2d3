"""The only place that makes problem details (RFC 9457): a table from each outcome and fault to its status, code and title.

`type` is a URN of the code: there is no page to fetch, the title and docs/errors.md say what a page would.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from app.api.answer import Answer, headers_for
from app.verification.call import Refusal
from app.verification.model import (
    AlreadyUsed,
    AttemptsExhausted,
    CallFailed,
    CallInProgress,
    CallRefused,
    CallUnknown,
    CanceledBefore,
    ChallengeRequired,
    CodeIncomplete,
    CodeIncorrect,
    CodeLengthTooShort,
    CodesPredictable,
    DestinationSuspended,
    Expired,
    KeyInUse,
    KeyReused,
    LimitReached,
    NotFound,
    PhoneRejected,
    SpendCapReached,
    TokenExpired,
    TokenInvalid,
    TokenRedeemed,
)
from app.verification.phone import PhoneError

MEDIA_TYPE = "application/problem+json"
_MEDIA_TYPE = MEDIA_TYPE.encode()

Failed = (
    PhoneRejected
    | CodeLengthTooShort
    | ChallengeRequired
    | CallInProgress
    | LimitReached
    | SpendCapReached
    | DestinationSuspended
    | CodesPredictable
    | CallRefused
    | CallUnknown
    | NotFound
    | CodeIncomplete
    | CodeIncorrect
    | AttemptsExhausted
    | AlreadyUsed
    | Expired
    | CanceledBefore
    | CallFailed
    | KeyInUse
    | KeyReused
    | TokenInvalid
    | TokenExpired
    | TokenRedeemed
)
"""Every outcome that is not what the caller hoped for."""


class RequestError(StrEnum):
    """What is wrong with a request before any operation, or with the service itself. Its value is the problem's code."""

    MALFORMED_JSON = "malformed_json"
    INVALID_REQUEST = "invalid_request"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    KEY_MISSING = "key_missing"
    KEY_UNKNOWN = "key_unknown"
    KEY_NOT_ALLOWED = "key_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid"
    NO_SUCH_ROUTE = "no_such_route"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    STORE_UNAVAILABLE = "store_unavailable"
    NOT_READY = "not_ready"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind of problem is told.

    Attributes:
        status: the HTTP status.
        code: the stable, machine-readable name.
        title: the same for people; never changes from one occurrence to the next.
        extras: the members it may carry beside the standard ones, with an example value each.
    """

    status: HTTPStatus
    code: str
    title: str
    extras: Mapping[str, object]

    def __init__(self, status: int, code: str, title: str, **extras: object) -> None:
        object.__setattr__(self, "status", HTTPStatus(status))
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "title", title)
        object.__setattr__(self, "extras", extras)


class RequestRejected(Exception):  # noqa: N818  a fault of a request is its name
    """A request that can't be carried out as it came."""

    def __init__(self, fault: RequestError, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
        self.members = members


PHONE: dict[PhoneError, Row] = {
    PhoneError.INVALID: Row(422, "phone_invalid", "This is not a phone number"),
    PhoneError.EXTENSION: Row(422, "phone_extension", "A phone number with an extension can't be called"),
    PhoneError.NOT_MOBILE: Row(422, "phone_not_mobile", "Only a mobile phone can be called"),
    PhoneError.COUNTRY_NOT_ALLOWED: Row(422, "country_not_allowed", "Numbers of this country are not called here"),
}

_NOT_PLACED = Row(503, "call_not_placed", "The call could not be placed", id="vrf_…", retry_after=30)
REFUSED: dict[Refusal, Row] = {
    Refusal.NOT_A_NUMBER: Row(422, "phone_refused", "The telephony provider does not accept this number", id="vrf_…"),
    Refusal.NOT_PERMITTED: Row(422, "destination_not_permitted", "This destination is closed", id="vrf_…"),
    Refusal.CALLED_TOO_OFTEN: Row(
        429, "phone_called_too_often", "This phone was called too often", id="vrf_…", retry_after=86400
    ),
    # What only the operator or we can mend is one problem to the caller: the reason is in the log.
    Refusal.CREDENTIALS: _NOT_PLACED,
    Refusal.BALANCE: _NOT_PLACED,
    Refusal.MALFORMED: _NOT_PLACED,
    Refusal.UNREACHABLE: _NOT_PLACED,
    Refusal.BUSY: _NOT_PLACED,
    Refusal.OTHER: _NOT_PLACED,
}

OUTCOMES: dict[type, Row] = {
    CodeLengthTooShort: Row(422, "code_length_too_short", "The policy demands a longer code", least=4),
    ChallengeRequired: Row(
        428,
        "challenge_required",
        "Solve the challenge, and send its solution with the same request",
        challenge={
            "parameters": {"algorithm": "PBKDF2/SHA-256", "cost": 250, "keyPrefix": "000", "nonce": "…", "salt": "…"},
            "signature": "…",
        },
    ),
    CallInProgress: Row(409, "call_in_progress", "This phone is being called at this moment", retry_after=12),
    LimitReached: Row(429, "limit_reached", "A limit is reached", limit="resend_cooldown", retry_after=30),
    SpendCapReached: Row(503, "spend_cap", "No call can be placed at this moment", retry_after=300),
    CodesPredictable: Row(503, "codes_predictable", "No safe code can be had at this moment", retry_after=600),
    DestinationSuspended: Row(
        503, "destination_suspended", "Calls to these numbers are stopped for a while", retry_after=900
    ),
    CallUnknown: Row(
        504, "call_unknown", "The call may ring, but its code did not reach us", id="vrf_…", retry_after=30
    ),
    NotFound: Row(404, "verification_not_found", "There is no such verification"),
    CodeIncomplete: Row(
        422, "code_incomplete", "Fewer digits were typed than the code has; no attempt was spent", code_length=4
    ),
    CodeIncorrect: Row(422, "code_incorrect", "The code is wrong", attempts_left=2),
    AttemptsExhausted: Row(429, "attempts_exhausted", "All attempts are spent"),
    AlreadyUsed: Row(409, "already_used", "The verification was approved before"),
    Expired: Row(410, "expired", "The verification has expired"),
    CanceledBefore: Row(410, "canceled", "The verification was canceled"),
    CallFailed: Row(410, "failed", "The call of this verification could not be placed"),
    KeyInUse: Row(
        409, "idempotency_key_in_use", "A request with this Idempotency-Key is being carried out", retry_after=1
    ),
    KeyReused: Row(422, "idempotency_key_reused", "This Idempotency-Key was used for another request"),
    TokenInvalid: Row(422, "token_invalid", "The token is no proof for this client"),
    TokenExpired: Row(410, "token_expired", "The proof has expired"),
    TokenRedeemed: Row(409, "token_redeemed", "The proof was redeemed before"),
}

FAULTS: dict[RequestError, Row] = {
    RequestError(row.code): row
    for row in (
        Row(400, "malformed_json", "The body is not JSON"),
        Row(
            422,
            "invalid_request",
            "The request is not as documented",
            errors=[{"field": "phone", "message": "Field required"}],
        ),
        Row(413, "body_too_large", "The body is too large"),
        Row(408, "body_timeout", "The body did not arrive in time"),
        Row(415, "unsupported_media_type", "The body must be application/json"),
        Row(401, "key_missing", "A key is needed"),
        Row(401, "key_unknown", "The key is not known"),
        Row(403, "key_not_allowed", "This key does not reach this route"),
        Row(403, "origin_not_allowed", "The key may not be used from here"),
        Row(400, "idempotency_key_invalid", "The Idempotency-Key can't be used"),
        Row(404, "no_such_route", "There is no such route"),
        Row(405, "method_not_allowed", "The route does not know this method"),
        Row(503, "store_unavailable", "The service can't decide anything at this moment", retry_after=1),
        Row(503, "not_ready", "The service is not ready", retry_after=5, faults=["Redis does not answer"]),
        Row(500, "internal_error", "Something went wrong on our side"),
    )
}

ROWS: dict[str, Row] = {
    row.code: row for row in (*PHONE.values(), *REFUSED.values(), *OUTCOMES.values(), *FAULTS.values())
}
"""Every problem there is, by its code."""

_HEADERS = {
    RequestError.KEY_MISSING: {"WWW-Authenticate": 'Bearer realm="lastdigits"'},
    RequestError.KEY_UNKNOWN: {"WWW-Authenticate": 'Bearer realm="lastdigits", error="invalid_token"'},
}


def failed(outcome: Failed) -> Response:
    """The problem details of an operation that did not end as hoped."""
    row = row_of(outcome)
    kind: type = type(outcome)
    members = {name: getattr(outcome, name) for name in _members(kind, row.code)}
    return _response(row, **members)


@cache
def _members(outcome: type, code: str) -> tuple[str, ...]:
    """Which of an outcome's attributes are told: a row names its members after them."""
    return tuple(name for name in ("detail", *ROWS[code].extras) if hasattr(outcome, name))


def row_of(outcome: Failed) -> Row:
    """How an outcome is told: by its reason where it has one, else by what it is."""
    match outcome:
        case PhoneRejected():
            return PHONE[outcome.fault]
        case CallRefused():
            return REFUSED[outcome.refusal]
        case _:
            return OUTCOMES[type(outcome)]


def faulty(
    fault: RequestError, detail: str | None = None, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """The problem details of a request that can't be carried out, or of a fault of the service."""
    return _response(FAULTS[fault], {**_HEADERS.get(fault, {}), **(headers or {})}, detail=detail, **members)


def example(row: Row) -> dict[str, object]:
    """What a problem looks like, for the OpenAPI document."""
    return _body(row, {"retry_after": None, **row.extras})


def _body(row: Row, members: Mapping[str, object]) -> dict[str, object]:
    standard = {
        "type": f"urn:lastdigits:problem:{row.code}",
        "title": row.title,
        "status": int(row.status),
        "code": row.code,
    }
    return standard | {name: value for name, value in members.items() if value is not None}


def _response(row: Row, headers: Mapping[str, str] | None = None, **members: Any) -> Answer:  # noqa: ANN401  RFC 9457 members have any type
    # Most problems hold a number or nothing, and come again and again: a wrong code with two attempts left. Making one takes 12 µs.
    for value in members.values():
        if type(value) is not int:
            break
    else:
        if not headers:
            return Answer(row.status, *_remembered(row.code, *members.items()))
    return Answer(row.status, *_encoded(row, headers, members))


def _encoded(
    row: Row, headers: Mapping[str, str] | None, members: Mapping[str, Any]
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if members.get("retry_after") is not None:
        sent["Retry-After"] = str(members["retry_after"])
    body = json.dumps(_body(row, members), ensure_ascii=False).encode()
    return body, headers_for(body, _MEDIA_TYPE, sent)


@lru_cache(1024)
def _remembered(code: str, *members: tuple[str, int]) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    return _encoded(ROWS[code], None, dict(members))

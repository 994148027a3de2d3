"""What callers send and receive, as models: they decode, and the OpenAPI document is made from them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.verification.client import Caller
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.code import MAX_SPELLING as MAX_CODE
from app.verification.model import (
    Approved,
    Limit,
    LimitReached,
    Pending,
    Redeemed,
    RemainingQuota,
    Status,
    Verification,
)
from app.verification.phone import MAX_SPELLING as MAX_PHONE
from app.verification.policy import Policy, whole_seconds
from app.verification.ports import BreakerState
from app.verification.rates import Rate
from app.verification.token import LIFETIME, MAX_TOKEN_LENGTH

PURPOSE = r"^[A-Za-z0-9._:-]{1,64}$"

_ID = "vrf_vAQ1KyqTjHDtj3Cgw3caoBiOVUzCdEsH9-KwA0P8GnWu"
_JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6InZlcmlmaWNhdGlvbitqd3QifQ.eyJpc3MiOiJsYXN0ZGlnaXRzIn0.c2ln"
_JWK = {"kty": "EC", "crv": "P-256", "kid": "…", "use": "sig", "alg": "ES256", "x": "…", "y": "…"}


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("This is not an IP address: write it like 203.0.113.7 or 2001:db8::1") from None


Address = Annotated[str, Field(max_length=45), AfterValidator(_address)]

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, to the millisecond."""


def _of(description: str, example: object) -> Any:  # noqa: ANN401  what pydantic's Field returns
    """A field of an answer."""
    return Field(description=description, examples=[example])


VerificationId = Annotated[str, Field(max_length=128), _of("The verification's id, as `/verify/start` gave it.", _ID)]
Device = Annotated[
    Annotated[str, Field(max_length=256)] | None,
    _of("The device token of an earlier approval for this phone: this request is then a known device's.", "dev_mF0c…"),
]
ClientIp = Annotated[
    Address | None,
    _of(
        "From a backend: its user's address, which limits count. Without it, no limit by address applies.",
        "203.0.113.7",
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StartRequest(_Request):
    """Whose phone to verify."""

    phone: Annotated[
        str,
        Field(min_length=1, max_length=MAX_PHONE),
        _of("In any human spelling; national ones for the configured region.", "+7 999 999-99-99"),
    ]
    code_length: Annotated[
        int | None, Field(ge=MIN_DIGITS, le=MAX_DIGITS), _of("Ask for more digits than the policy's; never fewer.", 4)
    ] = None
    purpose: Annotated[
        str | None,
        Field(pattern=PURPOSE),
        _of("What it is for: the verification token has it as a claim.", "login"),
    ] = None
    challenge: Annotated[
        str | None, Field(max_length=4096, description="The solution of the challenge that a 428 answer gave.")
    ] = None
    device: Device = None
    client_ip: ClientIp = None


class CheckRequest(_Request):
    """What a person typed."""

    id: VerificationId
    code: Annotated[
        str,
        Field(max_length=MAX_CODE),
        _of("The last digits of the number that called, or all of it. A string: a number loses zeros.", "0123"),
    ]
    device: Device = None
    client_ip: ClientIp = None


class ResendRequest(_Request):
    """Which verification's phone to call again."""

    id: VerificationId
    device: Device = None
    client_ip: ClientIp = None


class RedeemRequest(_Request):
    """A verification token to be used once."""

    token: Annotated[
        str,
        Field(min_length=1, max_length=MAX_TOKEN_LENGTH),
        _of("The verification token, as `/verify/check` gave it.", _JWT),
    ]


class PendingAnswer(BaseModel):
    """A verification whose phone was called."""

    id: VerificationId
    status: Status = _of("Where the verification is.", "pending")
    phone: str = _of("E.164.", "+79999999999")
    code_length: int = _of("How many last digits are the code.", 4)
    attempts_left: int = _of("Wrong codes that may still be tried.", 3)
    created_at: Timestamp = _of("When it was started.", "2026-11-23T07:00:00.000Z")
    expires_at: Timestamp = _of("Until when its code may be checked.", "2026-11-23T07:05:00.000Z")
    expires_in: int = _of("The same in seconds from now.", 300)
    resend_at: Timestamp | None = _of(
        "When `/verify/resend` calls again; null: not before it ends.", "2026-11-23T07:00:30.000Z"
    )
    resend_in: int | None = _of("The same in seconds from now.", 30)


class StateAnswer(PendingAnswer):
    """The whole state of a verification, without its code."""

    calls: int = _of("Calls that were placed or may have been.", 1)
    purpose: str | None = _of("What it is for.", "login")
    approved_at: Timestamp | None = _of("When it was approved; null: it is not.", None)
    test: bool = _of("Whether it is a test number: no one is called.", example=False)


class ApprovedAnswer(BaseModel):
    """The phone is verified."""

    id: VerificationId
    status: Status = _of("Where the verification is.", "approved")
    phone: str = _of("E.164.", "+79999999999")
    approved_at: Timestamp = _of("When it was approved.", "2026-11-23T07:00:21.000Z")
    token: str = _of("The verification token: a JWT that any backend verifies by `/.well-known/jwks.json`.", _JWT)
    token_expires_in: int = _of("Seconds that it is valid, from `approved_at`.", 600)
    device: str = _of("The device token: keep it, and send it with later starts and checks.", "dev_mF0c…")


class RedeemedAnswer(BaseModel):
    """The verification token is valid, and used up."""

    id: VerificationId
    phone: str = _of("E.164: the phone that was verified.", "+79999999999")
    purpose: str | None = _of("What the verification was for.", "login")
    approved_at: Timestamp = _of("When it was approved.", "2026-11-23T07:00:21.000Z")
    test: bool = _of("Whether it was a test number: no one was called.", example=False)


class KeySetAnswer(BaseModel):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]] = _of("The key that signs, and during a rotation the next or the last one.", [_JWK])


class HealthAnswer(BaseModel):
    """The process answers."""

    status: str = _of("Always the same.", "ok")
    version: str = _of("Of this software.", "0.1.0")


class ReadyAnswer(BaseModel):
    """The service can do its work."""

    status: str = _of("Always the same.", "ready")
    sandbox: bool = _of("Whether calls go to the simulator: no phone rings.", example=False)
    store: str = _of("Of the store.", "valkey 9.1.2")
    breaker: BreakerState = _of(
        "Whether the process that answers asks the provider for calls: closed if it does.", "closed"
    )


def pending_answer(verification: Verification) -> PendingAnswer:
    """What `start` and `resend` answer."""
    return PendingAnswer.model_construct(**_common(verification))


def state_answer(verification: Verification) -> StateAnswer:
    """What a backend reads of a verification."""
    return StateAnswer.model_construct(
        **_common(verification),
        calls=verification.calls,
        purpose=verification.purpose,
        approved_at=rfc3339(verification.approved_at) if verification.approved_at else None,
        test=verification.test,
    )


def approved_answer(approved: Approved) -> ApprovedAnswer:
    """What `check` answers to the right code; the same each time."""
    approval = approved.approval
    return ApprovedAnswer.model_construct(
        id=approval.id,
        status=Status.APPROVED,
        phone=approval.phone,
        approved_at=rfc3339(approval.approved_at),
        token=approved.token,
        token_expires_in=LIFETIME,
        device=approved.device,
    )


def redeemed_answer(redeemed: Redeemed) -> RedeemedAnswer:
    """What `redeem` answers to a verification token, once."""
    approval = redeemed.approval
    return RedeemedAnswer.model_construct(
        id=approval.id,
        phone=approval.phone,
        purpose=approval.purpose,
        approved_at=rfc3339(approval.approved_at),
        test=approval.test,
    )


def rfc3339(milliseconds: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC, to the millisecond."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _common(verification: Verification) -> dict[str, Any]:
    times = verification.times
    waits = verification.status is Status.PENDING and times.resend_at is not None
    resend_at = times.resend_at if waits else None
    return {
        "id": verification.id,
        "status": verification.status,
        "phone": verification.phone,
        "code_length": verification.code_length,
        "attempts_left": verification.attempts_left,
        "created_at": rfc3339(times.created_at),
        "expires_at": rfc3339(times.expires_at),
        "expires_in": whole_seconds(times.expires_at - times.now) if times.expires_at > times.now else 0,
        "resend_at": None if resend_at is None else rfc3339(resend_at),
        "resend_in": None if resend_at is None else max(0, -(-(resend_at - times.now) // 1000)),
    }


# ---- the headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11): the limits of a request, and what is left of them
#
# `RateLimit` has the caller's own limits only. Of those that others share, a phone's or all clients', it has a denial and nothing else: what is left of
# a phone's calls would show a stranger how often its owner asked.

RATE_LIMIT_POLICY = "RateLimit-Policy"
RATE_LIMIT = "RateLimit"

_Limits = tuple[tuple[Limit, tuple[Rate, ...]], ...]


class Quotas:
    """Adds the headers to the answers of start and resend."""

    def __init__(self, policy: Policy) -> None:
        """Take the limits in force."""
        self._share = policy.public_share
        self._of_phone = {True: policy.public_calls_per_phone, False: policy.calls_per_phone}
        self._per_ip = policy.calls_per_ip

    def of_call(self, answer: Response, caller: Caller, outcome: object) -> Response:
        """Add the limits of a start or resend. A known device may use more of a phone's calls than its public key alone."""
        of_phone = self._of_phone[caller.client.public]
        limits: _Limits = ((Limit.CALLS_PER_PHONE, of_phone),)
        if caller.address:
            halves = tuple(rate.per_address for rate in of_phone)
            limits = (*limits, (Limit.CALLS_PER_PHONE_AND_IP, halves), (Limit.CALLS_PER_IP, self._per_ip))
        if own := caller.client.calls:
            own = tuple(rate.share(self._share) for rate in own) if caller.client.public else own
            limits = (*limits, (Limit.CALLS_PER_CLIENT, own))
        return _add(answer, limits, _quotas(outcome))


def _quotas(outcome: object) -> Iterable[RemainingQuota]:
    match outcome:
        case Pending(quotas=quotas):
            return quotas
        case LimitReached(limit=limit, place=int(place), retry_after=retry_after):
            return (RemainingQuota(limit, place, 0, retry_after),)
        case _:
            return ()


def _add(answer: Response, limits: _Limits, quotas: Iterable[RemainingQuota]) -> Response:
    policy, names = _described(limits)
    answer.headers.append(RATE_LIMIT_POLICY, policy)
    left = ", ".join(
        f"{names[quota.limit, quota.place]};r={quota.left};t={quota.reset}"
        for quota in quotas
        if (quota.limit, quota.place) in names
    )
    if left:
        answer.headers.append(RATE_LIMIT, left)
    return answer


@cache
def _described(limits: _Limits) -> tuple[str, dict[tuple[Limit, int], str]]:
    """The policy header, and the name in it of each rate: the limit's own, with its period where it has several."""
    names, members = {}, []
    for limit, rates in limits:
        for place, rate in enumerate(rates):
            names[limit, place] = f'"{limit}"' if len(rates) == 1 else f'"{limit}/{rate.period}"'
            members.append(f"{names[limit, place]};q={rate.count};w={rate.seconds}")
    return ", ".join(members), names

"""What callers send and receive, as models: they decode, and the OpenAPI document is made from them. And the RateLimit headers."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from app.verification.client import Caller
from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.code import MAX_SPELLING as MAX_CODE
from app.verification.limits import Rate
from app.verification.model import Approved, Limit, LimitReached, Pending, RemainingQuota, Status, Verification
from app.verification.phone import MAX_SPELLING as MAX_PHONE
from app.verification.policy import Policy
from app.verification.ports import BreakerState
from app.verification.token import LIFETIME, MAX_TOKEN_LENGTH

PURPOSE = r"^[A-Za-z0-9._:-]{1,64}$"

_ID = "vrf_vAQ1KyqTjHDtj3Cgw3caoBiOVUzCdEsH9-KwA0P8GnWu"
_JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6InZlcmlmaWNhdGlvbitqd3QifQ.eyJpc3MiOiJsYXN0ZGlnaXRzIn0.c2ln"
_JWK = {"kty": "EC", "crv": "P-256", "kid": "…", "use": "sig", "alg": "ES256", "x": "…", "y": "…"}


def rfc3339(milliseconds: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC, to the millisecond."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


Timestamp = Annotated[
    str,
    BeforeValidator(lambda time: rfc3339(time) if isinstance(time, int) else time),
    Field(json_schema_extra={"format": "date-time"}),
]
"""RFC 3339; made of unix milliseconds."""


def seconds_until(moment: int, now: int) -> int:
    """Whole seconds between two times in milliseconds, rounded up: a caller who waits that long is never too early. 0 if it has passed."""
    return max(0, -(-(moment - now) // 1000))


def described(description: str, example: object, **rules: Any) -> Any:  # noqa: ANN401  pydantic's Field takes and returns such
    """A field with an example; `rules` are those of pydantic's `Field`."""
    return Field(description=description, examples=[example], **rules)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("This is not an IP address: write it like 203.0.113.7 or 2001:db8::1") from None


VerificationId = Annotated[str, described("The verification's id, as `/verify/start` gave it.", _ID, max_length=128)]
Device = Annotated[
    Annotated[str, Field(max_length=256)] | None,
    described(
        "The device token of an earlier approval for this phone: this request is then a known device's.", "dev_mF0c…"
    ),
]
ClientIp = Annotated[
    Annotated[str, Field(max_length=45), AfterValidator(_address)] | None,
    described(
        "From a backend: its user's address, which limits count. Without it, no limit by address applies.",
        "203.0.113.7",
    ),
]


# ---- requests


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StartRequest(_Request):
    """Whose phone to verify."""

    phone: str = described(
        "In any human spelling; national ones for the configured region.",
        "+7 999 999-99-99",
        min_length=1,
        max_length=MAX_PHONE,
    )
    code_length: int | None = described(
        "Ask for more digits than the policy's; never fewer.", 4, default=None, ge=MIN_DIGITS, le=MAX_DIGITS
    )
    purpose: str | None = described(
        "What it is for: the verification token has it as a claim.", "login", default=None, pattern=PURPOSE
    )
    challenge: str | None = Field(
        None, max_length=4096, description="The solution of the challenge that a 428 answer gave."
    )
    device: Device = None
    client_ip: ClientIp = None


class CheckRequest(_Request):
    """What a person typed."""

    id: VerificationId
    code: str = described(
        "The last digits of the number that called, or all of it. A string: a number loses zeros.",
        "0123",
        max_length=MAX_CODE,
    )
    device: Device = None
    client_ip: ClientIp = None


class ResendRequest(_Request):
    """Which verification's phone to call again."""

    id: VerificationId
    device: Device = None
    client_ip: ClientIp = None


class RedeemRequest(_Request):
    """A verification token to be used once."""

    token: str = described(
        "The verification token, as `/verify/check` gave it.", _JWT, min_length=1, max_length=MAX_TOKEN_LENGTH
    )


# ---- answers


class PendingAnswer(BaseModel):
    """A verification whose phone was called."""

    id: VerificationId
    status: Status = described("Where the verification is.", "pending")
    phone: str = described("E.164.", "+79999999999")
    code_length: int = described("How many last digits are the code.", 4)
    attempts_left: int = described("Wrong codes that may still be tried.", 3)
    created_at: Timestamp = described("When it was started.", "2026-11-23T07:00:00.000Z")
    expires_at: Timestamp = described("Until when its code may be checked.", "2026-11-23T07:05:00.000Z")
    expires_in: int = described("The same in seconds from now.", 300)
    resend_at: Timestamp | None = described(
        "When `/verify/resend` calls again; null: not before it ends.", "2026-11-23T07:00:30.000Z"
    )
    resend_in: int | None = described("The same in seconds from now.", 30)

    @classmethod
    def of(cls, verification: Verification) -> Self:
        """Describe a verification by the members that this answer has."""
        times = verification.times
        resend_at = times.resend_at if verification.status is Status.PENDING else None
        members = asdict(verification) | {
            "created_at": times.created_at,
            "expires_at": times.expires_at,
            "expires_in": seconds_until(times.expires_at, times.now),
            "resend_at": resend_at,
            "resend_in": None if resend_at is None else seconds_until(resend_at, times.now),
        }
        return cls.model_validate(members)  # it leaves out what this answer does not have


class StateAnswer(PendingAnswer):
    """The whole state of a verification, without its code."""

    calls: int = described("Calls that were placed or may have been.", 1)
    purpose: str | None = described("What it is for.", "login")
    approved_at: Timestamp | None = described("When it was approved; null: it is not.", None)
    test: bool = described("Whether it is a test number: no one is called.", example=False)


class ApprovedAnswer(BaseModel):
    """The phone is verified."""

    id: VerificationId
    status: Status = described("Where the verification is.", "approved")
    phone: str = described("E.164.", "+79999999999")
    approved_at: Timestamp = described("When it was approved.", "2026-11-23T07:00:21.000Z")
    token: str = described("The verification token: a JWT that any backend verifies by `/.well-known/jwks.json`.", _JWT)
    token_expires_in: int = described("Seconds that it is valid, from `approved_at`.", 600)
    device: str = described("The device token: keep it, and send it with later starts and checks.", "dev_mF0c…")

    @classmethod
    def of(cls, approved: Approved) -> Self:
        """Return what `check` answers to the right code; the same each time."""
        return cls(
            id=approved.approval.id,
            status=Status.APPROVED,
            phone=approved.approval.phone,
            approved_at=rfc3339(approved.approval.approved_at),
            token=approved.token,
            token_expires_in=LIFETIME,
            device=approved.device,
        )


class RedeemedAnswer(BaseModel):
    """The verification token is valid, and used up."""

    model_config = ConfigDict(from_attributes=True)  # of an `Approval`

    id: VerificationId
    phone: str = described("E.164: the phone that was verified.", "+79999999999")
    purpose: str | None = described("What the verification was for.", "login")
    approved_at: Timestamp = described("When it was approved.", "2026-11-23T07:00:21.000Z")
    test: bool = described("Whether it was a test number: no one was called.", example=False)


class KeySetAnswer(BaseModel):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]] = described(
        "The key that signs, and during a rotation the next or the last one.", [_JWK]
    )


class HealthAnswer(BaseModel):
    """The process answers."""

    status: str = described("Always the same.", "ok")
    version: str = described("The version of the service.", "0.1.0")


class ReadyAnswer(BaseModel):
    """The service can do its work."""

    status: str = described("Always the same.", "ready")
    sandbox: bool = described("Whether calls go to the simulator: no phone rings.", example=False)
    store: str = described("The store's software and version.", "valkey 9.1.2")
    breaker: BreakerState = described(
        "Whether the process that answers asks the provider for calls: closed if it does.", "closed"
    )


# ---- the limits of a request, and what is left of them (draft-ietf-httpapi-ratelimit-headers-11)

RATE_LIMIT_POLICY, RATE_LIMIT = "RateLimit-Policy", "RateLimit"


def add_limits(answer: Response, policy: Policy, caller: Caller, outcome: object) -> Response:
    """Add the headers `RateLimit-Policy` and `RateLimit` to the answer of a start or resend.

    `RateLimit` has the caller's own limits only. Of those that others share, a phone's or all clients', it has a denial and nothing else: what is left
    of a phone's calls would show a stranger how often its owner asked. A known device may use more of them than these say.
    """
    names, members = {}, []
    for limit, rates in _limits_of(policy, caller):
        for place, rate in enumerate(rates):
            name = f'"{limit}"' if len(rates) == 1 else f'"{limit}/{rate.period}"'
            names[limit, place] = name
            members.append(f"{name};q={rate.count};w={rate.seconds}")
    answer.headers.append(RATE_LIMIT_POLICY, ", ".join(members))
    shown = [(names.get((quota.limit, quota.place)), quota) for quota in _quotas_of(outcome)]
    if left := [f"{name};r={quota.left};t={quota.reset}" for name, quota in shown if name]:
        answer.headers.append(RATE_LIMIT, ", ".join(left))
    return answer


def _limits_of(policy: Policy, caller: Caller) -> Iterator[tuple[Limit, tuple[Rate, ...]]]:
    public, own = caller.client.public, caller.client.calls
    of_phone = policy.public_calls_per_phone if public else policy.calls_per_phone
    yield Limit.CALLS_PER_PHONE, of_phone
    if caller.address:
        yield Limit.CALLS_PER_PHONE_AND_IP, tuple(rate.per_address for rate in of_phone)
        yield Limit.CALLS_PER_IP, policy.calls_per_ip
    if own:
        yield Limit.CALLS_PER_CLIENT, tuple(rate.share(policy.public_share) for rate in own) if public else own


def _quotas_of(outcome: object) -> tuple[RemainingQuota, ...]:
    match outcome:
        case Pending():
            return outcome.quotas
        case LimitReached(place=int(place)):
            return (RemainingQuota(outcome.limit, place, 0, outcome.retry_after),)
        case _:
            return ()

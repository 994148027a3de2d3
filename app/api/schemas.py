"""What callers send and receive, as models: they decode, and the OpenAPI document is made from them."""

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.code import MAX_SPELLING as MAX_CODE
from app.verification.model import Approved, Redeemed, Status, Verification
from app.verification.phone import MAX_SPELLING as MAX_PHONE
from app.verification.policy import whole_seconds
from app.verification.token import LIFETIME, MAX_TOKEN_LENGTH

_ID = "vrf_vAQ1KyqTjHDtj3Cgw3caoBiOVUzCdEsH9-KwA0P8GnWu"
_CREATED, _EXPIRES, _RESEND = "2026-11-23T07:00:00.000Z", "2026-11-23T07:05:00.000Z", "2026-11-23T07:00:30.000Z"

VerificationId = Annotated[
    str, Field(max_length=128, description="The verification's id, as `/verify/start` gave it.", examples=[_ID])
]


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("This is not an IP address: write it like 203.0.113.7 or 2001:db8::1") from None


Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, to the millisecond."""

Device = Annotated[
    Annotated[str, StringConstraints(max_length=256)] | None,
    Field(
        description="The device token of an earlier approval for this phone: this request then counts as a known device's.",
        examples=["dev_mF0c…"],
    ),
]

ClientIp = Annotated[
    Annotated[str, StringConstraints(max_length=45), AfterValidator(_address)] | None,
    Field(
        description="The end user's address, from a backend with a secret key: limits by address count it. Without it, none applies.",
        examples=["203.0.113.7"],
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StartRequest(_Request):
    """Whose phone to verify."""

    phone: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PHONE),
        Field(
            description="The phone in any human spelling; national ones for the configured region.",
            examples=["+7 999 999-99-99"],
        ),
    ]
    code_length: Annotated[
        int | None,
        Field(
            ge=MIN_DIGITS,
            le=MAX_DIGITS,
            description="Ask for more digits than the policy's; never fewer.",
            examples=[4],
        ),
    ] = None
    purpose: Annotated[
        str | None,
        StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$"),
        Field(description="What it is for: the verification token has it as a claim.", examples=["login"]),
    ] = None
    challenge: Annotated[
        str | None,
        StringConstraints(max_length=2048),
        Field(description="The solution of the challenge that a 428 answer gave: ALTCHA's payload, base64."),
    ] = None
    device: Device = None
    client_ip: ClientIp = None


class CheckRequest(_Request):
    """What a person typed."""

    id: VerificationId
    code: Annotated[
        str,
        StringConstraints(max_length=MAX_CODE),
        Field(
            description="The last digits of the number that called, or the whole number in any spelling. A string: a number loses zeros.",
            examples=["0123"],
        ),
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
        StringConstraints(min_length=1, max_length=MAX_TOKEN_LENGTH),
        Field(description="The verification token, as `/verify/check` gave it.", examples=["eyJhbGciOiJFUzI1NiIs…"]),
    ]


class PendingAnswer(BaseModel):
    """A verification whose phone was called."""

    id: VerificationId
    status: Annotated[Status, Field(examples=["pending"])]
    phone: Annotated[str, Field(description="E.164.", examples=["+79999999999"])]
    code_length: Annotated[int, Field(description="How many last digits are the code.", examples=[4])]
    attempts_left: Annotated[int, Field(description="Wrong codes that may still be tried.", examples=[3])]
    created_at: Annotated[Timestamp, Field(examples=[_CREATED])]
    expires_at: Annotated[Timestamp, Field(examples=[_EXPIRES])]
    expires_in: Annotated[int, Field(description="Seconds until it expires.", examples=[300])]
    resend_at: Annotated[
        Timestamp | None,
        Field(
            description="From when on `/verify/resend` calls again; null if the verification ends before.",
            examples=[_RESEND],
        ),
    ]
    resend_in: Annotated[int | None, Field(description="The same in seconds from now.", examples=[30])]


class StateAnswer(PendingAnswer):
    """The whole state of a verification, without its code."""

    calls: Annotated[int, Field(description="Calls that were placed or may have been.", examples=[1])]
    purpose: Annotated[str | None, Field(examples=["login"])]
    approved_at: Annotated[Timestamp | None, Field(examples=[None])]
    test: Annotated[bool, Field(description="Whether it is a test number: no one is called.", examples=[False])]


class ApprovedAnswer(BaseModel):
    """The phone is verified."""

    id: VerificationId
    status: Annotated[Status, Field(examples=["approved"])]
    phone: Annotated[str, Field(description="E.164.", examples=["+79999999999"])]
    approved_at: Annotated[Timestamp, Field(examples=["2026-11-23T07:00:21.000Z"])]
    token: Annotated[
        str,
        Field(
            description="The verification token: a JWT for the client's audience, which any backend verifies by `/.well-known/jwks.json`.",
            examples=[
                "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6InZlcmlmaWNhdGlvbitqd3QifQ.eyJpc3MiOiJsYXN0ZGlnaXRzIn0.c2ln"
            ],
        ),
    ]
    token_expires_in: Annotated[int, Field(description="Seconds that it is valid, from `approved_at`.", examples=[600])]
    device: Annotated[
        str,
        Field(
            description="The device token: keep it, and send it with later starts and checks.", examples=["dev_mF0c…"]
        ),
    ]


class RedeemedAnswer(BaseModel):
    """The verification token is valid, and used up."""

    id: VerificationId
    phone: Annotated[str, Field(description="E.164: the phone that was verified.", examples=["+79999999999"])]
    purpose: Annotated[str | None, Field(description="What the verification was for.", examples=["login"])]
    approved_at: Annotated[Timestamp, Field(examples=["2026-11-23T07:00:21.000Z"])]
    test: Annotated[bool, Field(description="Whether it was a test number: no one was called.", examples=[False])]


class KeySetAnswer(BaseModel):
    """A JWK set (RFC 7517)."""

    keys: Annotated[
        list[dict[str, str]],
        Field(
            description="The public keys that verification tokens verify with: the one that signs, and during a rotation the next or the last one.",
            examples=[[{"kty": "EC", "crv": "P-256", "kid": "…", "use": "sig", "alg": "ES256", "x": "…", "y": "…"}]],
        ),
    ]


class HealthAnswer(BaseModel):
    """The process answers."""

    status: Annotated[str, Field(examples=["ok"])]
    version: Annotated[str, Field(examples=["0.1.0"])]


class ReadyAnswer(BaseModel):
    """The service can do its work."""

    status: Annotated[str, Field(examples=["ready"])]
    sandbox: Annotated[bool, Field(description="Whether calls go to the simulator: no phone rings.", examples=[False])]
    store: Annotated[str, Field(examples=["valkey 9.1.2"])]


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

"""A verification, its states, and what each operation can end in.

An operation's outcomes are a closed union: a caller handles each one, and mypy says when one is missing. All stand on one page, for
they are read together: what can come of a start is the sum of what can come of its parts.
Times are unix milliseconds on the store's clock; durations that callers see are whole seconds, rounded up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.verification.call import Refusal
from app.verification.phone import PhoneError


class Status(StrEnum):
    """Where a verification stands. All but `PENDING` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    LOCKED = "locked"
    EXPIRED = "expired"
    CANCELED = "canceled"
    FAILED = "failed"


class Limit(StrEnum):
    """Which limit denied a call."""

    RESEND_COOLDOWN = "resend_cooldown"  # too soon after the last call to this phone
    CALLS_PER_PHONE = "calls_per_phone"  # as many calls to this phone as the hour or day allows
    CALLS_PER_PHONE_AND_IP = "calls_per_phone_and_ip"  # half of these, for one address
    CALLS_PER_IP = "calls_per_ip"  # as many calls for this address
    CALLS_PER_CLIENT = "calls_per_client"  # as many calls for this client, by its entry in the clients file
    CALLS_TOTAL = "calls_total"  # as many calls as the service places at all
    GUESS_BUDGET = "guess_budget"  # there is no room for guesses at another code of this phone (guess_budget.py)


class Cap(StrEnum):
    """Whose calls have cost as much as their cap allows."""

    ALL = "all"
    CLIENT = "client"
    COUNTRY = "country"


class Scope(StrEnum):
    """What the fraud guard suspends (guard.py)."""

    COUNTRY = "country"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class RemainingQuota:
    """What one of the caller's own limits still allows.

    Attributes:
        limit: which.
        place: which of its rates is the tightest, from 0.
        left: how many more.
        reset: seconds until that is more.
    """

    limit: Limit
    place: int
    left: int
    reset: int


# ---- what the store remembers


@dataclass(frozen=True, slots=True)
class Times:
    """A live verification's times, in unix milliseconds on the store's clock.

    Attributes:
        now: the moment of the answer.
        created_at: when it was started.
        expires_at: from when on no code is accepted.
        resend_at: from when on the limits allow another call; None if its life ends before that.
    """

    now: int
    created_at: int
    expires_at: int
    resend_at: int | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The whole state of a verification, without its code.

    Attributes:
        id: the public, sealed id: `vrf_…`.
        status: where it stands.
        phone: E.164.
        code_length: how many last digits are the code.
        attempts_left: wrong codes that may still be tried.
        calls: how many calls were placed or may have been.
        purpose: what the caller said it is for; None if it said nothing.
        times: when it began, ends, and may be called again.
        approved_at: unix milliseconds; None unless approved.
        test: of a test number: no one is called.
    """

    id: str
    status: Status
    phone: str
    code_length: int
    attempts_left: int
    calls: int
    purpose: str | None
    times: Times
    approved_at: int | None = None
    test: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """What is recorded of a right code: this verification's one approval.

    Attributes:
        id: the verification's id.
        phone: E.164.
        approved_at: unix milliseconds on the store's clock.
        purpose: what the verification was for.
        test: of a test number: no one was called.
        repeated: it was approved before, and this is the same approval again within the repeat window.
    """

    id: str
    phone: str
    approved_at: int
    purpose: str | None
    test: bool
    repeated: bool


# ---- outcomes


@dataclass(frozen=True, slots=True)
class Pending:
    """The call was placed and the code waits to be typed.

    Attributes:
        verification: its state.
        quotas: what the caller's own limits still allow; empty when it is returned again under an idempotency key.
    """

    verification: Verification
    quotas: tuple[RemainingQuota, ...] = ()


@dataclass(frozen=True, slots=True)
class Approved:
    """The right code.

    Attributes:
        approval: what is recorded of it.
        token: the verification token for the client's audience.
        device: by which the person's device is known again for this phone.
    """

    approval: Approval
    token: str = field(repr=False)
    device: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The state that was asked for."""

    verification: Verification


@dataclass(frozen=True, slots=True)
class Canceled:
    """The verification is canceled, now or before: its codes count no more."""

    verification: Verification


@dataclass(frozen=True, slots=True)
class PhoneRejected:
    """The phone is not one that is called. Nothing was reserved, called or paid."""

    error: PhoneError
    detail: str


@dataclass(frozen=True, slots=True)
class CodeLengthTooShort:
    """Fewer digits were asked for than the policy demands."""

    min_code_length: int


@dataclass(frozen=True, slots=True)
class ChallengeRequired:
    """A challenge must be solved before the phone is called, and no solution was sent, or none that counts.

    Attributes:
        level: how hard it is.
        challenge: what to solve; empty until the service has made it.
    """

    level: int
    challenge: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChallengeUnavailable:
    """Whether the challenge is solved can't be judged now. Nothing was called or paid.

    Attributes:
        retry_after: seconds until it may be judged again.
        reason: for the operator.
    """

    retry_after: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallInProgress:
    """A call to this phone is being placed now."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A limit denies it. Nothing was called or paid.

    Attributes:
        limit: which.
        retry_after: seconds until it allows one.
        place: which of its rates denies it, from 0; None for a limit that is no rate.
    """

    limit: Limit
    retry_after: int
    place: int | None = None


@dataclass(frozen=True, slots=True)
class SpendCapReached:
    """Calls have cost as much as a cap allows. Nothing was called or paid. All but `retry_after` is for the operator, and no business of the caller's.

    Attributes:
        cap: whose calls.
        seconds: the cap's window.
        max: the cap, in units (money.py).
        used: of it, in units.
        public: whether the public lane's share is used up, rather than the whole.
        retry_after: seconds until there is money for a call again.
    """

    cap: Cap
    seconds: int
    max: int
    used: int
    public: bool
    retry_after: int


@dataclass(frozen=True, slots=True)
class DestinationSuspended:
    """Calls to this country or range are not converted: it is suspended for a while. Nothing was called or paid.

    Attributes:
        scope: what is suspended.
        destination: the country's code, or the range's first digits; for the operator, and no business of the caller's.
        retry_after: seconds until a call may be tried again.
        just_now: this request found it so, and suspended it.
    """

    scope: Scope
    destination: str
    retry_after: int
    just_now: bool


@dataclass(frozen=True, slots=True)
class CodesPredictable:
    """The provider's codes recur so often that no verification fits under the bound: a call would be for nothing. Nothing was called or paid."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class CallRefused:
    """The provider did not place the call. What was reserved was given back.

    Attributes:
        id: the verification that the call was for.
        refusal: why.
        retry_after: seconds until another try makes sense; None if none does.
    """

    id: str
    refusal: Refusal
    retry_after: int | None


@dataclass(frozen=True, slots=True)
class CallUnknown:
    """The call may ring, but its code is not known to us. It is not dialled again, and it keeps what it reserved.

    Attributes:
        id: the verification that the call was for.
        retry_after: seconds until the phone may be called again.
    """

    id: str
    retry_after: int


@dataclass(frozen=True, slots=True)
class ProviderUnavailable:
    """The provider fails, or refuses our account: no call is tried for a while. Nothing was called, reserved or paid."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class Overloaded:
    """As many calls are being placed as this process places at once. Nothing was called, reserved or paid."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class KeyInUse:
    """A request with this idempotency key is in progress."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class KeyReused:
    """This idempotency key was used for another request."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """No such verification for this client: unknown, forgotten, malformed, or another client's."""


@dataclass(frozen=True, slots=True)
class CodeIncomplete:
    """Fewer digits were typed than the code has. No attempt was spent."""

    code_length: int


@dataclass(frozen=True, slots=True)
class CodeIncorrect:
    """A wrong code: one attempt was spent.

    Attributes:
        attempts_left: of this verification.
        alert: with this one, codes are guessed over so many verifications that it is an attack on all of them.
    """

    attempts_left: int
    alert: bool = False


@dataclass(frozen=True, slots=True)
class AttemptsExhausted:
    """All attempts were spent on wrong codes. A new verification may be started."""


@dataclass(frozen=True, slots=True)
class AlreadyUsed:
    """It was approved before: no code is compared any more."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Its time ran out."""


@dataclass(frozen=True, slots=True)
class CanceledBefore:
    """It was canceled."""


@dataclass(frozen=True, slots=True)
class CallFailed:
    """Its call could not be placed, so there is no code that could be right."""


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A token was redeemed, for the first time and the last.

    Attributes:
        approval: what it says.
    """

    approval: Approval


@dataclass(frozen=True, slots=True)
class TokenInvalid:
    """The token is not one of ours for this audience: forged, cut short, of another kind or another client's."""


@dataclass(frozen=True, slots=True)
class TokenExpired:
    """The token has expired, or the store remembers nothing of its verification."""


@dataclass(frozen=True, slots=True)
class TokenRedeemed:
    """The token was redeemed before."""


Ended = AttemptsExhausted | AlreadyUsed | Expired | CanceledBefore | CallFailed
CallDenied = CallInProgress | LimitReached | SpendCapReached | DestinationSuspended | CodesPredictable
NotAdmitted = ProviderUnavailable | Overloaded
CallNotPlaced = CallRefused | CallUnknown
Called = Pending | NotFound | Ended | CallNotPlaced
"""How a call ended, once it was reserved."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request was executed before under its idempotency key: its outcome then. Nothing was done now."""

    first: Called


KeySeen = KeyInUse | KeyReused | Replayed
StartOutcome = (
    Pending
    | PhoneRejected
    | CodeLengthTooShort
    | ChallengeRequired
    | ChallengeUnavailable
    | NotAdmitted
    | CallDenied
    | CallNotPlaced
    | KeySeen
)
ResendOutcome = Pending | NotFound | Ended | NotAdmitted | CallDenied | CallNotPlaced | KeySeen
CheckOutcome = Approved | NotFound | CodeIncomplete | CodeIncorrect | Ended
ReadOutcome = Found | NotFound
CancelOutcome = Canceled | NotFound | Ended
RedeemOutcome = Redeemed | TokenInvalid | TokenExpired | TokenRedeemed
Outcome = StartOutcome | ResendOutcome | CheckOutcome | ReadOutcome | CancelOutcome | RedeemOutcome

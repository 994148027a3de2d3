"""A verification, its states, and what each operation can end in.

An operation's outcomes are a closed union: a caller handles each one, and mypy says when one is missing. All stand on one page, for
they are read together: what can come of a start is the sum of what can come of its parts.

Times are unix milliseconds on the store's clock; durations that callers see are whole seconds, rounded up. In every class `id` is the public, sealed id
of a verification, `phone` is E.164, and `retry_after` are the seconds until the same request may end otherwise; None where waiting does not help.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Where a verification stands. All but `PENDING` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    LOCKED = "locked"
    EXPIRED = "expired"
    CANCELED = "canceled"
    FAILED = "failed"


class PhoneError(StrEnum):
    """Why a phone is not called."""

    INVALID = "phone_invalid"
    EXTENSION = "phone_extension"
    NOT_MOBILE = "phone_not_mobile"
    COUNTRY_NOT_ALLOWED = "country_not_allowed"


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
    """What the fraud guard suspends (policy.py)."""

    COUNTRY = "country"
    RANGE = "range"


class Responsibility(StrEnum):
    """Who can fix a refusal."""

    CALLER = "caller"
    OPERATOR = "operator"
    US = "us"
    PROVIDER = "provider"


class Refusal(StrEnum):
    """Why a call was certainly not placed."""

    NOT_A_NUMBER = "not_a_number"  # the provider does not take it for a phone number
    NOT_PERMITTED = "not_permitted"  # the destination is closed for this account
    CALLED_TOO_OFTEN = "called_too_often"  # the provider's own limit on this number: again in a day
    CREDENTIALS = "credentials"  # our key or login is wrong, or the account is blocked
    BALANCE = "balance"  # the account has no money left
    MALFORMED = "malformed"  # the provider did not understand our request
    UNREACHABLE = "unreachable"  # no connection could be made: the request was never sent
    BUSY = "busy"  # all our connections are taken: the request was never sent
    OTHER = "other"  # an answer that says no in words we do not know

    @property
    def responsibility(self) -> Responsibility:
        """Who can fix it."""
        return REMEDIES[self][0]

    @property
    def retry_after(self) -> int | None:
        """Seconds until another try may end otherwise; None where waiting does not help."""
        return REMEDIES[self][1]


REMEDIES: dict[Refusal, tuple[Responsibility, int | None]] = {
    Refusal.NOT_A_NUMBER: (Responsibility.CALLER, None),
    Refusal.NOT_PERMITTED: (Responsibility.CALLER, None),
    Refusal.CALLED_TOO_OFTEN: (Responsibility.CALLER, 86400),
    Refusal.CREDENTIALS: (Responsibility.OPERATOR, 60),
    Refusal.BALANCE: (Responsibility.OPERATOR, 60),
    Refusal.MALFORMED: (Responsibility.US, None),
    Refusal.UNREACHABLE: (Responsibility.PROVIDER, 5),
    Refusal.BUSY: (Responsibility.US, 2),
    Refusal.OTHER: (Responsibility.PROVIDER, 30),
}


@dataclass(frozen=True, slots=True)
class RemainingQuota:
    """What one of the caller's own limits still allows."""

    limit: Limit
    place: int  # which of its rates is the tightest, from 0
    left: int  # how many more
    reset: int  # seconds until that is more


# ---- what the store remembers


@dataclass(frozen=True, slots=True)
class Times:
    """A live verification's times."""

    now: int  # the moment of the answer
    created_at: int
    expires_at: int  # from when on no code is accepted
    resend_at: int | None  # from when on the limits allow another call; None if its life ends before that


@dataclass(frozen=True, slots=True)
class Verification:
    """The whole state of a verification, without its code."""

    id: str
    status: Status
    phone: str
    code_length: int  # how many last digits are the code
    attempts_left: int  # wrong codes that may still be tried
    calls: int  # how many were placed or may have been
    purpose: str | None  # what the caller said it is for; None if it said nothing
    times: Times
    approved_at: int | None = None
    test: bool = False  # of a test number: no one is called


@dataclass(frozen=True, slots=True)
class Approval:
    """What is recorded of a right code: this verification's one approval."""

    id: str
    phone: str
    approved_at: int
    purpose: str | None
    test: bool
    repeated: bool  # it was approved before, and this is the same approval again within the repeat window


# ---- outcomes


@dataclass(frozen=True, slots=True)
class Pending:
    """The call was placed and the code waits to be typed."""

    verification: Verification
    quotas: tuple[RemainingQuota, ...] = ()  # empty when it is returned again under an idempotency key


@dataclass(frozen=True, slots=True)
class Approved:
    """The right code."""

    approval: Approval
    token: str = field(repr=False)  # the verification token for the client's audience
    device: str = field(repr=False)  # by which the person's device is known again for this phone


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
    detail: str  # a sentence for the person who typed it


@dataclass(frozen=True, slots=True)
class CodeLengthTooShort:
    """Fewer digits were asked for than the policy demands."""

    min_code_length: int


@dataclass(frozen=True, slots=True)
class ChallengeRequired:
    """A challenge must be solved before the phone is called, and no solution was sent, or none that counts."""

    level: int  # how hard it is
    challenge: Mapping[str, object] = field(default_factory=dict)  # what to solve; empty until the service has made it


@dataclass(frozen=True, slots=True)
class ChallengeUnavailable:
    """Whether the challenge is solved can't be judged now. Nothing was called or paid."""

    retry_after: int
    reason: str = ""  # for the operator


@dataclass(frozen=True, slots=True)
class CallInProgress:
    """A call to this phone is being placed now."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A limit denies it. Nothing was called or paid."""

    limit: Limit
    retry_after: int
    place: int | None = None  # which of its rates denies it, from 0; None for a limit that is no rate


@dataclass(frozen=True, slots=True)
class SpendCapReached:
    """Calls have cost as much as a cap allows. Nothing was called or paid. All but `retry_after` is for the operator, and no business of the caller's."""

    cap: Cap
    seconds: int  # the cap's window
    max: int  # the cap, in units (limits.py)
    used: int  # of it, in units
    public: bool  # whether the public lane's share is used up, rather than the whole
    retry_after: int


@dataclass(frozen=True, slots=True)
class DestinationSuspended:
    """Calls to this country or range are not converted: it is suspended for a while. Nothing was called or paid."""

    scope: Scope
    destination: str  # the country's code, or the range's first digits; for the operator, no business of the caller's
    retry_after: int
    just_now: bool  # this request found it so, and suspended it


@dataclass(frozen=True, slots=True)
class CodesPredictable:
    """The provider's codes recur so often that no verification fits under the bound: a call would be for nothing. Nothing was called or paid."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class CallRefused:
    """The provider did not place the call. What was reserved was given back."""

    id: str
    refusal: Refusal
    retry_after: int | None


@dataclass(frozen=True, slots=True)
class CallUnknown:
    """The call may ring, but its code is not known to us. It is not dialled again, and it keeps what it reserved."""

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
    """A wrong code: one attempt was spent."""

    attempts_left: int
    alert: bool = False  # with this one, so many verifications are guessed at that it is an attack on all of them


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
    """A token was redeemed, for the first time and the last."""

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
ResendOutcome = Pending | NotFound | Ended | NotAdmitted | CallDenied | CallNotPlaced | KeySeen
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
CheckOutcome = Approved | NotFound | CodeIncomplete | CodeIncorrect | Ended
ReadOutcome = Found | NotFound
CancelOutcome = Canceled | NotFound | Ended
RedeemOutcome = Redeemed | TokenInvalid | TokenExpired | TokenRedeemed
Outcome = StartOutcome | ResendOutcome | CheckOutcome | ReadOutcome | CancelOutcome | RedeemOutcome

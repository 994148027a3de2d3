"""A verification, its states, and what each operation can end in.

An operation's outcomes are a closed union: whoever calls it handles each one, and mypy says when one is missing. All stand on one page, for
they are read together: what can come of a start is the sum of what can come of its parts.
Times are unix milliseconds on the store's clock; durations that a caller is told are whole seconds, rounded up.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from app.verification.call import Refusal
from app.verification.phone import PhoneError
from app.verification.values import value


class Status(StrEnum):
    """Where a verification stands. All but `PENDING` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    LOCKED = "locked"
    EXPIRED = "expired"
    CANCELED = "canceled"
    FAILED = "failed"


class Limit(StrEnum):
    """Which limit said no."""

    RESEND_COOLDOWN = "resend_cooldown"  # too soon after the last call to this phone
    CALLS_PER_PHONE = "calls_per_phone"  # as many calls to this phone as the hour or day allows
    CALLS_PER_PHONE_AND_IP = "calls_per_phone_and_ip"  # half of these, for one address
    CALLS_PER_IP = "calls_per_ip"  # as many calls for this address
    CALLS_PER_CLIENT = "calls_per_client"  # as many calls for this client, by its entry in the clients file
    CALLS_TOTAL = "calls_total"  # as many calls as the service places at all
    GUESS_BUDGET = "guess_budget"  # guesses against this phone have cost as much as a day allows (budget.py)
    WRONG_GUESSES_PER_IP = "wrong_guesses_per_ip"  # as many wrong codes from this address


class Cap(StrEnum):
    """Whose calls have cost what they may."""

    ALL = "all"
    CLIENT = "client"
    COUNTRY = "country"


class Scope(StrEnum):
    """What the guard against toll fraud closes (guard.py)."""

    COUNTRY = "country"
    RANGE = "range"


@value
class RemainingQuota:
    """What one of the caller's own limits still lets through.

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


@value
class Times:
    """A live verification's times, in unix milliseconds on the store's clock.

    Attributes:
        now: the moment of the answer.
        created_at: when it was started.
        expires_at: from when on no code is taken.
        resend_at: from when on the limits let another call through; None if its life ends before that.
    """

    now: int
    created_at: int
    expires_at: int
    resend_at: int | None


@value
class Verification:
    """The whole state of a verification, without its code.

    Attributes:
        id: the public, sealed id: `vrf_…`.
        status: where it stands.
        phone: E.164.
        code_length: how many last digits are the code.
        attempts_left: wrong guesses that may still be made.
        calls: how many calls were placed or may have been.
        purpose: what the caller said it is for; None if it said nothing.
        times: when it began, ends, and may be called again.
        approved_at: unix milliseconds; None unless approved.
        test: of a test number: nobody is called.
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


@value
class Approval:
    """What is recorded of a right code: this verification's one approval.

    Attributes:
        id: the verification's id.
        phone: E.164.
        approved_at: unix milliseconds on the store's clock.
        purpose: what the verification was for.
        test: of a test number: nobody was called.
        repeated: it was approved before, and this is the same approval told again within the grace time.
        rooms: what the caller's own limits still let through.
    """

    id: str
    phone: str
    approved_at: int
    purpose: str | None
    test: bool
    repeated: bool
    quotas: tuple[RemainingQuota, ...] = ()


# ---- outcomes


@value
class Pending:
    """The call was placed and the code waits to be typed.

    Attributes:
        verification: its state.
        rooms: what the caller's own limits still let through; empty when told again under an idempotency key.
    """

    verification: Verification
    quotas: tuple[RemainingQuota, ...] = ()


@value
class Approved:
    """The right code.

    Attributes:
        approval: what is recorded of it.
        token: the verification token for the client's audience.
        device: the device token, which later starts and checks may send.
    """

    approval: Approval
    token: str = field(repr=False)
    device: str = field(default="", repr=False)


@value
class Found:
    """The state that was asked for."""

    verification: Verification


@value
class Canceled:
    """The verification is canceled, now or before: its codes count no more."""

    verification: Verification


@value
class PhoneRejected:
    """The phone is not one that we call. Nothing was reserved, called or paid."""

    fault: PhoneError
    detail: str


@value
class CodeLengthTooShort:
    """Fewer digits were asked for than the policy requires."""

    min_code_length: int


@value
class ChallengeRequired:
    """Work is asked for before the phone is called, and none was sent, or none that counts.

    Attributes:
        challenge: what to solve, as ALTCHA's solvers read it; empty until the verifier has made it.
    """

    challenge: Mapping[str, object] = field(default_factory=dict)


@value
class ChallengeUnavailable:
    """A solution was sent, and the challenge provider can't say whether it is right. Nothing was called or paid.

    Attributes:
        retry_after: seconds until another try makes sense.
    """

    retry_after: int


@value
class CallInProgress:
    """A call to this phone is being placed at this moment."""

    retry_after: int


@value
class LimitReached:
    """A limit said no. Nothing was called, compared or paid.

    Attributes:
        limit: which.
        retry_after: seconds until it lets one through.
        place: which of its rates said no, from 0; None for a limit that is no rate.
    """

    limit: Limit
    retry_after: int
    place: int | None = None


@value
class SpendCapReached:
    """Calls have cost what they may. Nothing was called or paid.

    Attributes:
        cap: whose calls; for the operator, and no business of the caller's.
        retry_after: seconds until there is money for a call again.
    """

    cap: Cap
    retry_after: int


@value
class DestinationSuspended:
    """Calls to this country or range are not confirmed: it is closed for a while. Nothing was called or paid.

    Attributes:
        scope: what is closed.
        destination: the country's code, or the range's first digits; for the operator, and no business of the caller's.
        retry_after: seconds until a call may be tried again.
        just_now: this request found it so, and closed it.
    """

    scope: Scope
    destination: str
    retry_after: int
    just_now: bool


@value
class CodesPredictable:
    """The provider's codes recur so often that not one guess fits under the bound: a call would be for nothing. Nothing was called or paid."""

    retry_after: int


@value
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


@value
class CallUnknown:
    """The call may ring, but its code is not known to us. It is not dialled again, and it keeps what it reserved.

    Attributes:
        id: the verification that the call was for.
        retry_after: seconds until the phone may be called again.
    """

    id: str
    retry_after: int


@value
class KeyInUse:
    """A request with this idempotency key is being carried out at this moment."""

    retry_after: int


@value
class KeyReused:
    """This idempotency key was used for another request."""


@value
class NotFound:
    """No such verification for this client: unknown, forgotten, malformed, or another client's."""


@value
class CodeIncomplete:
    """Fewer digits were typed than the code has. No attempt was spent."""

    code_length: int


@value
class CodeIncorrect:
    """A wrong code: one attempt was spent.

    Attributes:
        attempts_left: of this verification.
        alarm: with this one, codes are guessed over so many verifications that it is an attack on all of them.
        rooms: what the caller's own limits still let through.
    """

    attempts_left: int
    alarm: bool = False
    quotas: tuple[RemainingQuota, ...] = ()


@value
class AttemptsExhausted:
    """All attempts were spent on wrong codes. A new verification may be started."""


@value
class AlreadyUsed:
    """It was approved before: no code is compared any more."""


@value
class Expired:
    """Its time ran out."""


@value
class CanceledBefore:
    """It was canceled."""


@value
class CallFailed:
    """Its call could not be placed, so there is no code that could be right."""


@value
class Redeemed:
    """A proof was redeemed, for the first time and the last.

    Attributes:
        approval: what it proves.
    """

    approval: Approval


@value
class TokenInvalid:
    """The token is no proof of ours for this audience: forged, cut short, of another kind or another's."""


@value
class TokenExpired:
    """The proof's time is over, or the store remembers nothing of its verification."""


@value
class TokenRedeemed:
    """The proof was redeemed before."""


Ended = AttemptsExhausted | AlreadyUsed | Expired | CanceledBefore | CallFailed
CallDenied = CallInProgress | LimitReached | SpendCapReached | DestinationSuspended | CodesPredictable
CallNotPlaced = CallRefused | CallUnknown
Called = Pending | NotFound | Ended | CallNotPlaced
"""How a call ended, once it was reserved."""


@value
class Replayed:
    """The request was carried out before under its idempotency key: what came of it then. Nothing was done now."""

    first: Called


KeySeen = KeyInUse | KeyReused | Replayed
StartOutcome = (
    Pending
    | PhoneRejected
    | CodeLengthTooShort
    | ChallengeRequired
    | ChallengeUnavailable
    | CallDenied
    | CallNotPlaced
    | KeySeen
)
ResendOutcome = Pending | NotFound | Ended | CallDenied | CallNotPlaced | KeySeen
CheckOutcome = Approved | NotFound | CodeIncomplete | CodeIncorrect | LimitReached | Ended
ReadOutcome = Found | NotFound
CancelOutcome = Canceled | NotFound | Ended
RedeemOutcome = Redeemed | TokenInvalid | TokenExpired | TokenRedeemed
Outcome = StartOutcome | ResendOutcome | CheckOutcome | ReadOutcome | CancelOutcome | RedeemOutcome

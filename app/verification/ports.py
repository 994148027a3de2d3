"""What the core needs of the world: a provider that places calls, a store that remembers, observers.

The other packages implement these; the core imports none of them. Challenges have their port in challenge.py.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from app.verification.challenge import Solved
from app.verification.client import Client, Lane, Networks
from app.verification.guess_budget import GuessBudget
from app.verification.ids import IdempotencyRef, VerificationRef
from app.verification.model import (
    Approval,
    CallDenied,
    ChallengeRequired,
    CodeIncomplete,
    CodeIncorrect,
    Ended,
    KeySeen,
    NotFound,
    Outcome,
    Overloaded,
    ProviderUnavailable,
    Redeemed,
    Refusal,
    RemainingQuota,
    TokenExpired,
    TokenRedeemed,
    Verification,
)

# ---- the provider: a call's outcomes are placed, refused, unknown


@dataclass(frozen=True, slots=True)
class Placed:
    """The provider took the call."""

    code: str = field(repr=False)  # the calling number's last digits: exactly as many ASCII digits as were asked for
    call_id: str | None  # the provider's own, for its support desk; None if it gave none that a log may show
    price: Decimal | None  # in the provider's currency; None if the answer has no price, 0, or one that can't be read
    unreadable_price: str | None = None  # the price that can't be read, without code and phone, for the operator's log


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was certainly not placed: nothing rings and nothing is owed."""

    reason: Refusal
    detail: str  # the provider's own words, cut short and free of secrets, for the operator's log and never the caller


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have arrived: the call may ring and may cost. Never dialled again by us."""

    detail: str  # what happened, for the operator's log and never the caller


CallOutcome = Placed | Refused | Unknown


class CallSlot(Protocol):
    """The right to ask the provider for one call. It is used by `place`, or given back."""

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """Ring a phone (E.164) once and return the last digits, 4 to 6, of the number that calls.

        Never raises for what the provider or the network does: that is one of the three outcomes.
        """
        ...

    def give_back(self) -> None:
        """No call comes of it. After `place` began, this does nothing."""
        ...


class Provider(Protocol):
    """A telephony provider that places flash calls."""

    def admit(self, lane: Lane) -> CallSlot | ProviderUnavailable | Overloaded:
        """Admit a call before anything is reserved for it, or say at once that none can be placed now."""
        ...


# ---- the store


@dataclass(frozen=True, slots=True)
class Reserved:
    """The right to place one call."""

    number: int  # which call of its verification it is, from 1
    at: int  # when it was reserved, unix milliseconds on the store's clock
    price: int  # what was reserved for it, in units (limits.py)
    code_length: int  # digits of the code that the provider is asked for
    sampled: bool = False  # whether its code is a sample of how codes are distributed: one a phone and day
    quotas: tuple[RemainingQuota, ...] = ()  # what the caller's own limits still allow


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who requests, as the store's records and limits know it."""

    client: Client  # to whom the verification belongs
    lane: Lane = Lane.TRUSTED
    networks: Networks | None = None  # the end user's; None where no address is known
    idempotency: IdempotencyRef | None = None  # where the outcome is kept, if the request has an idempotency key
    solved: Solved | None = None  # the challenge that a start brings
    # Distinguishes it from all other requests, so that it gives back only what it has reserved itself.
    nonce: str = field(default_factory=lambda: secrets.token_hex(6))


@dataclass(frozen=True, slots=True)
class Suspended:
    """A destination of one lane that is not called now."""

    destination: str  # a country, or the first digits of a range
    lane: str
    until: int  # unix milliseconds


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used of one limit now, by lane."""

    public: int
    trusted: int
    resets_in: int  # milliseconds until some of it is free again


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What the fraud guard, the spray alert and the shared budgets stand at."""

    suspended: tuple[Suspended, ...]  # the soonest to resume first
    alert_until: int | None  # when the spray alert ends, unix milliseconds; None while there is none
    used: dict[str, Usage]  # of each shared limit, by its name


class Store(Protocol):
    """Remembers verifications and limits: each method is one atomic step on the store's own clock.

    Every method raises `StoreUnavailable` where the store does not answer or can't write. Then nothing was done, and nothing will be done later, as far as
    the store can be trusted to obey the time limit that each step carries.
    """

    async def reserve(
        self, ref: VerificationRef, context: RequestContext, code_length: int, purpose: str | None
    ) -> Reserved | ChallengeRequired | CallDenied | KeySeen:
        """Reserve a phone's first call for a new verification, and write the verification. With an idempotency key, the request is executed once.

        `code_length` is the fewest digits of the code; there are more where the phone's guess budget has no room for so few. A test number has its own.
        """
        ...

    async def reserve_resend(
        self, ref: VerificationRef, context: RequestContext
    ) -> Reserved | NotFound | Ended | CallDenied | KeySeen:
        """Reserve another call for a pending verification."""
        ...

    async def recall(self, ref: VerificationRef, context: RequestContext) -> KeySeen | None:
        """Return what became of a request whose idempotency key was seen before; None if it was not. It reserves nothing."""
        ...

    async def settle(
        self, ref: VerificationRef, context: RequestContext, call: Reserved, code: str, price: int | None
    ) -> Verification | NotFound | Ended:
        """Store the digest of a placed call's code, and what it cost. May be repeated: the second time changes nothing.

        The price is in units (limits.py); None if the provider did not say: then the call cost what was expected.
        """
        ...

    async def cancel_reservation(
        self, ref: VerificationRef, context: RequestContext, call: Reserved | None, reason: Refusal
    ) -> int:
        """Give a reservation back whose call was not placed; milliseconds until the phone may be called again.

        Without `call`, the reply to the reservation was lost: then what this request has reserved, if it has, is given back, and its idempotency key is
        free again. What is still on its way to the server is waited for.
        """
        ...

    async def commit_unknown(self, ref: VerificationRef, context: RequestContext, call: Reserved) -> int:
        """Keep the reservation of a call whose outcome is unknown; milliseconds until the phone may be called again."""
        ...

    async def check(
        self, ref: VerificationRef, client: Client, digits: str
    ) -> Approval | CodeIncorrect | CodeIncomplete | NotFound | Ended:
        """Compare what a person typed; at most one first approval, at most so many wrong codes, however many come at once."""
        ...

    async def read(self, ref: VerificationRef, client: Client) -> Verification | NotFound:
        """Return the whole state."""
        ...

    async def cancel(self, ref: VerificationRef, client: Client) -> NotFound | Ended | None:
        """End a pending verification; None when it is canceled, now or before."""
        ...

    async def redeem(self, ref: VerificationRef, expires_at: int) -> Redeemed | TokenExpired | TokenRedeemed:
        """Redeem the token of an approved verification, once. It expires at `expires_at`, unix milliseconds."""
        ...

    async def sample(self, codes: Mapping[int, bytes]) -> dict[int, bytes]:
        """Add digests of codes, by their digits, to the samples that all workers share, and return these: the newest `SAMPLE` of each (entropy.py).

        Added twice, they are there twice: after `StoreUnavailable` they may be there, and must not be added again.
        """
        ...

    def charge(self, guesses: GuessBudget) -> None:
        """From now on charge guesses by this budget."""
        ...

    async def status(self, *clients: Client) -> GuardStatus:
        """Return what is suspended, whether the spray alert is on, and what is used of the shared budgets, and of these clients' own."""
        ...


# ---- observers


@dataclass(frozen=True, slots=True)
class OperationEnded:
    """An operation came to its outcome."""

    operation: str  # `start`, `check`, `resend`, `read`, `cancel` or `redeem`
    client: str
    id: str | None  # the verification's, where there is one
    phone: str | None  # E.164, where it is known; an observer masks it
    test: bool  # of a test number, which is counted apart
    outcome: Outcome
    lane: Lane | None = None  # of a start, where it is known


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The provider was asked for a call."""

    id: str
    phone: str  # E.164; an observer masks it
    outcome: CallOutcome
    seconds: float  # how long it took
    expected: int  # what the call was expected to cost, in units (limits.py)


@dataclass(frozen=True, slots=True)
class CodeBias:
    """What is known of the codes of one length (entropy.py)."""

    digits: int  # that length
    codes_seen: int  # how many codes were judged
    chance: float  # what a guess is charged, as a probability: 10^-digits, or more if the codes are biased
    biased: bool  # whether it is more
    min_entropy: float  # of `chance`, in bits
    min_entropy_low: float  # its bound by the most common code
    min_entropy_high: float  # its bound by pairs of equal codes


@dataclass(frozen=True, slots=True)
class BiasMeasured:
    """How codes are distributed was measured again."""

    bias: Mapping[int, CodeBias]  # by the code's digits
    worse: bool  # codes turned out to be biased for the first time, or more than before
    impossible: bool  # no verification fits under the bound, so no one is called


class BreakerState(StrEnum):
    """Whether this process asks the provider for calls."""

    CLOSED = "closed"  # it does
    OPEN = "open"  # it does not: the provider fails, or refuses our account
    HALF_OPEN = "half_open"  # one call finds out whether it works again


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The breaker between this process and the provider changed."""

    state: BreakerState
    reason: str = ""  # of an open one: why; a refusal, or `unknown`
    pause: float = 0.0  # of an open one: seconds until a call finds out whether the provider works again


Event = OperationEnded | CallEnded | BiasMeasured | BreakerChanged

Observer = Callable[[Event], None]
"""Logs, metrics. Must be quick and must not raise."""

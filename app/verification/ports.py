"""What the core needs of the world: a provider that places calls, a store that remembers, observers.

The other packages implement these; the core imports none of them. Challenges have their port in challenge.py.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from app.verification.call import CallOutcome, Refusal
from app.verification.challenge import Solved
from app.verification.client import Client, Lane
from app.verification.guard import GuardStatus
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
    RemainingQuota,
    TokenExpired,
    TokenRedeemed,
    Verification,
)
from app.verification.networks import Networks

if TYPE_CHECKING:  # entropy.py imports this file
    from app.verification.entropy import CodeBias


class CallSlot(Protocol):
    """The right to ask the provider for one call. It is used by `place`, or given back."""

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """Ring a phone once and return the last digits of the number that calls.

        Never raises for what the provider or the network does: that is one of the three outcomes.

        Args:
            phone: E.164, with the plus.
            code_length: how many last digits are the code, 4 to 6.
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
    """The right to place one call.

    Attributes:
        number: which call of its verification it is, from 1.
        at: when it was reserved, unix milliseconds on the store's clock.
        price: what was reserved for it, in units (money.py).
        code_length: digits of the code that the provider is asked for.
        sampled: whether its code is a sample of how codes are distributed: one a phone and day.
        quotas: what the caller's own limits still allow.
    """

    number: int
    at: int
    price: int
    code_length: int
    sampled: bool = False
    quotas: tuple[RemainingQuota, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who requests, as the store's records and limits know it.

    Attributes:
        client: to whom the verification belongs.
        lane: which part of the shared budgets it may use.
        networks: the end user's; None where no address is known.
        idempotency: where the outcome is kept, if the request has an idempotency key.
        solved: the challenge that a start brings.
        nonce: distinguishes it from all other requests, so that it gives back only what it has reserved itself.
    """

    client: Client
    lane: Lane = Lane.TRUSTED
    networks: Networks | None = None
    idempotency: IdempotencyRef | None = None
    solved: Solved | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(6))


class Store(Protocol):
    """Remembers verifications and limits: each method is one atomic step on the store's own clock.

    Every method raises `StoreUnavailable` where the store does not answer or can't write. Then nothing was done, and nothing will be done later, as far as
    the store can be trusted to obey the time limit that each step carries.
    """

    async def reserve(
        self, ref: VerificationRef, context: RequestContext, code_length: int, purpose: str | None
    ) -> Reserved | ChallengeRequired | CallDenied | KeySeen:
        """Reserve a phone's first call for a new verification, and write the verification.

        Args:
            ref: names the verification.
            context: who starts it. With an idempotency key, the request is executed once.
            code_length: the fewest digits of the code; there are more where the phone's guess budget has no room for so few. A test number has its own.
            purpose: what it is for.
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
        """Store the code of a placed call, and what it cost. May be repeated: the second time changes nothing.

        Args:
            ref: the verification.
            context: who requested the call.
            call: what was reserved.
            code: its digest.
            price: what the call cost, in units (money.py); None if the provider did not say: then it cost what was expected.
        """
        ...

    async def cancel_reservation(
        self, ref: VerificationRef, context: RequestContext, call: Reserved | None, reason: Refusal
    ) -> int:
        """Give a reservation back whose call was not placed; milliseconds until the phone may be called again.

        Args:
            ref: the verification.
            context: who requested the call.
            call: what was reserved; None if the reply to the reservation was lost: then what this request has reserved, if it has, and its idempotency
                key is free again. What is still on its way to the server is waited for.
            reason: why it was not placed.
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
        """Redeem the token of an approved verification, once.

        Args:
            ref: the verification.
            expires_at: when the token expires, unix milliseconds.
        """
        ...

    async def sample(self, codes: Mapping[int, bytes]) -> dict[int, bytes]:
        """Add digests of codes, by their digits, to the samples that all workers share, and return these: the newest `SAMPLE` of each.

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
    """An operation came to its outcome.

    Attributes:
        operation: `start`, `check`, `resend`, `read`, `cancel` or `redeem`.
        client: who requested it.
        id: the verification's id, where there is one.
        phone: E.164, where it is known; an observer masks it.
        test: of a test number, which is counted apart.
        outcome: how it ended.
        lane: of a start or resend, where it is known.
    """

    operation: str
    client: str
    id: str | None
    phone: str | None
    test: bool
    outcome: Outcome
    lane: Lane | None = None


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The provider was asked for a call.

    Attributes:
        id: the verification's id.
        phone: E.164; an observer masks it.
        outcome: what the provider did. Its `detail` is for the operator.
        seconds: how long it took.
        expected: what the call was expected to cost, in units (money.py).
    """

    id: str
    phone: str
    outcome: CallOutcome
    seconds: float
    expected: int


@dataclass(frozen=True, slots=True)
class BiasMeasured:
    """How codes are distributed was measured again.

    Attributes:
        bias: by the code's digits.
        worse: codes turned out to be biased for the first time, or more than before.
        impossible: no verification fits under the bound, so no one is called.
    """

    bias: "Mapping[int, CodeBias]"
    worse: bool
    impossible: bool


class BreakerState(StrEnum):
    """Whether this process asks the provider for calls."""

    CLOSED = "closed"  # it does
    OPEN = "open"  # it does not: the provider fails, or refuses our account
    HALF_OPEN = "half_open"  # one call finds out whether it works again


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The breaker between this process and the provider changed.

    Attributes:
        state: from now on.
        reason: of an open one: why; a refusal, or `unknown`.
        pause: of an open one: seconds until a call finds out whether the provider works again.
    """

    state: BreakerState
    reason: str = ""
    pause: float = 0.0


Event = OperationEnded | CallEnded | BiasMeasured | BreakerChanged


class Observer(Protocol):
    """Logs, metrics. Must be quick and must not raise."""

    def __call__(self, event: Event) -> None:
        """Observe an event."""
        ...

"""What the core asks of the world: a provider that places calls, a store that remembers, an observer that is told.

The other rooms implement these; the core imports none of them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.verification.call import CallOutcome, Refusal
from app.verification.challenge import When
from app.verification.client import Client
from app.verification.guard import GuardStatus
from app.verification.guess_budget import GuessBudget
from app.verification.ids import IdempotencyRef, VerificationRef
from app.verification.model import (
    Approval,
    CallDenied,
    ChallengeRequired,
    CodeIncorrect,
    Ended,
    KeySeen,
    LimitReached,
    NotFound,
    Outcome,
    Redeemed,
    RemainingQuota,
    TokenExpired,
    TokenRedeemed,
    Verification,
)
from app.verification.odds import Odds
from app.verification.values import value


class Provider(Protocol):
    """Whoever can place a flash call."""

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        """Ring a phone once and tell the last digits of the number that calls.

        Never raises for what the provider or the network does: that is one of the three outcomes.

        Args:
            phone: E.164, with the plus.
            code_length: how many last digits are the code, 4 to 6.
        """
        ...


# ---- the store


@value
class Reserved:
    """The right to place one call.

    Attributes:
        number: which call of its verification it is, from 1.
        digits: for a start, which of the verifications offered was begun: 0 for the one with the fewest digits.
        at: when it was reserved, unix milliseconds on the store's clock: names the reservation when it is given back.
        rooms: what the caller's own limits still let through.
    """

    number: int
    at: int
    digits: int = 0
    quotas: tuple[RemainingQuota, ...] = ()


@value
class RequestContext:
    """Who asks, as a store's records and limits know it.

    Attributes:
        client: whose the verification is.
        address: keyed digest of the address that limits count; None where none is known.
        idempotency: where the outcome is kept, if the request bears an idempotency key.
        challenge: when a start must bring the solution of a challenge.
        solution: names the one that it brings.
    """

    client: Client
    address: str | None = None
    idempotency: IdempotencyRef | None = None
    challenge: When = When.NEVER
    solution: str | None = None


class Store(Protocol):
    """Whatever remembers verifications and limits: each method is one atomic step on the store's own clock.

    Every method raises `StoreUnavailable` where the store does not answer or can't write; then nothing follows from it.
    """

    async def start(
        self, refs: Sequence[VerificationRef], ask: RequestContext, purpose: str | None, before: VerificationRef | None
    ) -> Reserved | ChallengeRequired | CallDenied | KeySeen:
        """Reserve a phone's next call and write the verification that it is for.

        Args:
            refs: the new verification with as few digits as may be, with one more, and so on: the first whose guesses the phone's budget has
                room for is begun; if there is none, the last.
            ask: who starts it: nobody else will see it. With a receipt, the request is carried out once.
            purpose: what it is for.
            before: where the phone's limits lie under the pepper before this one.
        """
        ...

    async def resend(
        self, ref: VerificationRef, ask: RequestContext
    ) -> Reserved | NotFound | Ended | CallDenied | KeySeen:
        """Reserve another call for a pending verification."""
        ...

    async def recall(self, ref: VerificationRef, idempotency: IdempotencyRef) -> KeySeen | None:
        """Tell what became of a request that may have been carried out under the pepper before this one.

        Args:
            ref: any verification of its phone, under that pepper.
            idempotency: where its outcome would be kept, under that pepper.
        """
        ...

    async def settle(
        self, ref: VerificationRef, ask: RequestContext, call: Reserved, digest: bytes, price: int | None
    ) -> Verification | NotFound | Ended:
        """Store the code's digest of a placed call, and what it cost. May be repeated: the second time changes nothing.

        Args:
            ref: the verification.
            ask: who asked for the call.
            call: what was reserved.
            digest: of the code.
            price: what it cost, in units (money.py); None if the provider did not say: then it is taken to cost what was expected.
        """
        ...

    async def release(self, ref: VerificationRef, ask: RequestContext, call: Reserved, reason: Refusal) -> int:
        """Give a refused call's reservation back; milliseconds until the phone may be called again."""
        ...

    async def keep(self, ref: VerificationRef, ask: RequestContext, call: Reserved) -> int:
        """Keep the reservation of a call whose fate is unknown; milliseconds until the phone may be called again."""
        ...

    async def check(
        self, ref: VerificationRef, ask: RequestContext, digest: bytes
    ) -> Approval | CodeIncorrect | LimitReached | NotFound | Ended:
        """Compare a code's digest; at most one first approval, at most so many wrong guesses, however many come at once."""
        ...

    async def read(self, ref: VerificationRef, client: str) -> Verification | NotFound:
        """Tell the whole state."""
        ...

    async def cancel(self, ref: VerificationRef, client: str) -> NotFound | Ended | None:
        """End a pending verification; None when it is canceled, now or before."""
        ...

    async def sample(self, drawn: Mapping[int, bytes]) -> dict[int, bytes]:
        """Add digests of codes, by their digits, to the samples that all workers share, and tell these: the newest `SAMPLE` of each.

        Told twice, they are there twice: after `StoreUnavailable` they may be there, and must not be told again.
        """
        ...

    def charge(self, guesses: GuessBudget) -> None:
        """From now on charge guesses by this budget."""
        ...

    async def guard_status(self) -> GuardStatus:
        """Tell what is closed, and whether the spray alarm is on."""
        ...

    async def redeem(self, ref: VerificationRef, expires_at: int) -> Redeemed | TokenExpired | TokenRedeemed:
        """Redeem the proof of an approved verification, once.

        Args:
            ref: the verification.
            expires_at: when the proof expires, unix milliseconds.
        """
        ...


# ---- observers


@value
class OperationEnded:
    """An operation came to its outcome.

    Attributes:
        operation: `start`, `check`, `resend`, `read`, `cancel` or `redeem`.
        client: who asked.
        id: the verification's id, where there is one.
        phone: E.164, where it is known; an observer masks it.
        test: of a test number, which is counted apart.
        outcome: how it ended.
    """

    operation: str
    client: str
    id: str | None
    phone: str | None
    test: bool
    outcome: Outcome


@value
class CallEnded:
    """The provider was asked for a call.

    Attributes:
        id: the verification's id.
        phone: E.164; an observer masks it.
        outcome: what the provider did. Its `detail` is for the operator.
        seconds: how long it took.
    """

    id: str
    phone: str
    outcome: CallOutcome
    seconds: float


@value
class OddsMeasured:
    """How evenly codes are drawn was measured again.

    Attributes:
        odds: by the code's digits.
        worse: it is the first time that they turn out to be worse than even, or they stand worse than before.
        impossible: not one guess fits under the bound, so nothing is called.
    """

    odds: Mapping[int, Odds]
    worse: bool
    impossible: bool


Event = OperationEnded | CallEnded | OddsMeasured


class Observer(Protocol):
    """Whoever wants to know what happened: logs, metrics. Must be quick and must not raise."""

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        ...

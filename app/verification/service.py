"""The whole story of a verification, top to bottom.

Start:  judge the phone, reserve its call and write the pending record (one script), call the provider, store the code's digest (one script).
Check:  open the id, take the digits, compare (one script), sign the proof.
Resend: as start, for a verification that is pending.
Redeem: read a proof, mark it as used (one script).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar, assert_never

from app.verification.call import RETRY_AFTER, CallOutcome, Placed, Refused, Unknown
from app.verification.challenge import ChallengeProvider, When
from app.verification.client import Caller
from app.verification.code import MAX_DIGITS, typed_digits
from app.verification.draws import Draws
from app.verification.errors import StoreUnavailable
from app.verification.guard import GuardStatus
from app.verification.guess_budget import MAX_CODES
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    Approval,
    Approved,
    Called,
    CallRefused,
    CallUnknown,
    Canceled,
    CancelOutcome,
    ChallengeRequired,
    CheckOutcome,
    CodeIncomplete,
    CodeLengthTooShort,
    CodesPredictable,
    Expired,
    Found,
    KeySeen,
    NotFound,
    Outcome,
    Pending,
    PhoneRejected,
    ReadOutcome,
    RedeemOutcome,
    Replayed,
    ResendOutcome,
    StartOutcome,
    TokenInvalid,
    Verification,
)
from app.verification.money import price_units
from app.verification.phone import Rejected, parse_phone
from app.verification.policy import Policy, whole_seconds
from app.verification.ports import CallEnded, Event, Observer, OperationEnded, Provider, RequestContext, Reserved, Store
from app.verification.token import TokenIssuer

SETTLE_PAUSES = (0.1, 0.4, 1.0)
"""Seconds between tries to store the code of a call that rings already: the person should not suffer a blink of the store."""

_MEASURED_AGAIN = 600
"""Seconds until codes may be found to be better drawn: nobody knows, so ten minutes."""

A = TypeVar("A")
Ending = TypeVar("Ending", bound=Outcome)


class VerificationService:
    """Starts, resends, checks, reads and cancels verifications, and redeems their proofs."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts that the service is made of
        self,
        store: Store,
        provider: Provider,
        codec: IdCodec,
        policy: Policy,
        tokens: TokenIssuer,
        draws: Draws,
        challenges: ChallengeProvider,
        observe: Observer,
    ) -> None:
        self._store = store
        self._provider = provider
        self._codec = codec
        self._policy = policy
        self._proofs = tokens
        self._draws = draws
        self._challenges = challenges
        self._observe = observe
        self._calls: set[asyncio.Task[object]] = set()

    async def start(
        self, caller: Caller, phone: str, code_length: int | None, purpose: str | None, solution: str | None = None
    ) -> StartOutcome:
        """Have a phone called and begin its verification.

        Args:
            caller: who asks, and to whose client the verification will belong.
            phone: in any human spelling.
            code_length: the fewest digits of the code; None for the policy's. There are more while guesses against the phone leave less room for
                short ones (budget.py). A test number has its own.
            purpose: what it is for.
            solution: of a challenge; only looked at where one is asked for.

        Raises:
            StoreUnavailable: nothing was called, or what was called could not be recorded.
        """
        length = max(code_length or 0, self._policy.code_length)
        if code_length is not None and code_length < self._policy.code_length:
            return self._ended("start", caller, None, CodeLengthTooShort(self._policy.code_length))
        canonical = parse_phone(phone, self._policy.phones)
        if isinstance(canonical, Rejected):
            return self._ended("start", caller, None, PhoneRejected(canonical.fault, canonical.detail))

        code = self._policy.test_numbers.get(canonical)
        ref = self._codec.new(canonical, len(code) if code else length, test=code is not None)
        longest = ref.code_length if code else MAX_DIGITS
        refs = [ref, *(ref.longer(digits) for digits in range(ref.code_length + 1, longest + 1))]
        before = self._codec.before(ref)
        if before and (seen := await self._recall(before, caller, "start")):
            return self._ended("start", caller, ref, seen)
        ask = await self._challenged(self._ask(ref, caller, "start"), ref, caller, solution)
        if self._draws.impossible and not ref.test:
            seen = await self._recall(ref, caller, "start")
            return self._ended("start", caller, ref, seen or CodesPredictable(_MEASURED_AGAIN))
        call = await self._store.start(refs, ask, purpose, before)
        if isinstance(call, ChallengeRequired):
            call = ChallengeRequired(self._challenges.challenge(caller.client.id, 0))
        if not isinstance(call, Reserved):
            return self._ended("start", caller, ref, call)
        ref = refs[call.digits]
        self._codec.remember(ref)
        outcome = await self._run_shielded(self._place(ref, ask, call))
        # The record was written a moment ago: if it is gone, the store lost it, and the code with it.
        started = (
            outcome if isinstance(outcome, Pending | CallRefused | CallUnknown) else await self._lost(ref, ask, call)
        )
        return self._ended("start", caller, ref, started)

    async def resend(self, caller: Caller, verification_id: str) -> ResendOutcome:
        """Have the phone of a pending verification called again: the codes of the last two calls count.

        Raises:
            StoreUnavailable: nothing was called, or what was called could not be recorded.
        """
        ref = self._codec.open(verification_id)
        if ref is None:
            return self._ended("resend", caller, None, NotFound())
        if ref.outdated:
            # Its phone's limits have moved on with the new pepper: a call reserved beside them could be a second one at once.
            seen = await self._recall(ref, caller, "resend")
            return self._ended("resend", caller, ref, seen or await self._if_found(ref, caller, Expired()))
        if ref.test and len(self._policy.test_numbers.get(ref.phone, "")) != ref.code_length:
            # It is a test number no more, or one with another code: no fixed code counts here, and its phone must not ring for it.
            return self._ended("resend", caller, ref, await self._if_found(ref, caller, Expired()))
        if not ref.test and not self._draws.guesses.bears(ref.code_length, MAX_CODES):
            seen = await self._recall(ref, caller, "resend")
            predictable = seen or await self._if_found(ref, caller, CodesPredictable(_MEASURED_AGAIN))
            return self._ended("resend", caller, ref, predictable)
        ask = self._ask(ref, caller, "resend")
        call = await self._store.resend(ref, ask)
        if not isinstance(call, Reserved):
            return self._ended("resend", caller, ref, call)
        return self._ended("resend", caller, ref, await self._run_shielded(self._place(ref, ask, call)))

    async def check(self, caller: Caller, verification_id: str, typed: str) -> CheckOutcome:
        """Compare what a person typed with the codes of the last two calls, and prove it where it is right.

        Raises:
            StoreUnavailable: nothing was compared, or its result is not known: nobody is approved by it.
        """
        ref = self._codec.open(verification_id)
        if ref is None:
            return self._ended("check", caller, None, NotFound())
        digits = typed_digits(typed, ref.code_length)
        if digits is None:
            incomplete = await self._if_found(ref, caller, CodeIncomplete(ref.code_length))
            return self._ended("check", caller, ref, incomplete)
        compared = await self._store.check(ref, self._ask(ref, caller, "check"), ref.digest(digits))
        if isinstance(compared, Approval):
            token = self._proofs.mint(compared, caller.client.audience, self._codec.subject(ref.phone))
            return self._ended("check", caller, ref, Approved(compared, token))
        return self._ended("check", caller, ref, compared)

    async def read(self, caller: Caller, verification_id: str) -> ReadOutcome:
        """Tell the whole state of a verification, without its code."""
        ref = self._codec.open(verification_id)
        found = await self._store.read(ref, caller.client.id) if ref else NotFound()
        return self._ended("read", caller, ref, Found(found) if isinstance(found, Verification) else found)

    async def cancel(self, caller: Caller, verification_id: str) -> CancelOutcome:
        """End a pending verification: its codes count no more. Canceling twice is as good as once."""
        ref = self._codec.open(verification_id)
        if ref is None:
            return self._ended("cancel", caller, None, NotFound())
        refused = await self._store.cancel(ref, caller.client.id)
        found = refused or await self._store.read(ref, caller.client.id)
        return self._ended("cancel", caller, ref, Canceled(found) if isinstance(found, Verification) else found)

    async def redeem(self, caller: Caller, token: str) -> RedeemOutcome:
        """Say yes to a proof for the caller's audience, once.

        Raises:
            StoreUnavailable: whether it was redeemed is not known: take it for a no.
        """
        proof = self._proofs.read(token, caller.client.audience)
        ref = self._codec.open(proof.id) if proof else None
        if proof is None or ref is None:
            return self._ended("redeem", caller, None, TokenInvalid())
        return self._ended("redeem", caller, ref, await self._store.redeem(ref, proof.expires_at))

    async def guard_status(self) -> GuardStatus:
        """Tell what the guard has closed, and whether the spray alarm is on.

        Raises:
            StoreUnavailable: it can't be told.
        """
        return await self._store.guard_status()

    async def close(self, grace: float) -> None:
        """Wait for the calls under way, so that none of their codes is lost.

        Args:
            grace: seconds to wait at most.
        """
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)

    def _ask(self, ref: VerificationRef, caller: Caller, operation: str) -> RequestContext:
        """Who asks, in the store's terms. What concerns a test number is counted at that number alone."""
        address = None if ref.test or caller.address is None else self._codec.address(caller.address)
        once = caller.once
        idempotency = self._codec.idempotency(ref, caller.client.id, operation, once) if once else None
        return RequestContext(caller.client, address, idempotency)

    async def _challenged(
        self, ask: RequestContext, ref: VerificationRef, caller: Caller, solution: str | None
    ) -> RequestContext:
        """The same, with the challenge that a public client must have solved. A test number is never called, so nothing is asked for it."""
        when = self._policy.challenge
        if ref.test or not ask.client.public or when is When.NEVER:
            return ask
        solved = await self._challenges.verify(solution, ask.client.id, caller.address) if solution else None
        return replace(ask, challenge=when, solution=solved.name if solved else None)

    async def _recall(self, before: VerificationRef, caller: Caller, operation: str) -> KeySeen | None:
        """What became of the request, if it was carried out before: under the pepper of a handle of its phone."""
        if caller.once is None:
            return None
        idempotency = self._codec.idempotency(before, caller.client.id, operation, caller.once)
        return await self._store.recall(before, idempotency)

    async def _place(self, ref: VerificationRef, ask: RequestContext, call: Reserved) -> Called:
        """Place a reserved call and record how it went: settled, given back, or kept."""
        if ref.test:
            return await self._record(ref, ask, call, Placed(self._policy.test_numbers[ref.phone], None, None))
        asked_at = time.monotonic()
        placed = await self._provider.place(ref.phone, ref.code_length)
        self._emit(CallEnded(ref.id, ref.phone, placed, time.monotonic() - asked_at))
        return await self._record(ref, ask, call, placed)

    async def _record(self, ref: VerificationRef, ask: RequestContext, call: Reserved, placed: CallOutcome) -> Called:
        match placed:
            case Placed():
                # A provider may well call the same phone again from the same number: that is no draw.
                if not ref.test and call.number == 1:
                    self._draws.note(placed.code)
                digest = ref.digest(placed.code)
                price = price_units(placed.price) if placed.price is not None else None
                settled = await retry(lambda: self._store.settle(ref, ask, call, digest, price))
                return Pending(settled, call.quotas) if isinstance(settled, Verification) else settled
            case Refused():
                await retry(lambda: self._store.release(ref, ask, call, placed.reason))
                return CallRefused(ref.id, placed.reason, RETRY_AFTER[placed.reason])
            case Unknown():
                return await self._lost(ref, ask, call)
            case _:
                assert_never(placed)

    async def _if_found(self, ref: VerificationRef, caller: Caller, outcome: Ending) -> Ending | NotFound:
        """An outcome that the id alone decides: told to its own client only, lest it tell a stranger that the id exists."""
        found = await self._store.read(ref, caller.client.id)
        return found if isinstance(found, NotFound) else outcome

    async def _lost(self, ref: VerificationRef, ask: RequestContext, call: Reserved) -> CallUnknown:
        """A call that may ring and whose code we do not have."""
        wait = await retry(lambda: self._store.keep(ref, ask, call))
        return CallUnknown(ref.id, whole_seconds(wait))

    async def _run_shielded(self, placing: Awaitable[A]) -> A:
        """Place and record a call even if whoever asked for it hangs up: it rings all the same."""
        task = asyncio.ensure_future(placing)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)

    def _ended(self, operation: str, caller: Caller, ref: VerificationRef | None, outcome: Ending) -> Ending:
        id_, phone, test = (ref.id, ref.phone, ref.test) if ref else (None, None, False)
        # A start that was denied began no verification, and one that is told again began it then.
        id_ = _begun(outcome) if operation == "start" else id_
        self._emit(OperationEnded(operation, caller.client.id, id_, phone, test, outcome))
        return outcome

    def _emit(self, event: Event) -> None:
        """Tell the observer, whose own trouble (a log on a full disk) must never cost a call its code."""
        try:
            self._observe(event)
        except Exception:  # noqa: BLE001  `suppress` would take 0.6 µs
            return


def _begun(outcome: Outcome) -> str | None:
    """The verification that a start has begun, now or when its request was first sent."""
    match outcome:
        case Pending():
            return outcome.verification.id
        case CallRefused() | CallUnknown():
            return outcome.id
        case Replayed():
            return _begun(outcome.first)
        case _:
            return None


async def retry(step: Callable[[], Awaitable[A]]) -> A:
    """Try a step that may be repeated, over a short fault of the store."""
    for pause in SETTLE_PAUSES:
        try:
            return await step()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await step()

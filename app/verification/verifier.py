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

from app.verification.budget import MOST_CODES
from app.verification.call import RETRY_AFTER, CallOutcome, Placed, Refused, Unknown
from app.verification.challenge import Challenges, When
from app.verification.client import Caller
from app.verification.code import MOST_DIGITS, typed_digits
from app.verification.draws import Draws
from app.verification.errors import StoreUnavailable
from app.verification.guard import Standing
from app.verification.keyring import Handle, Keyring
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
from app.verification.ports import Ask, CallEnded, Event, Observer, OperationEnded, Provider, Reserved, Store
from app.verification.proof import Proofs

SETTLE_PAUSES = (0.1, 0.4, 1.0)
"""Seconds between tries to store the code of a call that rings already: the person should not suffer a blink of the store."""

_MEASURED_AGAIN = 600
"""Seconds until codes may be found to be better drawn: nobody knows, so ten minutes."""

A = TypeVar("A")
Ending = TypeVar("Ending", bound=Outcome)


class Verifier:
    """Starts, resends, checks, reads and cancels verifications, and redeems their proofs."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts that the service is made of
        self,
        store: Store,
        provider: Provider,
        keyring: Keyring,
        policy: Policy,
        proofs: Proofs,
        draws: Draws,
        challenges: Challenges,
        observe: Observer,
    ) -> None:
        self._store = store
        self._provider = provider
        self._keyring = keyring
        self._policy = policy
        self._proofs = proofs
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
        handle = self._keyring.new(canonical, len(code) if code else length, test=code is not None)
        longest = handle.code_length if code else MOST_DIGITS
        handles = [handle, *(handle.longer(digits) for digits in range(handle.code_length + 1, longest + 1))]
        before = self._keyring.before(handle)
        if before and (seen := await self._recall(before, caller, "start")):
            return self._ended("start", caller, handle, seen)
        ask = self._challenged(self._ask(handle, caller, "start"), handle, solution)
        if self._draws.impossible and not handle.test:
            seen = await self._recall(handle, caller, "start")
            return self._ended("start", caller, handle, seen or CodesPredictable(_MEASURED_AGAIN))
        call = await self._store.start(handles, ask, purpose, before)
        if isinstance(call, ChallengeRequired):
            call = ChallengeRequired(self._challenges.make(caller.client.id))
        if not isinstance(call, Reserved):
            return self._ended("start", caller, handle, call)
        handle = handles[call.digits]
        self._keyring.remember(handle)
        outcome = await self._to_the_end(self._place(handle, ask, call))
        # The record was written a moment ago: if it is gone, the store lost it, and the code with it.
        started = (
            outcome if isinstance(outcome, Pending | CallRefused | CallUnknown) else await self._lost(handle, ask, call)
        )
        return self._ended("start", caller, handle, started)

    async def resend(self, caller: Caller, verification_id: str) -> ResendOutcome:
        """Have the phone of a pending verification called again: the codes of the last two calls count.

        Raises:
            StoreUnavailable: nothing was called, or what was called could not be recorded.
        """
        handle = self._keyring.open(verification_id)
        if handle is None:
            return self._ended("resend", caller, None, NotFound())
        if handle.outdated:
            # Its phone's limits have moved on with the new pepper: a call reserved beside them could be a second one at once.
            seen = await self._recall(handle, caller, "resend")
            return self._ended("resend", caller, handle, seen or await self._if_found(handle, caller, Expired()))
        if handle.test and len(self._policy.test_numbers.get(handle.phone, "")) != handle.code_length:
            # It is a test number no more, or one with another code: no fixed code counts here, and its phone must not ring for it.
            return self._ended("resend", caller, handle, await self._if_found(handle, caller, Expired()))
        if not handle.test and not self._draws.guesses.bears(handle.code_length, MOST_CODES):
            seen = await self._recall(handle, caller, "resend")
            predictable = seen or await self._if_found(handle, caller, CodesPredictable(_MEASURED_AGAIN))
            return self._ended("resend", caller, handle, predictable)
        ask = self._ask(handle, caller, "resend")
        call = await self._store.resend(handle, ask)
        if not isinstance(call, Reserved):
            return self._ended("resend", caller, handle, call)
        return self._ended("resend", caller, handle, await self._to_the_end(self._place(handle, ask, call)))

    async def check(self, caller: Caller, verification_id: str, typed: str) -> CheckOutcome:
        """Compare what a person typed with the codes of the last two calls, and prove it where it is right.

        Raises:
            StoreUnavailable: nothing was compared, or its result is not known: nobody is approved by it.
        """
        handle = self._keyring.open(verification_id)
        if handle is None:
            return self._ended("check", caller, None, NotFound())
        digits = typed_digits(typed, handle.code_length)
        if digits is None:
            incomplete = await self._if_found(handle, caller, CodeIncomplete(handle.code_length))
            return self._ended("check", caller, handle, incomplete)
        compared = await self._store.check(handle, self._ask(handle, caller, "check"), handle.digest(digits))
        if isinstance(compared, Approval):
            token = self._proofs.mint(compared, caller.client.audience, self._keyring.subject(handle.phone))
            return self._ended("check", caller, handle, Approved(compared, token))
        return self._ended("check", caller, handle, compared)

    async def read(self, caller: Caller, verification_id: str) -> ReadOutcome:
        """Tell the whole state of a verification, without its code."""
        handle = self._keyring.open(verification_id)
        found = await self._store.read(handle, caller.client.id) if handle else NotFound()
        return self._ended("read", caller, handle, Found(found) if isinstance(found, Verification) else found)

    async def cancel(self, caller: Caller, verification_id: str) -> CancelOutcome:
        """End a pending verification: its codes count no more. Canceling twice is as good as once."""
        handle = self._keyring.open(verification_id)
        if handle is None:
            return self._ended("cancel", caller, None, NotFound())
        refused = await self._store.cancel(handle, caller.client.id)
        found = refused or await self._store.read(handle, caller.client.id)
        return self._ended("cancel", caller, handle, Canceled(found) if isinstance(found, Verification) else found)

    async def redeem(self, caller: Caller, token: str) -> RedeemOutcome:
        """Say yes to a proof for the caller's audience, once.

        Raises:
            StoreUnavailable: whether it was redeemed is not known: take it for a no.
        """
        proof = self._proofs.read(token, caller.client.audience)
        handle = self._keyring.open(proof.id) if proof else None
        if proof is None or handle is None:
            return self._ended("redeem", caller, None, TokenInvalid())
        return self._ended("redeem", caller, handle, await self._store.redeem(handle, proof.expires_at))

    async def standing(self) -> Standing:
        """Tell what the guard has closed, and whether the spray alarm is on.

        Raises:
            StoreUnavailable: it can't be told.
        """
        return await self._store.standing()

    async def close(self, grace: float) -> None:
        """Wait for the calls under way, so that none of their codes is lost.

        Args:
            grace: seconds to wait at most.
        """
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)

    def _ask(self, handle: Handle, caller: Caller, operation: str) -> Ask:
        """Who asks, in the store's terms. What concerns a test number is counted at that number alone."""
        address = None if handle.test or caller.address is None else self._keyring.address(caller.address)
        once = caller.once
        receipt = self._keyring.receipt(handle, caller.client.id, operation, once) if once else None
        return Ask(caller.client, address, receipt)

    def _challenged(self, ask: Ask, handle: Handle, solution: str | None) -> Ask:
        """The same, with the challenge that a public client must have solved. A test number is never called, so nothing is asked for it."""
        when = self._challenges.when
        if handle.test or not ask.client.public or when is When.NEVER:
            return ask
        return replace(ask, challenge=when, solution=self._challenges.solved(solution, ask.client.id))

    async def _recall(self, before: Handle, caller: Caller, operation: str) -> KeySeen | None:
        """What became of the request, if it was carried out before: under the pepper of a handle of its phone."""
        if caller.once is None:
            return None
        receipt = self._keyring.receipt(before, caller.client.id, operation, caller.once)
        return await self._store.recall(before, receipt)

    async def _place(self, handle: Handle, ask: Ask, call: Reserved) -> Called:
        """Place a reserved call and record how it went: settled, given back, or kept."""
        if handle.test:
            return await self._record(handle, ask, call, Placed(self._policy.test_numbers[handle.phone], None, None))
        asked_at = time.monotonic()
        placed = await self._provider.place(handle.phone, handle.code_length)
        self._tell(CallEnded(handle.id, handle.phone, placed, time.monotonic() - asked_at))
        return await self._record(handle, ask, call, placed)

    async def _record(self, handle: Handle, ask: Ask, call: Reserved, placed: CallOutcome) -> Called:
        match placed:
            case Placed():
                # A provider may well call the same phone again from the same number: that is no draw.
                if not handle.test and call.number == 1:
                    self._draws.note(placed.code)
                digest = handle.digest(placed.code)
                price = price_units(placed.price) if placed.price is not None else None
                settled = await _insist(lambda: self._store.settle(handle, ask, call, digest, price))
                return Pending(settled, call.rooms) if isinstance(settled, Verification) else settled
            case Refused():
                await _insist(lambda: self._store.release(handle, ask, call, placed.reason))
                return CallRefused(handle.id, placed.reason, RETRY_AFTER[placed.reason])
            case Unknown():
                return await self._lost(handle, ask, call)
            case _:
                assert_never(placed)

    async def _if_found(self, handle: Handle, caller: Caller, outcome: Ending) -> Ending | NotFound:
        """An outcome that the id alone decides: told to its own client only, lest it tell a stranger that the id exists."""
        found = await self._store.read(handle, caller.client.id)
        return found if isinstance(found, NotFound) else outcome

    async def _lost(self, handle: Handle, ask: Ask, call: Reserved) -> CallUnknown:
        """A call that may ring and whose code we do not have."""
        wait = await _insist(lambda: self._store.keep(handle, ask, call))
        return CallUnknown(handle.id, whole_seconds(wait))

    async def _to_the_end(self, placing: Awaitable[A]) -> A:
        """Place and record a call even if whoever asked for it hangs up: it rings all the same."""
        task = asyncio.ensure_future(placing)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)

    def _ended(self, operation: str, caller: Caller, handle: Handle | None, outcome: Ending) -> Ending:
        id_, phone, test = (handle.id, handle.phone, handle.test) if handle else (None, None, False)
        # A start that was denied began no verification, and one that is told again began it then.
        id_ = _begun(outcome) if operation == "start" else id_
        self._tell(OperationEnded(operation, caller.client.id, id_, phone, test, outcome))
        return outcome

    def _tell(self, event: Event) -> None:
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


async def _insist(step: Callable[[], Awaitable[A]]) -> A:
    """Try a step that may be repeated, over a short fault of the store."""
    for pause in SETTLE_PAUSES:
        try:
            return await step()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await step()

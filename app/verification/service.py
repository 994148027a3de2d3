"""The whole story of a verification, top to bottom.

Start:  parse and judge the phone, reserve its call and write the pending record (one script), call the provider, store the code's digest (one script).
Check:  open the id, take the digits, compare (one script), sign the token.
Resend: as start, for a verification that is pending.
Redeem: read a token, mark it as used (one script).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, assert_never

from app.verification.challenge import ChallengeProvider, Solved, When
from app.verification.challenge import ChallengeUnavailable as JudgeUnavailable
from app.verification.client import Caller, Client, Lane, networks_of
from app.verification.code import typed_digits
from app.verification.entropy import EntropyMonitor
from app.verification.errors import StoreUnavailable
from app.verification.ids import IdCodec, VerificationRef
from app.verification.limits import price_units
from app.verification.model import (
    Approval,
    Approved,
    Called,
    CallInProgress,
    CallRefused,
    CallUnknown,
    Canceled,
    CancelOutcome,
    ChallengeRequired,
    ChallengeUnavailable,
    CheckOutcome,
    CodeLengthTooShort,
    Expired,
    Found,
    KeySeen,
    Limit,
    LimitReached,
    NotAdmitted,
    NotFound,
    Outcome,
    Pending,
    PhoneRejected,
    ReadOutcome,
    Redeemed,
    RedeemOutcome,
    Refusal,
    Replayed,
    ResendOutcome,
    StartOutcome,
    TokenInvalid,
    Verification,
)
from app.verification.phone import parse_phone
from app.verification.policy import BLUR, Policy, whole_seconds
from app.verification.ports import (
    CallEnded,
    CallOutcome,
    CallSlot,
    GuardStatus,
    Observer,
    OperationEnded,
    Placed,
    Provider,
    Refused,
    RequestContext,
    Reserved,
    Store,
    Unknown,
)
from app.verification.token import TokenIssuer

SETTLE_PAUSES = (0.1, 0.4, 1.0)
"""Seconds between tries to store the code of a call that rings already: the person should not suffer a blink of the store."""

CANCEL_PAUSES = (1.0, 5.0, 15.0)
"""Seconds between tries to give back a reservation whose reply was lost. After that it lapses by itself."""

CHALLENGE_RETRY = 5
"""Seconds until a judge of captchas that did not answer may answer again."""

A = TypeVar("A")
Ending = TypeVar("Ending", bound=Outcome)
Marked = TypeVar("Marked", Approval, Verification)


@dataclass(frozen=True, slots=True)
class Start:
    """What a start asks for."""

    phone: str  # in any human spelling
    code_length: int | None = None  # the fewest digits of the code; None for the policy's
    purpose: str | None = None  # what the verification is for
    solution: str | None = None  # of a challenge; looked at only where one may be required
    device: str | None = None  # a token of an earlier approval, by which the device is trusted for this phone


@dataclass(eq=False, repr=False)
class VerificationService:
    """Starts, resends, checks, reads and cancels verifications, and redeems their tokens."""

    store: Store
    provider: Provider
    codec: IdCodec
    policy: Policy
    tokens: TokenIssuer
    entropy: EntropyMonitor
    challenges: ChallengeProvider
    observe: Observer
    sandbox: bool = False
    _calls: set[asyncio.Future[Any]] = field(default_factory=set, init=False)

    async def start(self, caller: Caller, request: Start) -> StartOutcome:
        """Have a phone called and begin its verification.

        Raises:
            StoreUnavailable: nothing was called, and nothing will be.
        """
        if request.code_length is not None and request.code_length < self.policy.code_length:
            return self._ended("start", caller, None, CodeLengthTooShort(self.policy.code_length))
        phone = parse_phone(request.phone, self.policy.phones)
        if isinstance(phone, PhoneRejected):
            return self._ended("start", caller, None, phone)
        ref = self.codec.new(phone, test=phone in self.policy.test_numbers)
        lane = self._lane(caller.client, request.device, phone)
        return self._ended("start", caller, ref, await self._start(caller, request, ref, lane), lane)

    async def _start(self, caller: Caller, request: Start, ref: VerificationRef, lane: Lane) -> StartOutcome:
        solved = await self._solved(caller, lane, request.solution)
        if isinstance(solved, ChallengeUnavailable):
            return solved
        context = self._context(ref, caller, "start", lane, solved)
        test_code = self.policy.test_numbers.get(ref.phone)
        code_length = len(test_code) if test_code else request.code_length or self.policy.code_length
        reserve = partial(self.store.reserve, ref, context, code_length, request.purpose)
        call, slot = await self._reserve(ref, context, reserve)
        if isinstance(call, ChallengeRequired):
            return ChallengeRequired(call.level, self.challenges.challenge(caller.client.id, call.level))
        if not isinstance(call, Reserved):
            return _blurred(call, lane)
        started = await self._run_shielded(self._place(ref, context, call, slot))
        if isinstance(started, Pending | CallRefused | CallUnknown):
            return started
        # The record was written a moment ago: if it is gone, the store lost it, and the code with it.
        return await self._lost(ref, context, call)

    async def resend(self, caller: Caller, verification_id: str, device: str | None = None) -> ResendOutcome:
        """Have the phone of a pending verification called again: the codes of the last two calls count. `device` is as in `Start`.

        Raises:
            StoreUnavailable: nothing was called, and nothing will be.
        """
        ref = self.codec.open(verification_id)
        return self._ended("resend", caller, ref, await self._resend(caller, ref, device) if ref else NotFound())

    async def _resend(self, caller: Caller, ref: VerificationRef, device: str | None) -> ResendOutcome:
        if ref.test and ref.phone not in self.policy.test_numbers:
            # It is a test number no more: no fixed code counts here, and its phone must not ring for it.
            found = await self.store.read(ref, caller.client)
            return found if isinstance(found, NotFound) else Expired()
        # For the room that calls have. Of budgets the verification's own lane counts.
        lane = self._lane(caller.client, device, ref.phone)
        context = self._context(ref, caller, "resend", lane, None)
        call, slot = await self._reserve(ref, context, partial(self.store.reserve_resend, ref, context))
        if not isinstance(call, Reserved):
            return _blurred(call, lane)
        return await self._run_shielded(self._place(ref, context, call, slot))

    async def check(self, caller: Caller, verification_id: str, typed: str) -> CheckOutcome:
        """Compare what a person typed with the codes of the last two calls, and sign a token if it is right.

        Raises:
            StoreUnavailable: nothing was compared. Should the reply to a comparison be lost, the same code gets the same answer.
        """
        ref = self.codec.open(verification_id)
        return self._ended("check", caller, ref, await self._check(caller, ref, typed) if ref else NotFound())

    async def _check(self, caller: Caller, ref: VerificationRef, typed: str) -> CheckOutcome:
        compared = await self.store.check(ref, caller.client, typed_digits(typed))
        if not isinstance(compared, Approval):
            return compared
        approval = self._marked(compared)
        token = self.tokens.mint(approval, caller.client.audience, self.codec.subject(ref.phone))
        device = self.codec.device(ref.phone, caller.client.id, approval.approved_at / 1000)
        return Approved(approval, token, device)

    async def read(self, caller: Caller, verification_id: str) -> ReadOutcome:
        """Return the whole state of a verification, without its code."""
        ref = self.codec.open(verification_id)
        found = await self.store.read(ref, caller.client) if ref else NotFound()
        outcome = Found(self._marked(found)) if isinstance(found, Verification) else found
        return self._ended("read", caller, ref, outcome)

    async def cancel(self, caller: Caller, verification_id: str) -> CancelOutcome:
        """End a pending verification: its codes count no more. Canceling twice is as good as once."""
        ref = self.codec.open(verification_id)
        return self._ended("cancel", caller, ref, await self._cancel(caller, ref) if ref else NotFound())

    async def _cancel(self, caller: Caller, ref: VerificationRef) -> CancelOutcome:
        found = await self.store.cancel(ref, caller.client) or await self.store.read(ref, caller.client)
        return Canceled(self._marked(found)) if isinstance(found, Verification) else found

    async def redeem(self, caller: Caller, token: str) -> RedeemOutcome:
        """Say yes to a token for the caller's audience, once.

        Raises:
            StoreUnavailable: whether it was redeemed is not known: take it for a no.
        """
        read = self.tokens.read(token, caller.client.audience)
        ref = self.codec.open(read.id) if read else None
        if read is None or ref is None:
            return self._ended("redeem", caller, None, TokenInvalid())
        redeemed = await self.store.redeem(ref, read.expires_at)
        if isinstance(redeemed, Redeemed):
            redeemed = Redeemed(self._marked(redeemed.approval))
        return self._ended("redeem", caller, ref, redeemed)

    async def status(self, *clients: Client) -> GuardStatus:
        """Return what is suspended, whether the spray alert is on, and what is used of each shared budget, and of these clients' own.

        Raises:
            StoreUnavailable: it is not known.
        """
        return await self.store.status(*clients)

    async def close(self, grace: float) -> None:
        """Wait for the calls under way, at most `grace` seconds, so that none of their codes is lost."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)

    # ---- who requests

    def _lane(self, client: Client, device: str | None, phone: str) -> Lane:
        trusted = not client.public or self.codec.knows_device(device, phone, client.id)
        return Lane.TRUSTED if trusted else Lane.PUBLIC

    async def _solved(self, caller: Caller, lane: Lane, solution: str | None) -> Solved | ChallengeUnavailable | None:
        if solution is None or lane is Lane.TRUSTED or self.policy.challenge is When.NEVER:
            return None
        try:
            return await self.challenges.verify(solution, caller.client.id, caller.address)
        except JudgeUnavailable as error:
            return ChallengeUnavailable(CHALLENGE_RETRY, str(error))

    def _context(
        self, ref: VerificationRef, caller: Caller, operation: str, lane: Lane, solved: Solved | None
    ) -> RequestContext:
        """Who requests, in the store's terms. What concerns a test number is counted at that number alone."""
        networks = None if ref.test or caller.address is None else networks_of(caller.address)
        once = caller.once
        idempotency = self.codec.idempotency(caller.client.id, operation, once) if once else None
        return RequestContext(caller.client, lane, networks, idempotency, solved)

    # ---- calls

    async def _reserve(
        self, ref: VerificationRef, context: RequestContext, reserve: Callable[[], Awaitable[A]]
    ) -> tuple[A | KeySeen | NotAdmitted, CallSlot | None]:
        """Reserve a call, if the provider admits one; a test number needs no slot.

        While none is admitted, a request that was seen before still gets its outcome. What comes to no call is given back: the slot, and a reservation
        whose reply was lost, so that "unavailable" stays true.
        """
        slot = None if ref.test else self.provider.admit(context.lane)
        if isinstance(slot, NotAdmitted):
            seen = await self.store.recall(ref, context) if context.idempotency else None
            return seen or slot, None
        call = None
        try:
            call = await reserve()
        except (StoreUnavailable, asyncio.CancelledError) as error:
            if not isinstance(error, StoreUnavailable) or error.sent:
                undo = partial(self.store.cancel_reservation, ref, context, None, Refusal.UNREACHABLE)
                self._in_background(retry(undo, CANCEL_PAUSES))
            raise
        finally:
            if slot and not isinstance(call, Reserved):
                slot.give_back()
        return call, slot

    async def _place(
        self, ref: VerificationRef, context: RequestContext, call: Reserved, slot: CallSlot | None
    ) -> Called:
        """Place a reserved call and record how it went. A test number has no slot.

        From here on the phone may ring, so a store that fails makes the call unknown, and never "unavailable".
        """
        placed: CallOutcome
        if slot is None:
            placed = Placed(self.policy.test_numbers[ref.phone], None, None)
        else:
            began = time.monotonic()
            placed = await slot.place(ref.phone, call.code_length)
            self.observe(CallEnded(ref.id, ref.phone, placed, time.monotonic() - began, self.policy.spending.price))
        try:
            return await self._record(ref, context, call, placed)
        except StoreUnavailable:
            return CallUnknown(ref.id, self.policy.cooldowns[0])

    async def _record(
        self, ref: VerificationRef, context: RequestContext, call: Reserved, placed: CallOutcome
    ) -> Called:
        """Settle a call, give its reservation back, or keep it."""
        match placed:
            case Placed():
                if call.sampled:
                    self.entropy.note(placed.code)
                digest, price = ref.digest(placed.code), price_units(placed.price) if placed.price else None
                settled = await retry(lambda: self.store.settle(ref, context, call, digest, price))
                return Pending(settled, call.quotas) if isinstance(settled, Verification) else settled
            case Refused():
                await retry(lambda: self.store.cancel_reservation(ref, context, call, placed.reason))
                return CallRefused(ref.id, placed.reason, placed.reason.retry_after)
            case Unknown():
                return await self._lost(ref, context, call)
            case _:
                assert_never(placed)

    async def _lost(self, ref: VerificationRef, context: RequestContext, call: Reserved) -> CallUnknown:
        """A call that may ring and whose code is not known."""
        try:
            wait = await retry(lambda: self.store.commit_unknown(ref, context, call))
        except StoreUnavailable:
            return CallUnknown(ref.id, self.policy.cooldowns[0])
        return CallUnknown(ref.id, whole_seconds(wait))

    async def _run_shielded(self, placing: Awaitable[A]) -> A:
        """Place and record a call even if the caller hangs up: it rings all the same."""
        return await asyncio.shield(self._in_background(placing))

    def _in_background(self, work: Awaitable[A]) -> "asyncio.Future[A]":
        task = asyncio.ensure_future(work)
        self._calls.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Future[A]") -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # the caller of a shielded task has it; no one waits for the others

    # ---- outcomes

    def _marked(self, found: Marked) -> Marked:
        """In a sandbox no phone rings: whatever it approves is a test."""
        return replace(found, test=True) if self.sandbox else found

    def _ended(
        self, operation: str, caller: Caller, ref: VerificationRef | None, outcome: Ending, lane: Lane | None = None
    ) -> Ending:
        id_, phone, test = (ref.id, ref.phone, ref.test) if ref else (None, None, False)
        # A start that was denied began no verification, and one that is replayed began it then.
        id_ = _begun(outcome) if operation == "start" else id_
        self.observe(OperationEnded(operation, caller.client.id, id_, phone, test, outcome, lane))
        return outcome


def _blurred(denied: Ending, lane: Lane) -> Ending | CallInProgress | LimitReached:
    """Round up how long a stranger must wait for a phone."""
    match denied:
        case LimitReached(limit=limit, place=place, retry_after=wait) if lane is Lane.PUBLIC and limit in _OF_PHONES:
            return LimitReached(limit, -(-wait // BLUR) * BLUR, place)
        case CallInProgress(retry_after=wait) if lane is Lane.PUBLIC:
            return CallInProgress(-(-wait // BLUR) * BLUR)
        case _:
            return denied


_OF_PHONES = frozenset({Limit.RESEND_COOLDOWN, Limit.CALLS_PER_PHONE, Limit.CALLS_PER_PHONE_AND_IP, Limit.GUESS_BUDGET})


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


async def retry(step: Callable[[], Awaitable[A]], pauses: tuple[float, ...] = SETTLE_PAUSES) -> A:
    """Try a step that may be repeated, over a short failure of the store."""
    for pause in pauses:
        try:
            return await step()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await step()

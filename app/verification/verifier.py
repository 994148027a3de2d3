"""The whole story of a verification, top to bottom.

Start:  judge the phone, reserve its call and write the pending record (one script), call the provider, store the code's digest (one script).
Check:  open the id, take the digits, compare (one script).
Resend: as start, for a verification that is pending.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar, assert_never

from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from app.verification.code import typed_digits
from app.verification.errors import StoreUnavailable
from app.verification.keyring import Handle, Keyring
from app.verification.model import (
    CallRefused,
    CallUnknown,
    Canceled,
    CancelOutcome,
    CheckOutcome,
    CodeIncomplete,
    CodeLengthTooShort,
    Expired,
    Found,
    NotFound,
    Outcome,
    Pending,
    PhoneRejected,
    ReadOutcome,
    ResendOutcome,
    StartOutcome,
    Verification,
)
from app.verification.phone import Rejected, parse_phone
from app.verification.policy import Policy, whole_seconds
from app.verification.ports import CallEnded, Event, Observer, OperationEnded, Provider, Reserved, Store

RETRY_AFTER: dict[Refusal, int | None] = {
    Refusal.NOT_A_NUMBER: None,
    Refusal.NOT_PERMITTED: None,
    Refusal.CALLED_TOO_OFTEN: 86400,
    Refusal.CREDENTIALS: 60,
    Refusal.BALANCE: 60,
    Refusal.MALFORMED: None,
    Refusal.UNREACHABLE: 5,
    Refusal.BUSY: 2,
    Refusal.OTHER: 30,
}
"""Seconds until another try may end otherwise; None where waiting does not help."""

SETTLE_PAUSES = (0.1, 0.4, 1.0)
"""Seconds between tries to store the code of a call that rings already: the person should not suffer a blink of the store."""

A = TypeVar("A")
Ending = TypeVar("Ending", bound=Outcome)


class Verifier:
    """Starts, resends, checks, reads and cancels verifications."""

    def __init__(self, store: Store, provider: Provider, keyring: Keyring, policy: Policy, observe: Observer) -> None:
        self._store = store
        self._provider = provider
        self._keyring = keyring
        self._policy = policy
        self._observe = observe
        self._calls: set[asyncio.Task[object]] = set()

    async def start(self, client: str, phone: str, code_length: int | None, purpose: str | None) -> StartOutcome:
        """Have a phone called and begin its verification.

        Args:
            client: who asks, and to whom the verification will belong.
            phone: in any human spelling.
            code_length: digits of the code; None for the policy's.
            purpose: what it is for.

        Raises:
            StoreUnavailable: nothing was called, or what was called could not be recorded.
        """
        length = max(code_length or 0, self._policy.code_length)
        if code_length is not None and code_length < self._policy.code_length:
            return self._ended("start", client, None, CodeLengthTooShort(self._policy.code_length))
        canonical = parse_phone(phone, self._policy.phones)
        if isinstance(canonical, Rejected):
            return self._ended("start", client, None, PhoneRejected(canonical.fault, canonical.detail))

        handle = self._keyring.new(canonical, length)
        call = await self._store.start(handle, client, purpose, self._keyring.previous_tag(canonical))
        if not isinstance(call, Reserved):
            return self._ended("start", client, handle, call)
        outcome = await self._to_the_end(self._place(handle, client, call))
        # The record was written a moment ago: if it is gone, the store lost it, and the code with it.
        started = (
            outcome if isinstance(outcome, Pending | CallRefused | CallUnknown) else await self._lost(handle, call)
        )
        return self._ended("start", client, handle, started)

    async def resend(self, client: str, verification_id: str) -> ResendOutcome:
        """Have the phone of a pending verification called again: the codes of the last two calls count.

        Raises:
            StoreUnavailable: nothing was called, or what was called could not be recorded.
        """
        handle = self._keyring.open(verification_id)
        if handle is None:
            return self._ended("resend", client, None, NotFound())
        if handle.outdated:
            # Its phone's limits have moved on with the new pepper: a call reserved beside them could be a second one at once.
            return self._ended("resend", client, handle, await self._if_found(handle, client, Expired()))
        call = await self._store.resend(handle, client)
        if not isinstance(call, Reserved):
            return self._ended("resend", client, handle, call)
        return self._ended("resend", client, handle, await self._to_the_end(self._place(handle, client, call)))

    async def check(self, client: str, verification_id: str, typed: str) -> CheckOutcome:
        """Compare what a person typed with the codes of the last two calls.

        Raises:
            StoreUnavailable: nothing was compared, or its result is not known: nobody is approved by it.
        """
        handle = self._keyring.open(verification_id)
        if handle is None:
            return self._ended("check", client, None, NotFound())
        digits = typed_digits(typed, handle.code_length)
        if digits is None:
            incomplete = await self._if_found(handle, client, CodeIncomplete(handle.code_length))
            return self._ended("check", client, handle, incomplete)
        return self._ended("check", client, handle, await self._store.check(handle, client, handle.digest(digits)))

    async def read(self, client: str, verification_id: str) -> ReadOutcome:
        """Tell the whole state of a verification, without its code."""
        handle = self._keyring.open(verification_id)
        found = await self._store.read(handle, client) if handle else NotFound()
        return self._ended("read", client, handle, Found(found) if isinstance(found, Verification) else found)

    async def cancel(self, client: str, verification_id: str) -> CancelOutcome:
        """End a pending verification: its codes count no more. Canceling twice is as good as once."""
        handle = self._keyring.open(verification_id)
        if handle is None:
            return self._ended("cancel", client, None, NotFound())
        refused = await self._store.cancel(handle, client)
        found = refused or await self._store.read(handle, client)
        return self._ended("cancel", client, handle, Canceled(found) if isinstance(found, Verification) else found)

    async def close(self, grace: float) -> None:
        """Wait for the calls under way, so that none of their codes is lost.

        Args:
            grace: seconds to wait at most.
        """
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)

    async def _place(self, handle: Handle, client: str, call: Reserved) -> ResendOutcome:
        """Place a reserved call and record how it went: settled, given back, or kept."""
        asked_at = time.monotonic()
        placed = await self._provider.place(handle.phone, handle.code_length)
        self._tell(CallEnded(handle.id, handle.phone, placed, time.monotonic() - asked_at))
        return await self._record(handle, client, call, placed)

    async def _record(self, handle: Handle, client: str, call: Reserved, placed: CallOutcome) -> ResendOutcome:
        match placed:
            case Placed():
                digest = handle.digest(placed.code)
                settled = await _insist(lambda: self._store.settle(handle, client, call, digest))
                return Pending(settled) if isinstance(settled, Verification) else settled
            case Refused():
                await _insist(lambda: self._store.release(handle, call))
                return CallRefused(handle.id, placed.reason, RETRY_AFTER[placed.reason])
            case Unknown():
                return await self._lost(handle, call)
            case _:
                assert_never(placed)

    async def _if_found(self, handle: Handle, client: str, outcome: Ending) -> Ending | NotFound:
        """An outcome that the id alone decides: told to its own client only, lest it tell a stranger that the id exists."""
        found = await self._store.read(handle, client)
        return found if isinstance(found, NotFound) else outcome

    async def _lost(self, handle: Handle, call: Reserved) -> CallUnknown:
        """A call that may ring and whose code we do not have."""
        wait = await _insist(lambda: self._store.keep(handle, call))
        return CallUnknown(handle.id, whole_seconds(wait))

    async def _to_the_end(self, placing: Awaitable[A]) -> A:
        """Place and record a call even if whoever asked for it hangs up: it rings all the same."""
        task = asyncio.ensure_future(placing)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)

    def _ended(self, operation: str, client: str, handle: Handle | None, outcome: Ending) -> Ending:
        self._tell(
            OperationEnded(operation, client, handle.id if handle else None, handle.phone if handle else None, outcome)
        )
        return outcome

    def _tell(self, event: Event) -> None:
        """Tell the observer, whose own trouble (a log on a full disk) must never cost a call its code."""
        with suppress(Exception):
            self._observe(event)


async def _insist(step: Callable[[], Awaitable[A]]) -> A:
    """Try a step that may be repeated, over a short fault of the store."""
    for pause in SETTLE_PAUSES:
        try:
            return await step()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await step()

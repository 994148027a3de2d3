"""The guess budget, in every store: a call is placed only if all guesses at its code fit; then a right code always counts, and no day exceeds the bound.

A plain model that remembers every guess plays calls, guesses and pauses in a random order; the tests before it are what it does not look at.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.verification.guess_budget import GuessBudget
from app.verification.ids import VerificationRef
from app.verification.model import (
    AlreadyUsed,
    Approval,
    CodeIncorrect,
    Limit,
    LimitReached,
    Refusal,
    Status,
    Verification,
)
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, OFTEN, World, device, stranger
from tests.harness import fresh_phone

HOUR, DAY = 3600, 86_400


async def place_five(world: World, phone: str, count: int) -> None:
    """So many live verifications of five digits: each holds 30 millionths."""
    for _ in range(count):
        await world.place(phone, digits=5)


async def lock(world: World, phone: str) -> VerificationRef:
    """A verification that was guessed at until it was locked."""
    ref = await world.place(phone)
    for _ in range(3):
        assert isinstance(await world.wrong(ref), CodeIncorrect)
    return ref


async def test_no_call_is_placed_for_a_code_that_cant_be_checked(world: World) -> None:
    world.rule(cooldowns=(0,), calls_per_phone=OFTEN, guesses=GuessBudget(10, 5, 10, 10, 3))
    phone = fresh_phone()
    await lock(world, phone)
    refs = [await world.place(phone) for _ in range(2)]
    assert await world.reserved(phone) == LimitReached(Limit.GUESS_BUDGET, 600), "holds may be free again by then"
    for ref in refs:
        for _ in range(3):
            await world.wrong(ref)
    denied = await world.reserved(phone)
    assert denied.limit is Limit.GUESS_BUDGET
    assert DAY <= denied.retry_after <= DAY + 2 * HOUR
    await world.travel(denied.retry_after)
    await world.place(phone)


async def test_a_guess_turns_what_is_held_into_what_is_counted(busy: World) -> None:
    phone = fresh_phone()
    for ref in [await busy.place(phone) for _ in range(3)]:
        assert [await busy.wrong(ref), await busy.wrong(ref)] == [CodeIncorrect(2), CodeIncorrect(1)]
    assert await busy.length(await busy.place(phone)) == 4, "900 of 1,400 millionths are used, as before the guesses"


async def test_a_guess_at_two_codes_costs_both(busy: World) -> None:
    ref = await busy.place(code="0123")
    for cost, code in ((100, "4567"), (300, "4567"), (400, "")):
        await busy.wrong(ref)
        assert await busy.guessed(ref) == {"trusted": cost}, "the same digits twice are one code"
        if code:
            await busy.resend(ref, code=code)


async def test_a_resend_whose_two_codes_dont_fit_allows_fewer_attempts(busy: World) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    await place_five(busy, phone, 20)
    await lock(busy, phone)
    assert (await busy.resend(ref, code="4567")).attempts_left == 2, "500 are left, and each guess costs 200"
    assert await busy.wrong(ref) == CodeIncorrect(1)
    await busy.approve(ref)


async def test_a_resend_is_denied_where_not_one_guess_at_two_codes_fits(busy: World) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    await lock(busy, phone)
    await place_five(busy, phone, 24)
    assert [await busy.wrong(ref), await busy.wrong(ref)] == [CodeIncorrect(2), CodeIncorrect(1)]
    denied = await busy.store.reserve_resend(ref, BACKEND)
    assert isinstance(denied, LimitReached)
    assert denied.limit is Limit.GUESS_BUDGET
    await busy.approve(ref)


async def test_a_resend_that_never_reports_back_leaves_room_for_what_may_still_be_guessed(busy: World) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    await place_five(busy, phone, 36)  # two codes leave room for one guess, the first code has three
    await busy.reserve_resend(ref)
    await busy.travel(30)
    assert await busy.length(await busy.place(phone, digits=5)) == 6
    assert [await busy.wrong(ref) for _ in range(3)] == [CodeIncorrect(2), CodeIncorrect(1), CodeIncorrect(0)]


@pytest.mark.parametrize("refusal", [Refusal.OTHER, None], ids=["refused", "unknown"])
async def test_a_resend_that_is_not_placed_holds_what_the_first_code_does(busy: World, refusal: Refusal | None) -> None:
    phone = fresh_phone()
    ref = await busy.place(phone)
    await busy.end(ref, await busy.reserve_resend(ref), refusal)
    assert [await busy.length(await busy.place(phone)) for _ in range(4)] == [4, 4, 4, 5]


@pytest.mark.parametrize("how", ["locked", "canceled", "failed", "unknown", "resent", "expired"])
async def test_what_a_verification_held_is_free_when_it_ends(busy: World, how: str) -> None:
    phone = fresh_phone()
    if how in {"failed", "unknown", "resent"}:
        ref, call = await busy.reserve(phone)
        await busy.end(ref, call, Refusal.OTHER if how == "failed" else None)
        if how == "resent":
            await busy.end(ref, await busy.reserve_resend(ref), None)
    elif how == "locked":
        ref = await lock(busy, phone)
    else:
        ref = await busy.place(phone)
        await (busy.travel(301) if how == "expired" else busy.store.cancel(ref, BACKEND.client))
    record = await busy.server.hkeys(busy.names.verification(ref)["phone"])
    assert how == "expired" or not [field for field in record if field.startswith(b"hold:")]
    four = [await busy.length(await busy.place(phone)) for _ in range(4)]
    assert four == [4, 4, 4, 5 if how == "locked" else 4], "1,400 millionths are four times 300, and what was counted"


async def test_what_may_be_guessed_while_an_approval_is_repeated_is_held(busy: World) -> None:
    phone = fresh_phone()
    await busy.approve(await busy.place(phone))
    assert [await busy.length(await busy.place(phone)) for _ in range(4)] == [4, 4, 4, 5]
    await busy.travel(60)
    assert await busy.length(await busy.place(phone)) == 4, "and no longer than that"


async def test_an_approval_gives_back_what_its_own_verification_cost_and_no_more(busy: World) -> None:
    phone = fresh_phone()
    await busy.wrong(await busy.place(phone))
    ref = await busy.place(phone)
    await busy.wrong(ref)
    await busy.travel(200)
    await busy.wrong(ref)
    assert await busy.guessed(ref) == {"trusted": 300}
    for _ in range(2):  # repeated, it gives nothing back again
        await busy.approve(ref)
        assert await busy.guessed(ref) == {"trusted": 100}
    assert isinstance(await busy.wrong(ref), AlreadyUsed)
    assert await busy.guessed(ref) == {"trusted": 200}, "a wrong code within the repeat window costs as well"


async def test_an_approval_gives_back_from_the_slices_that_it_was_counted_in(busy: World) -> None:
    phone = fresh_phone()
    old = await busy.place(phone)
    await busy.wrong(old)
    state: Any = await busy.store.read(old, BACKEND.client)
    await busy.travel((-100 - state.times.now / 1000) % (2 * HOUR))  # slices are two hours: 100 s before the next one
    other, ref = await busy.place(phone), await busy.place(phone)
    for pause in (200, 0):
        for each in (other, ref):
            await busy.wrong(each)
        await busy.travel(pause)
    await busy.approve(ref)
    counter = await busy.server.hgetall(busy.names.verification(ref)["guesses"])
    assert sorted(counter.values()) in ([b"100", b"100", b"100"], [b"100", b"200"]), "what others cost counts on"


async def test_what_was_guessed_is_remembered_for_longer_than_a_day_whatever_is_called(busy: World) -> None:
    ref = await busy.place()
    await busy.wrong(ref)
    await busy.place(ref.phone)
    assert DAY * 1000 < (await busy.keys())[busy.names.verification(ref)["guesses"]] <= (DAY + 2 * HOUR) * 1000
    await busy.travel(DAY)
    assert await busy.guessed(ref) == {"trusted": 100}


# ---- the model


@dataclass
class Live:
    """A verification, and what its guesses have cost: when, how much."""

    ref: VerificationRef
    context: RequestContext
    lane: str
    length: int
    codes: list[str] = field(default_factory=list)
    call: Reserved | None = None
    guesses: list[tuple[float, int]] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Of one guess at the codes that count."""
        cost: int = len(set(self.codes[-2:])) * 10 ** (6 - self.length)
        return cost


class Play:
    """One phone, whose starts, calls, guesses and pauses come in a random order."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance, self.phone, self.now = world, random.Random(seed), fresh_phone(), 0.0
        self.all: list[Live] = []
        self.live: list[Live] = []

    async def step(self) -> None:
        under_way = any(each.call for each in self.live)
        if under_way and self.chance.random() < 0.25:
            await self.report()
        elif not under_way and not self._any():
            await self.start()
        else:
            names = ["start", "resend", "wrong", "right", "cancel", "wait", "sleep"]
            await getattr(self, self.chance.choices(names, [8, 6, 10, 0.3, 0.2, 0.3, 0.1])[0])()
        await self.look()

    async def start(self) -> None:
        context = self.chance.choice([stranger(), stranger(), device(), BACKEND])
        ref, call = await self.world.reserve(self.phone, context, self.chance.choice([4, 4, 4, 5, 6]))
        if isinstance(call, Reserved):
            self.all.append(Live(ref, context, context.lane.value, call.code_length, call=call))
            self.live.append(self.all[-1])
        elif isinstance(call, LimitReached):
            assert call.limit is Limit.CALLS_PER_PHONE, "six digits always fit"
            await self._pass(HOUR)
        elif not any(each.call for each in self.live):
            await self._pass(30)  # a worker died

    async def report(self) -> None:
        """A call that is under way ends in one of its ways, or its worker has died."""
        for each in [each for each in self.live if each.call]:
            call, each.call = each.call, None
            store, how = self.world.store, self.chance.random()
            assert call
            if how < 0.7:
                code = self.chance.choice(["012345", "012345", f"{self.chance.randrange(900_000):06d}"])[: each.length]
                if isinstance(
                    await store.settle(each.ref, each.context, call, each.ref.digest(code), None), Verification
                ):
                    each.codes.append(code)
            elif how < 0.8:
                await store.cancel_reservation(each.ref, each.context, call, Refusal.OTHER)
            elif how < 0.9:
                await store.commit_unknown(each.ref, each.context, call)

    async def resend(self) -> None:
        each = self._any()
        if each and not each.call:
            call = await self.world.store.reserve_resend(each.ref, each.context)
            each.call = call if isinstance(call, Reserved) else None

    async def wrong(self) -> None:
        if each := self._any():
            state = await self.world.store.read(each.ref, each.context.client)
            answer = await self.world.check(each.ref, "999999", each.context)
            counted = isinstance(answer, AlreadyUsed) and isinstance(state, Verification) and state.attempts_left > 0
            if isinstance(answer, CodeIncorrect) or (counted and self._repeats(state)):
                each.guesses.append((self.now, each.cost))

    async def right(self) -> None:
        if each := self._any():
            state = await self.world.store.read(each.ref, each.context.client)
            answer = await self.world.check(each.ref, each.codes[-1] if each.codes else "012345", each.context)
            if isinstance(state, Verification) and state.status is Status.PENDING and state.attempts_left:
                assert isinstance(answer, Approval), "a right code is never refused"
            if isinstance(answer, Approval):
                each.guesses, each.codes = [], each.codes[-1:]

    async def cancel(self) -> None:
        if each := self._any():
            await self.world.store.cancel(each.ref, each.context.client)

    async def wait(self) -> None:
        await self._pass(self.chance.choice([1, 20, 31, 61, 200]))

    async def sleep(self) -> None:
        await self._pass(self.chance.choice([700, 2 * HOUR, 5 * HOUR, 22 * HOUR, 25 * HOUR]))

    async def look(self) -> None:
        """What was guessed in the last 24 hours, and what may still be, stay under the bound; all but six digits under what is not their reserve."""
        used = {(lane, six): 0 for lane in ("public", "trusted") for six in (True, False)}
        for each in self.all:
            used[each.lane, each.length == 6] += sum(cost for at, cost in each.guesses if at > self.now - DAY)
        live = list(self.live)
        states = await asyncio.gather(*(self.world.store.read(each.ref, each.context.client) for each in live))
        for each, state in zip(live, states, strict=True):
            if isinstance(state, Verification) and (state.status is Status.PENDING or self._repeats(state)):
                used[each.lane, each.length == 6] += state.attempts_left * each.cost
            elif each.call is None:
                self.live.remove(each)
        budget = self.world.policy.guesses
        assert used["public", False] <= budget.room(4, public=True)
        assert used["public", False] + used["public", True] <= budget.public_bound
        assert used["public", False] + used["trusted", False] <= budget.room(4)
        assert sum(used.values()) <= budget.bound

    def _any(self) -> Live | None:
        placed = [each for each in self.live if each.codes]
        under_way = [each for each in placed if each.call]
        return self.chance.choice(under_way if under_way and self.chance.random() < 0.5 else placed) if placed else None

    @staticmethod
    def _repeats(state: Any) -> bool:
        return state.status is Status.APPROVED and state.times.now < state.approved_at + 60_000

    async def _pass(self, seconds: float) -> None:
        self.now += seconds
        await self.world.travel(seconds)


@pytest.mark.parametrize("seed", range(6))
async def test_no_order_of_calls_and_guesses_exceeds_the_bound_in_any_day(busy: World, seed: int) -> None:
    busy.rule(guesses=GuessBudget.of(random.Random(seed).choice([0.0011, 0.0015, 0.002]), 3, OFTEN, 0.5))
    play = Play(busy, seed)
    for _ in range(250):
        await play.step()
    assert sum(len(each.guesses) for each in play.all) >= 30

"""What comes of calls and codes, in every store: destinations are suspended and resume, and the alert is raised."""

import asyncio
import itertools
import secrets
from typing import Any

import pytest

from app.verification.ids import VerificationRef
from app.verification.limits import Rate
from app.verification.model import Approval, CodeIncorrect, DestinationSuspended, Refusal, Scope
from app.verification.policy import MAX_CALLS_COUNTED, Guard
from app.verification.ports import RequestContext, Reserved, Suspended
from tests.contract.conftest import BACKEND, World, device, stranger

_ranges = itertools.count(secrets.randbelow(1000))
SUSPENDED = 900


class Town:
    """A range of numbers and its country: a floor of 6 calls to the range, a fifth of calls to be converted beyond it. The public lane has half."""

    def __init__(self, world: World) -> None:
        self.world, self._numbers = world, iter(range(10_000))
        self.rule()
        self.move()

    def rule(self, min_conversion: int = 200, country: int = 1_000_000, range_: int = 6, spray: int = 0) -> None:
        guard = Guard(min_conversion, country, range_, 0.5, spray)
        self.world.rule(guard=guard, calls_per_ip=(Rate(MAX_CALLS_COUNTED, 3600),))

    def move(self) -> None:
        """To another range."""
        self.range = f"+7926{next(_ranges) % 1000:03d}"

    def phone(self) -> str:
        return f"{self.range}{next(self._numbers):04d}"

    async def call(self, context: RequestContext = BACKEND) -> Any:
        return await self.world.reserved(self.phone(), context)

    async def place(self, count: int, context: RequestContext = BACKEND) -> list[VerificationRef]:
        """So many calls, each with its code."""
        return [await self.world.place(self.phone(), context) for _ in range(count)]

    async def approve(self, refs: list[VerificationRef], context: RequestContext = BACKEND) -> None:
        for ref in refs:
            assert isinstance(await self.world.right(ref, context), Approval)

    async def suspended(self) -> tuple[Suspended, ...]:
        return (await self.world.store.status()).suspended


@pytest.fixture
def town(world: World) -> Town:
    return Town(world)


async def test_a_range_whose_calls_are_not_converted_is_suspended_at_its_floor(town: Town) -> None:
    await town.place(6)
    assert await town.call() == DestinationSuspended(Scope.RANGE, town.range, SUSPENDED, True)
    assert await town.call() == DestinationSuspended(Scope.RANGE, town.range, SUSPENDED, False)
    (listed,) = await town.suspended()
    assert (listed.destination, listed.lane) == (town.range, "trusted")
    town.move()
    assert isinstance(await town.call(), Reserved), "other ranges go on"
    await town.world.travel(SUSPENDED)
    assert await town.suspended() == ()


async def test_a_hundred_calls_at_once_are_the_floor(town: Town) -> None:
    answers = await asyncio.gather(*(town.call() for _ in range(100)), *(town.call(stranger()) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers[:100]) == 6
    assert sum(isinstance(answer, Reserved) for answer in answers[100:]) == 3


async def test_each_approval_pays_for_five_calls(town: Town) -> None:
    refs = await town.place(6)
    await town.approve(refs[:2])
    await town.place(10)
    assert isinstance(await town.call(), DestinationSuspended)


async def test_honest_calls_never_suspend_a_range(town: Town) -> None:
    for _ in range(20):
        refs = await town.place(4)
        await town.approve(refs[:1])


async def test_answers_that_were_only_late_resume_it(town: Town) -> None:
    refs = await town.place(6)
    assert isinstance(await town.call(), DestinationSuspended)
    await town.approve(refs[:1])
    assert await town.suspended() == ()
    await town.place(5)
    assert isinstance(await town.call(), DestinationSuspended)


async def test_trial_calls_that_are_converted_resume_it_with_clean_counts(town: Town) -> None:
    await town.place(6)
    await town.call()
    await town.world.travel(SUSPENDED)
    trials = await town.place(5)
    sixth = await town.call()
    assert isinstance(sixth, DestinationSuspended)
    assert not sixth.just_now, "what becomes of the trial calls is still waited for"
    await town.approve(trials[:2])
    assert isinstance(await town.call(), DestinationSuspended), "two of five are too few"
    await town.approve(trials[2:3])
    await town.place(6)
    assert isinstance(await town.call(), DestinationSuspended), "and then the floor counts as at first"


async def test_trial_calls_that_are_not_converted_suspend_it_for_twice_as_long(town: Town) -> None:
    await town.place(6)
    waits = []
    for _ in range(5):
        suspended = await town.call()
        assert (isinstance(suspended, DestinationSuspended), suspended.just_now) == (True, True)
        waits.append(suspended.retry_after)
        await town.world.travel(suspended.retry_after)
        await town.place(5)
        waiting = await town.call()
        assert (waiting.retry_after, waiting.just_now) == (300, False)
        await town.world.travel(300)
    assert waits == [900, 1800, 3600, 7200, 7200]


@pytest.mark.parametrize("refused", [True, False])
async def test_calls_that_the_provider_does_not_place_count_for_nothing(town: Town, *, refused: bool) -> None:
    for _ in range(20):
        ref, call = await town.world.reserve(town.phone())
        assert isinstance(call, Reserved), "an outage of the provider is no fraud"
        if refused:
            await town.world.store.cancel_reservation(ref, BACKEND, call, Refusal.UNREACHABLE)
        else:
            await town.world.store.commit_unknown(ref, BACKEND, call)


async def test_a_trial_call_of_unknown_outcome_is_used_up_and_a_refused_one_is_not(town: Town) -> None:
    await town.place(6)
    await town.call()
    await town.world.travel(SUSPENDED)
    for end in (Refusal.BUSY, None):
        for _ in range(5):
            ref, call = await town.world.reserve(town.phone())
            assert isinstance(call, Reserved)
            if end:
                await town.world.store.cancel_reservation(ref, BACKEND, call, end)
            else:
                await town.world.store.commit_unknown(ref, BACKEND, call)
    assert isinstance(await town.call(), DestinationSuspended)


async def test_a_country_is_suspended_as_a_range_is(town: Town) -> None:
    town.rule(country=8)
    await town.place(4)
    town.move()
    await town.place(4)
    assert await town.call() == DestinationSuspended(Scope.COUNTRY, "RU", SUSPENDED, True)
    assert isinstance(await town.world.reserved("+77012345678"), Reserved)


async def test_test_numbers_are_not_watched(town: Town) -> None:
    town.rule(range_=1, spray=1)
    for _ in range(3):
        ref = town.world.codec.new(f"{town.range}0000", test=True)
        call = await town.world.store.reserve(ref, stranger(), 4, None)
        assert isinstance(call, Reserved)
        await town.world.settle(ref, call, stranger())
        await town.world.wrong(ref, stranger())
        await town.world.right(ref, stranger())
    assert not [key for key in await town.world.keys() if key.split(":")[1] not in {"verification", "phone"}]


# ---- the lanes


async def test_the_guards_of_the_lanes_know_nothing_of_each_other(town: Town) -> None:
    """What strangers do suspends no call of a backend or a known device, and what these convert pays for no stranger's call."""
    await town.place(3, stranger())
    assert (await town.call(stranger())).just_now
    refs = [*await town.place(3, BACKEND), *await town.place(3, device())]
    assert [found.lane for found in await town.suspended()] == ["public"]
    await town.approve(refs[:3])
    assert isinstance(await town.call(stranger()), DestinationSuspended)
    await town.place(15)
    assert (await town.call()).just_now
    assert [found.lane for found in await town.suspended()] == ["public", "trusted"]
    await town.world.travel(SUSPENDED)
    trials = await town.place(3, stranger())
    await town.approve(trials, stranger())
    assert isinstance(await town.call(stranger()), Reserved), "the public lane has resumed"
    await town.place(5)
    assert isinstance(await town.call(), DestinationSuspended), "the trusted one has its own trial calls"


# ---- the spray alert


async def test_one_guess_at_each_of_many_raises_the_alert_once(town: Town) -> None:
    town.rule(min_conversion=0, spray=5)
    refs = await town.place(12)
    answers = [await town.world.wrong(ref) for ref in refs[:8]]
    assert [answer.alert for answer in answers] == [False] * 5 + [True, False, False]
    again = await town.world.wrong(refs[0])
    assert again == CodeIncorrect(1), "a second guess at the same one is another matter"
    assert (await town.world.store.status()).alert_until
    await town.world.travel(899)
    assert (await town.world.store.status()).alert_until
    await town.world.travel(1)
    assert (await town.world.store.status()).alert_until is None
    assert (await town.world.wrong((await town.place(1))[0])).alert, "and it is raised again"


async def test_a_wrong_code_after_the_approval_is_no_sign_of_spraying(town: Town) -> None:
    town.rule(min_conversion=0, spray=1)
    refs = await town.place(4)
    await town.approve(refs)
    for ref in refs:
        await town.world.wrong(ref)
    assert (await town.world.store.status()).alert_until is None


async def test_people_who_mistype_and_then_are_right_raise_no_alert(town: Town) -> None:
    town.rule(min_conversion=0, spray=5)
    for number, ref in enumerate(await town.place(40)):
        if number % 3 == 0:
            assert await town.world.wrong(ref) == CodeIncorrect(2)
        await town.approve([ref])

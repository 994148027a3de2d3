"""What comes of calls and codes, in every store: destinations are suspended and resume, the alert is raised, and strangers may have to solve challenges."""

import asyncio
import itertools
import secrets
from dataclasses import replace
from typing import Any

import pytest

from app.verification.challenge import MAX_LEVEL, Solved, When
from app.verification.client import IdempotentRequest
from app.verification.ids import VerificationRef
from app.verification.limits import parse_caps, parse_rates
from app.verification.model import (
    CallInProgress,
    ChallengeRequired,
    CodeIncorrect,
    DestinationSuspended,
    Refusal,
    Replayed,
    Scope,
)
from app.verification.policy import Guard
from app.verification.ports import RequestContext, Reserved, Suspended
from tests.contract.conftest import BACKEND, POLICY, World, device, fresh_address, placed, stranger
from tests.harness import fresh_phone

_ranges = itertools.count(secrets.randbelow(1000))
SUSPENDED = 900
MANY = parse_rates("1000/hour")


class Town:
    """A range of numbers and its country: a floor of 6 calls to the range, a fifth of calls to be converted beyond it. The public lane has half."""

    def __init__(self, world: World) -> None:
        self.world, self._numbers = world, iter(range(10_000))
        self.rule()
        self.move()

    def rule(self, min_conversion: int = 200, country: int = 1_000_000, range_: int = 6, spray: int = 0) -> None:
        self.world.rule(guard=Guard(min_conversion, country, range_, 0.5, spray), calls_per_ip=MANY)

    def move(self) -> None:
        """To another range."""
        self.range = f"+7926{next(_ranges) % 1000:03d}"

    def phone(self) -> str:
        return f"{self.range}{next(self._numbers):04d}"

    async def call(self, context: RequestContext = BACKEND) -> Any:
        return await self.world.reserved(self.phone(), context)

    async def is_suspended(self, context: RequestContext = BACKEND) -> bool:
        return isinstance(await self.call(context), DestinationSuspended)

    async def place(self, count: int, context: RequestContext = BACKEND) -> list[VerificationRef]:
        """So many calls, each with its code."""
        return [await self.world.place(self.phone(), context) for _ in range(count)]

    async def approve(self, refs: list[VerificationRef], context: RequestContext = BACKEND) -> None:
        for ref in refs:
            await self.world.approve(ref, context)

    async def suspended(self) -> tuple[Suspended, ...]:
        return (await self.world.store.status()).suspended

    async def alert(self) -> int | None:
        return (await self.world.store.status()).alert_until


@pytest.fixture
def town(world: World) -> Town:
    return Town(world)


async def test_a_range_whose_calls_are_not_converted_is_suspended_at_its_floor(town: Town) -> None:
    answers = await asyncio.gather(*(town.call() for _ in range(100)), *(town.call(stranger()) for _ in range(100)))
    assert (placed(answers[:100]), placed(answers[100:])) == (6, 3)
    denied = [answer for answer in answers[:100] if not isinstance(answer, Reserved)]
    assert sum(answer.just_now for answer in denied) == 1
    assert {(answer.scope, answer.destination, answer.retry_after) for answer in denied} == {
        (Scope.RANGE, town.range, SUSPENDED)
    }
    assert {(listed.destination, listed.lane) for listed in await town.suspended()} == {
        (town.range, lane) for lane in ("trusted", "public")
    }
    town.move()
    assert isinstance(await town.call(), Reserved), "other ranges go on"
    await town.world.travel(SUSPENDED)
    assert await town.suspended() == ()


async def test_answers_that_were_only_late_resume_it_and_each_pays_for_five_calls(town: Town) -> None:
    refs = await town.place(6)
    assert await town.is_suspended()
    await town.approve(refs[:1])
    assert await town.suspended() == ()
    await town.place(5)
    assert await town.is_suspended()


async def test_trial_calls_that_are_converted_resume_it_with_clean_counts(town: Town) -> None:
    await town.place(6)
    await town.call()
    await town.world.travel(SUSPENDED)
    trials = await town.place(5)
    sixth = await town.call()
    assert isinstance(sixth, DestinationSuspended)
    assert not sixth.just_now, "what becomes of the trial calls is still waited for"
    await town.approve(trials[:2])
    assert await town.is_suspended(), "two of five are too few"
    await town.approve(trials[2:3])
    await town.place(6)
    assert await town.is_suspended(), "and then the floor counts as at first"


async def test_trial_calls_that_are_not_converted_suspend_it_for_twice_as_long(town: Town) -> None:
    await town.place(6)
    waits = []
    for _ in range(5):
        suspended = await town.call()
        assert suspended.just_now
        waits.append(suspended.retry_after)
        await town.world.travel(suspended.retry_after)
        await town.place(5)
        waiting = await town.call()
        assert (waiting.retry_after, waiting.just_now) == (300, False)
        await town.world.travel(300)
    assert waits == [900, 1800, 3600, 7200, 7200]


async def test_a_suspension_lasts_though_no_call_was_placed_for_hours(town: Town) -> None:
    await town.place(6)
    await town.call()
    await town.world.travel(SUSPENDED)
    await town.place(5)
    await town.world.travel(4 * 3600 - 60)
    assert (await town.call()).just_now
    await town.world.travel(120)
    assert await town.is_suspended()


@pytest.mark.parametrize("refusal", [Refusal.UNREACHABLE, None], ids=["refused", "unknown"])
async def test_calls_that_the_provider_does_not_place_count_for_nothing(town: Town, refusal: Refusal | None) -> None:
    for _ in range(20):
        ref, call = await town.world.reserve(town.phone())
        assert isinstance(call, Reserved), "an outage of the provider is no fraud"
        await town.world.end(ref, call, refusal)


async def test_a_trial_call_of_unknown_outcome_is_used_up_and_a_refused_one_is_not(town: Town) -> None:
    await town.place(6)
    await town.call()
    await town.world.travel(SUSPENDED)
    for refusal in [Refusal.BUSY] * 5 + [None] * 5:
        ref, call = await town.world.reserve(town.phone())
        await town.world.end(ref, call, refusal)
    assert await town.is_suspended()


async def test_a_country_is_suspended_as_a_range_is(town: Town) -> None:
    town.rule(country=8)
    await town.place(4)
    town.move()
    await town.place(4)
    assert await town.call() == DestinationSuspended(Scope.COUNTRY, "RU", SUSPENDED, True)
    assert isinstance(await town.world.reserved("+77012345678"), Reserved)


async def test_the_guards_of_the_lanes_know_nothing_of_each_other(town: Town) -> None:
    """What strangers do suspends no call of a backend or a known device, and what these convert pays for no stranger's call."""
    await town.place(3, stranger())
    assert (await town.call(stranger())).just_now
    refs = [*await town.place(3, BACKEND), *await town.place(3, device())]
    assert [found.lane for found in await town.suspended()] == ["public"]
    await town.approve(refs[:3])
    assert await town.is_suspended(stranger())
    await town.place(15)
    assert (await town.call()).just_now
    assert [found.lane for found in await town.suspended()] == ["public", "trusted"]
    await town.world.travel(SUSPENDED)
    await town.approve(await town.place(3, stranger()), stranger())
    assert isinstance(await town.call(stranger()), Reserved), "the public lane has resumed"
    await town.place(5)
    assert await town.is_suspended(), "the trusted one has its own trial calls"


# ---- the spray alert


async def test_one_guess_at_each_of_many_raises_the_alert_once(town: Town) -> None:
    town.rule(min_conversion=0, spray=5)
    refs = await town.place(12)
    # A second guess at the same one is another matter.
    answers = [await town.world.wrong(ref) for ref in (*refs[:5], *refs[:3], *refs[5:8])]
    assert [answer.alert for answer in answers] == [False] * 8 + [True, False, False]
    await town.world.travel(899)
    assert await town.alert()
    await town.world.travel(1)
    assert await town.alert() is None
    assert (await town.world.wrong((await town.place(1))[0])).alert, "and it is raised again"


async def test_people_who_mistype_raise_no_alert(town: Town) -> None:
    town.rule(min_conversion=0, spray=5)
    for number, ref in enumerate(await town.place(40)):
        if number % 3 == 0:
            assert await town.world.wrong(ref) == CodeIncorrect(2)
        await town.approve([ref])
        await town.world.wrong(ref)  # after the approval it is no sign of spraying
    assert await town.alert() is None


# ---- challenges


@pytest.fixture
def watched(world: World) -> World:
    """A lane whose calls must be converted by a fifth, once there are 4."""
    world.rule(challenge=When.AUTO, guard=Guard(200, 10_000, 4, 1, 0), calls_per_ip=MANY)
    return world


async def challenged(world: World) -> bool:
    """Whether a stranger must solve a challenge."""
    return isinstance(await world.reserved(context=stranger()), ChallengeRequired)


async def solved(world: World, name: str, level: int, context: RequestContext, phone: str | None = None) -> Any:
    return await world.reserved(phone, replace(context, solved=Solved(name, level)))


async def abuse(world: World, calls: int = 4) -> None:
    """Calls from everywhere to everywhere that are not converted."""
    for number in range(calls):
        await world.place(f"+7{fresh_phone()[2:5]}{number}{fresh_phone()[6:]}", stranger())


async def test_a_challenge_is_required_while_the_lanes_calls_are_not_converted(watched: World) -> None:
    await abuse(watched, 3)
    assert not await challenged(watched), "too few to judge by"
    for context in (device(), BACKEND):
        await watched.approve(await watched.place(context=context), context)
    assert await challenged(watched), "what others convert is not theirs"
    context = stranger(solved=Solved("one", 1))
    await watched.approve(await watched.place(context=context), context)
    assert not await challenged(watched), "one of five is converted"


async def test_a_challenge_is_required_while_half_of_the_lanes_money_is_used(watched: World) -> None:
    watched.rule(guard=POLICY.guard, spending=replace(POLICY.spending, caps=parse_caps("7/hour, 1000/day")))
    await watched.place()
    for _ in range(5):
        await watched.place(context=stranger())
    required = await watched.reserved(context=stranger())
    assert isinstance(required, ChallengeRequired), "1.75 of 3.50"
    assert isinstance(await solved(watched, "one", required.level, stranger()), Reserved)


@pytest.mark.parametrize("when", When)
async def test_the_trusted_lane_is_never_challenged_and_the_public_one_as_configured(
    watched: World, when: When
) -> None:
    for abused in (False, True):
        watched.rule(challenge=when)
        assert await challenged(watched) == (when is When.ALWAYS or (when is When.AUTO and abused))
        assert placed([await watched.reserved(context=context) for context in (device(), BACKEND)]) == 2
        watched.rule(challenge=When.NEVER)
        await abuse(watched)


async def test_the_work_grows_with_each_call_to_the_phone_and_from_the_network_that_was_not_converted(
    world: World,
) -> None:
    world.rule(challenge=When.ALWAYS, cooldowns=(5,), calls_per_phone=parse_rates("40/day"), calls_per_ip=MANY)
    phone, address = fresh_phone(), "203.0.113.1"

    async def level(phone: str = phone, address: str = address) -> int:
        required = await world.reserved(phone, stranger(address))
        assert isinstance(required, ChallengeRequired)
        return required.level

    assert await level() == 0
    context = replace(stranger(address), solved=Solved("a", MAX_LEVEL))
    ref = await world.place(phone, context)
    await world.travel(6)
    assert await level() == 2
    assert (await level(address=fresh_address()), await level(fresh_phone(), "203.0.113.99")) == (1, 1), "its /24"
    await world.place(phone, device(address))
    await world.travel(6)
    assert await level() == 2, "the trusted lane makes no work"
    await world.approve(ref, context)
    assert await level() == 0, "converted"
    for number in range(8):
        await world.place(phone, replace(stranger(), solved=Solved(f"b{number}", MAX_LEVEL)))
        await world.travel(6)
    assert await level() == MAX_LEVEL
    await world.travel(86_400)
    assert await level() == 0


async def test_too_little_work_counts_for_nothing_and_more_than_enough_for_one_call(world: World) -> None:
    world.rule(challenge=When.ALWAYS)
    phone, address = fresh_phone(), fresh_address()
    await world.place(phone, stranger(address, solved=Solved("first", 0)))
    await world.travel(30)
    assert await solved(world, "second", 1, stranger(address), phone) == ChallengeRequired(2)
    assert isinstance(await solved(world, "third", 6, stranger()), Reserved)
    await world.travel(599)
    assert isinstance(await solved(world, "third", 6, stranger()), ChallengeRequired), "as long as it may be solved"


async def test_a_start_that_is_denied_uses_up_no_solution(world: World) -> None:
    world.rule(challenge=When.ALWAYS)
    ref, _ = await world.reserve()
    assert isinstance(await solved(world, "one", 3, stranger(), ref.phone), CallInProgress)
    assert isinstance(await solved(world, "one", 3, stranger()), Reserved)


async def test_a_resend_and_a_request_that_is_sent_again_need_no_challenge(world: World) -> None:
    world.rule(challenge=When.ALWAYS)
    once = world.codec.idempotency("web", "start", IdempotentRequest("one", b"body"))
    context = stranger(idempotency=once, solved=Solved("one", 3))
    ref = await world.place(context=context)
    assert isinstance(await world.reserved(ref.phone, replace(context, solved=None)), Replayed)
    await world.travel(30)
    await world.resend(ref, stranger())

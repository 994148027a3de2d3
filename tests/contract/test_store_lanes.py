"""Two lanes, in every store: strangers have a share of each phone's calls, one address half of that, and they may have to solve challenges."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.verification.challenge import MAX_LEVEL, Solved, When
from app.verification.client import IdempotentRequest
from app.verification.limits import parse_caps, parse_rates
from app.verification.model import (
    Approval,
    CallInProgress,
    ChallengeRequired,
    Limit,
    LimitReached,
    Refusal,
    Replayed,
    SpendCapReached,
    Verification,
)
from app.verification.policy import Guard
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, POLICY, WEB, World, device, fresh_address, stranger
from tests.harness import fresh_phone

COOLDOWN = 301
"""Seconds: longer than any cooldown."""


async def call(world: World, phone: str, context: RequestContext) -> Any:
    """A call that was placed, and the pause after it; or why not."""
    ref, answer = await world.reserve(phone, context)
    if isinstance(answer, Reserved):
        await world.settle(ref, answer, context)
        await world.travel(COOLDOWN)
    return answer


async def test_strangers_have_their_share_of_a_phones_calls_and_others_all_that_is_left(world: World) -> None:
    phone = fresh_phone()
    assert [isinstance(await call(world, phone, stranger()), Reserved) for _ in range(3)] == [True, True, False]
    assert (await call(world, phone, stranger())).limit is Limit.CALLS_PER_PHONE
    trusted = [await call(world, phone, context) for context in (device(), BACKEND, device(), BACKEND)]
    assert [isinstance(answer, Reserved) for answer in trusted] == [True, True, True, False], "three of the hour's five"
    for _ in range(2):
        await world.travel(3600)
        await call(world, phone, stranger())
        await call(world, phone, stranger())
    assert (await call(world, phone, stranger())).place == 1, "five of the day's ten"
    assert isinstance(await call(world, phone, device()), Reserved)


async def test_strangers_have_their_share_of_all_calls_and_others_all_that_is_left(world: World) -> None:
    world.rule(calls_total=parse_rates("11/day"))
    answers = await asyncio.gather(*(world.reserved(context=stranger()) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 5
    answers = await asyncio.gather(*(world.reserved(context=device()) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 6


async def test_strangers_have_their_share_of_a_clients_own_calls_and_its_known_devices_all_that_is_left(
    world: World,
) -> None:
    page = replace(WEB, calls=parse_rates("5/day"))
    with_key = [replace(stranger(), client=page) for _ in range(100)]
    answers = await asyncio.gather(*(world.reserved(context=context) for context in with_key))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 2
    with_device = [replace(device(), client=page) for _ in range(100)]
    answers = await asyncio.gather(*(world.reserved(context=context) for context in with_device))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 3


async def test_strangers_see_what_is_left_of_their_share_of_a_clients_own_limit(world: World) -> None:
    page = replace(WEB, calls=parse_rates("5/day"))
    left = []
    for made in (stranger, device, device, stranger, device):
        _, call = await world.reserve(context=replace(made(), client=page))
        left += [quota.left for quota in call.quotas if quota.limit is Limit.CALLS_PER_CLIENT]
    assert left == [1, 3, 2, 0, 0]


async def test_others_may_use_all_and_then_strangers_have_nothing(world: World) -> None:
    world.rule(calls_total=parse_rates("10/day"))
    assert all([isinstance(await world.reserved(context=device()), Reserved) for _ in range(10)])
    assert (await world.reserved(context=stranger())).limit is Limit.CALLS_TOTAL


async def test_without_a_share_strangers_are_called_by_no_one(world: World) -> None:
    world.rule(public_share=0)
    assert isinstance(await world.reserved(context=stranger()), SpendCapReached)
    assert isinstance(await world.reserved(context=device()), Reserved)


@pytest.mark.parametrize(
    ("limits", "public", "own", "in_all"),
    [
        ("5/hour, 10/day", False, 2, 5),
        ("5/hour", True, 2, 2),
        ("20/hour", True, 5, 10),
        ("20/day", False, 10, 20),
        ("3/day", False, 2, 3),
        ("3/day", True, 1, 1),
    ],
)
async def test_one_address_has_half_of_what_its_lane_allows_and_at_least_a_call_and_its_resend(
    world: World, limits: str, own: int, in_all: int, *, public: bool
) -> None:
    world.rule(cooldowns=(5,), calls_per_phone=parse_rates(limits), calls_per_ip=parse_rates("1000/hour"))
    phone, made = fresh_phone(), stranger if public else device
    context = made("2001:db8:1:1::1")
    for number in range(own):
        ref, answer = await world.reserve(phone, context)
        assert isinstance(answer, Reserved), number
        settled = await world.settle(ref, answer, context)
        assert (settled.times.resend_at is None) == (number == own - 1), (
            "and it is said when the address may call again"
        )
        await world.travel(5)
    context = made("2001:db8:1:1::2")  # of the same /64
    denied = await world.reserved(phone, context)
    assert denied.limit is (Limit.CALLS_PER_PHONE if own == in_all else Limit.CALLS_PER_PHONE_AND_IP)
    assert denied.retry_after > 3300
    other = await world.reserved(phone, made("2001:db8:1:2::1"))
    assert isinstance(other, Reserved) == (own < in_all), "another address goes on"


async def test_an_address_in_one_lane_takes_nothing_from_itself_in_the_other(world: World) -> None:
    """Behind one carrier NAT are a stranger and the owner's device."""
    world.rule(calls_per_ip=parse_rates("1000/hour"))
    phone, address = fresh_phone(), fresh_address()
    for context in (stranger(address), stranger(address), device(address), device(address)):
        assert isinstance(await call(world, phone, context), Reserved)
    assert (await world.reserved(phone, device(address))).limit is Limit.CALLS_PER_PHONE_AND_IP


async def test_strangers_calls_hold_others_up_for_the_first_cooldown_alone(world: World) -> None:
    """A phone can't take two calls at once. What grows with each call grows with those of the trusted lane, and strangers wait for all."""
    world.rule(calls_per_phone=parse_rates("10/hour"))
    phone = fresh_phone()
    for cooldown in (30, 60, 300, 300):
        await world.place(phone, stranger())
        assert await world.reserved(phone, stranger()) == LimitReached(Limit.RESEND_COOLDOWN, cooldown)
        assert await world.reserved(phone, device()) == LimitReached(Limit.RESEND_COOLDOWN, 30)
        await world.travel(cooldown)
    for cooldown in (30, 60, 300):
        await world.place(phone, device())
        assert await world.reserved(phone, BACKEND) == LimitReached(Limit.RESEND_COOLDOWN, cooldown)
        assert await world.reserved(phone, stranger()) == LimitReached(Limit.RESEND_COOLDOWN, 300)
        await world.travel(cooldown)
    assert isinstance(await world.right(await world.place(phone, device()), device()), Approval)
    assert isinstance(await world.reserved(phone, device()), Reserved), "an approval ends the series"


async def test_the_lanes_of_one_address_have_a_limit_each(world: World) -> None:
    """Behind one NAT are strangers and known devices."""
    address = fresh_address()
    for made in (stranger, device):
        answers = [await world.reserved(context=made(address)) for _ in range(4)]
        assert [isinstance(answer, Reserved) for answer in answers] == [True, True, True, False]
        assert [answer.quotas[0].left for answer in answers[:3]] == [2, 1, 0]
        assert answers[3].limit is Limit.CALLS_PER_IP


async def test_a_stranger_sees_only_roughly_when_others_called_a_phone(world: World) -> None:
    phone = fresh_phone()
    for context in (stranger(), stranger()):
        ref = await world.place(phone, context)
        await world.travel(100)
    state = await world.store.read(ref, WEB)
    assert isinstance(state, Verification)
    assert state.times.resend_at is None
    world.rule(calls_per_phone=parse_rates("4/minute"), cooldowns=(5,))
    phone = fresh_phone()
    for _ in range(2):
        ref = await world.place(phone, stranger())
        await world.travel(6)
    state = await world.store.read(ref, WEB)
    assert isinstance(state, Verification)
    assert state.times.resend_at
    assert (state.times.resend_at - state.times.now) % 30_000 == 0


async def test_a_resend_counts_in_the_lane_that_its_verification_was_started_in(world: World) -> None:
    """A device sends its token with the start alone."""
    ref = await world.place(context=device())
    await world.travel(30)
    await world.resend(ref, stranger(), price=9000)
    assert await world.counted("money", "3600") == {"trusted": 12_500}
    await world.travel(60)
    context = stranger()
    again = await world.store.reserve_resend(ref, context)
    assert isinstance(again, Reserved)
    assert await world.counted("lane") == {"trusted_placed": 3}
    await world.store.cancel_reservation(ref, context, again, Refusal.BUSY)
    assert await world.counted("lane") == {"trusted_placed": 2}
    assert await world.counted("money", "3600") == {"trusted": 12_500}


# ---- challenges


@pytest.fixture
def watched(world: World) -> World:
    """A lane whose calls must be converted by a fifth, once there are 4."""
    world.rule(challenge=When.AUTO, guard=Guard(200, 10_000, 4, 1, 0), calls_per_ip=parse_rates("1000/hour"))
    return world


async def solved(world: World, name: str, level: int, context: RequestContext, phone: str | None = None) -> Any:
    return await world.reserved(phone, replace(context, solved=Solved(name, level)))


async def abuse(world: World, calls: int = 4) -> None:
    """Calls from everywhere to everywhere that are not converted."""
    for number in range(calls):
        await world.place(f"+7{fresh_phone()[2:5]}{number}{fresh_phone()[6:]}", stranger())


async def test_a_challenge_is_required_while_the_lanes_calls_are_not_converted(watched: World) -> None:
    await abuse(watched, 3)
    assert isinstance(await watched.reserved(context=stranger()), Reserved), "too few to judge by"
    assert isinstance(await watched.reserved(context=stranger()), ChallengeRequired)
    for context in (device(), BACKEND):
        ref = await watched.place(context=context)
        await watched.right(ref, context)
    assert isinstance(await watched.reserved(context=stranger()), ChallengeRequired), (
        "what others convert is not theirs"
    )
    context = stranger(solved=Solved("one", 1))
    ref, answer = await watched.reserve(context=context)
    await watched.settle(ref, answer, context)
    assert isinstance(await watched.right(ref, context), Approval)
    assert isinstance(await watched.reserved(context=stranger()), Reserved), "one of five is converted"
    await watched.travel(4000)
    assert isinstance(await watched.reserved(context=stranger()), Reserved)


async def test_a_challenge_is_required_while_half_of_the_lanes_money_is_used(watched: World) -> None:
    watched.rule(guard=POLICY.guard, spending=replace(POLICY.spending, caps=parse_caps("7/hour, 1000/day")))
    await watched.place()
    for _ in range(5):
        await watched.place(context=stranger())
    required = await watched.reserved(context=stranger())
    assert isinstance(required, ChallengeRequired), "1.75 of 3.50"
    assert isinstance(await solved(watched, "one", required.level, stranger()), Reserved)


async def test_a_challenge_is_required_once_half_of_a_phones_public_calls_led_to_no_approval(world: World) -> None:
    world.rule(challenge=When.AUTO, calls_per_phone=parse_rates("5/hour, 12/day"))
    phone, refs = fresh_phone(), []
    for _ in range(3):  # half of six a day
        context = stranger()
        refs.append((await world.place(phone, context), context))
        await world.travel(1801)
    assert isinstance(await world.reserved(phone, stranger()), ChallengeRequired)
    assert isinstance(await world.reserved(context=stranger()), Reserved), "other phones are called"
    assert isinstance(await solved(world, "one", 3, stranger(), phone), Reserved)


async def test_a_challenge_is_required_while_codes_are_sprayed(watched: World) -> None:
    watched.rule(guard=Guard(0, 1, 1, 1, 2))
    for _ in range(3):
        await watched.wrong(await watched.place())
    assert isinstance(await watched.reserved(context=stranger()), ChallengeRequired)
    await watched.travel(901)
    assert isinstance(await watched.reserved(context=stranger()), Reserved)


@pytest.mark.parametrize("when", When)
async def test_the_trusted_lane_is_never_challenged_and_the_public_one_as_configured(
    watched: World, when: When
) -> None:
    watched.rule(challenge=when)
    for abused in (False, True):
        required = isinstance(await watched.reserved(context=stranger()), ChallengeRequired)
        assert required == (when is When.ALWAYS or (when is When.AUTO and abused))
        for context in (device(), BACKEND):
            assert isinstance(await watched.reserved(context=context), Reserved)
        watched.rule(challenge=When.NEVER)
        await abuse(watched)
        watched.rule(challenge=when)


async def test_the_work_grows_with_each_call_to_the_phone_and_from_the_network_that_was_not_converted(
    world: World,
) -> None:
    world.rule(
        challenge=When.ALWAYS,
        cooldowns=(5,),
        calls_per_phone=parse_rates("40/day"),
        calls_per_ip=parse_rates("1000/hour"),
    )

    async def level(phone: str, address: str) -> int:
        required = await world.reserved(phone, stranger(address))
        assert isinstance(required, ChallengeRequired)
        return required.level

    async def place(phone: str, address: str, name: str) -> Any:
        context = replace(stranger(address), solved=Solved(name, MAX_LEVEL))
        ref = await world.place(phone, context)
        await world.travel(6)
        return ref, context

    phone, other = fresh_phone(), fresh_phone()
    assert await level(phone, "203.0.113.1") == 0
    ref, context = await place(phone, "203.0.113.1", "a")
    assert await level(phone, "203.0.113.1") == 2
    assert (await level(phone, fresh_address()), await level(other, "203.0.113.99")) == (1, 1), "its /24"
    await world.place(phone, device("203.0.113.1"))
    await world.travel(6)
    assert await level(phone, "203.0.113.1") == 2, "the trusted lane makes no work"
    await world.right(ref, context)
    assert await level(phone, "203.0.113.1") == 0, "converted"
    for number in range(8):
        await place(phone, fresh_address(), f"b{number}")
    assert await level(phone, "203.0.113.1") == MAX_LEVEL
    await world.travel(86_400)
    assert await level(phone, "203.0.113.1") == 0


async def test_too_little_work_counts_for_nothing_and_more_than_enough_for_one_call(world: World) -> None:
    world.rule(challenge=When.ALWAYS)
    phone, address = fresh_phone(), fresh_address()
    await call(world, phone, replace(stranger(address), solved=Solved("first", 0)))
    assert await solved(world, "second", 1, stranger(address), phone) == ChallengeRequired(2)
    answers = await asyncio.gather(*(solved(world, "third", 6, stranger(address), fresh_phone()) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 1
    assert {type(answer) for answer in answers} == {Reserved, ChallengeRequired}
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

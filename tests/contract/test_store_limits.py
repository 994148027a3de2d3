"""Limits that many verifications share, in every store: in slices, by lane. Strangers have a share of each, one address half of a phone's."""

import random
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from app.verification.client import Client
from app.verification.limits import parse_rates
from app.verification.model import CallInProgress, Limit, LimitReached, Refusal, SpendCapReached
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, WEB, World, device, fresh_address, placed, stranger
from tests.harness import fresh_phone

HOUR, SLICES = 3600, 12
COOLDOWN = 301
"""Seconds: longer than any cooldown."""


@pytest.mark.parametrize("seed", range(3))
async def test_no_window_sees_more_calls_than_its_limit_and_the_wait_is_right(world: World, seed: int) -> None:
    chance, denied, now = random.Random(seed), 0, 0.0
    calls: list[tuple[float, str]] = []
    rates, share = parse_rates("6/minute, 20/hour"), 0.5
    world.rule(calls_total=rates, public_share=share)

    def counted(lane: str | None, seconds: float) -> int:
        return sum(at > now - seconds and lane in (None, who) for at, who in calls)

    async def start(context: RequestContext) -> Any:
        answer = await world.reserved(context=context)
        for rate in rates if isinstance(answer, Reserved) else ():
            # The server's clock goes on by a little beside the test's.
            assert counted(None, rate.seconds - 1) < rate.count
            assert context.lane == "trusted" or counted("public", rate.seconds - 1) < rate.share(share).count
        if isinstance(answer, Reserved):
            calls.append((now, context.lane.value))
        return answer

    for _ in range(120):
        pause = chance.choice([0, 0, 0, 1, 4, 20, 200])
        await world.travel(pause)
        now += pause
        context = chance.choice([stranger(), BACKEND])
        answer = await start(context)
        if isinstance(answer, LimitReached):
            denied += 1
            rate = rates[answer.place or 0]
            limit = rate.count if context.lane == "trusted" else rate.share(share).count
            strict = rate.seconds * (SLICES + 1) / SLICES + 1
            assert counted(None, strict) >= rate.count or counted("public", strict) >= limit, "not for less"
            await world.travel(answer.retry_after)
            now += answer.retry_after
            again = await start(context)
            assert isinstance(again, Reserved) or again.place != answer.place or again.retry_after < answer.retry_after
    assert len(calls) > 20 < denied


async def test_the_wait_is_over_when_it_is_said_to_be_and_not_a_second_before(world: World) -> None:
    for _ in range(3):
        client = RequestContext(Client(f"c{fresh_phone()}", "web", parse_rates("2/minute")))
        for _ in range(2):
            assert isinstance(await world.reserved(context=client), Reserved)
            await world.travel(7)
        denied = await world.reserved(context=client)
        await world.travel(denied.retry_after - 1.05)
        assert isinstance(await world.reserved(context=client), LimitReached)
        await world.travel(1.05)
        assert isinstance(await world.reserved(context=client), Reserved)


async def test_an_address_gets_as_many_calls_as_its_limit_in_each_lane(world: World) -> None:
    """Behind one NAT are strangers and known devices, of any page, app and backend; in one IPv4 network are others."""
    address, clients = fresh_address(), cycle((WEB, replace(WEB, id="app"), BACKEND.client))
    for made in (stranger, device):
        answers = await world.race(lambda made=made: replace(made(address), client=next(clients)))  # type: ignore[misc]
        assert sorted(answer.quotas[0].left for answer in answers if isinstance(answer, Reserved)) == [0, 1, 2]
        denied = next(answer for answer in answers if isinstance(answer, LimitReached))
        assert denied.limit is Limit.CALLS_PER_IP
        assert HOUR <= denied.retry_after <= HOUR + 300, "the window, and a slice at most"
    assert isinstance(await world.reserved(context=stranger(f"{address}8")), Reserved)


@pytest.mark.parametrize("address", ["198.51.100.20", "2001:db8:7:7::9"])
async def test_an_approval_gives_its_calls_back_to_address_and_network(world: World, address: str) -> None:
    """So that people behind one carrier NAT do not use up each other's; once, however often the code is repeated."""
    context = stranger(address)
    for _ in range(12):
        ref = await world.place(context=context)
        await world.travel(30)
        await world.resend(ref, context)
        for _ in range(2):
            await world.approve(ref, context)
    counters = [key.removeprefix(world.prefix) for key in await world.keys() if "address:" in key or "network:" in key]
    assert len(counters) == (2 if address.startswith("198") else 3)
    assert [await world.counted(key) for key in counters] == [{"public": 0}] * len(counters)
    await world.place(context=context)
    assert [await world.counted(key) for key in counters] == [{"public": 1}] * len(counters)


async def test_an_approval_gives_nothing_back_that_counts_no_more(world: World) -> None:
    world.rule(calls_per_ip=parse_rates("3/minute"))
    context = stranger()
    ref = await world.place(context=context)
    await world.travel(100)
    await world.approve(ref, context)
    assert [key for key in await world.keys() if "address:" in key] == []


async def test_a_denial_counts_nowhere(world: World) -> None:
    context = device()
    ref, _ = await world.reserve(context=context)
    before = await world.contents()
    for _ in range(5):
        assert isinstance(await world.reserved(ref.phone, context), CallInProgress)
    assert await world.contents() == before


async def test_a_client_has_limits_of_its_own(world: World) -> None:
    client = RequestContext(Client("limited", "web", parse_rates("2/minute, 3/day")))
    answers = [await world.reserved(context=client) for _ in range(3)]
    assert (placed(answers), answers[2].limit) == (2, Limit.CALLS_PER_CLIENT)
    assert isinstance(await world.reserved(), Reserved)
    await world.travel(70)
    last = await world.reserved(context=client)
    assert [(quota.place, quota.left) for quota in last.quotas] == [(1, 0)], "the tightest"


async def test_a_clock_that_is_set_back_opens_nothing(world: World) -> None:
    context = stranger()
    for _ in range(3):
        await world.reserve(context=context)
    ref = await world.place()
    await world.travel(-5 * HOUR)
    for phone, who in ((fresh_phone(), context), (ref.phone, BACKEND)):
        assert isinstance(await world.reserved(phone, who), LimitReached)


async def test_what_is_used_of_each_shared_limit_is_shown_by_lane(world: World) -> None:
    client = Client("seen", "seen", parse_rates("5/hour"))
    world.rule(calls_total=parse_rates("100/hour"))
    for context in (stranger(), BACKEND, RequestContext(client)):
        await world.place(context=context)
    used = (await world.store.status(client)).used
    assert {name: (usage.public, usage.trusted) for name, usage in used.items()} == {
        "calls_total/3600": (1, 2),
        "spend/3600": (3500, 7000),
        "spend/86400": (3500, 7000),
        "calls_per_client:seen/3600": (0, 1),
    }
    assert HOUR * 1000 - 5000 < used["calls_total/3600"].resets_in <= HOUR * 1000 + 300_000


# ---- the lanes


async def call(world: World, phone: str, context: RequestContext) -> Any:
    """A call that was placed, and the pause after it; or why not."""
    ref, answer = await world.reserve(phone, context)
    if isinstance(answer, Reserved):
        await world.settle(ref, answer, context)
        await world.travel(COOLDOWN)
    return answer


async def test_strangers_have_their_share_of_a_phones_calls_and_others_all_that_is_left(world: World) -> None:
    phone = fresh_phone()
    strangers = [await call(world, phone, stranger()) for _ in range(3)]
    assert (placed(strangers), strangers[2].limit) == (2, Limit.CALLS_PER_PHONE)
    trusted = [await call(world, phone, context) for context in (device(), BACKEND, device(), BACKEND)]
    assert [placed([answer]) for answer in trusted] == [1, 1, 1, 0], "three of the hour's five"
    for _ in range(2):
        await world.travel(HOUR)
        for _ in range(2):
            await call(world, phone, stranger())
    assert (await call(world, phone, stranger())).place == 1, "five of the day's ten"
    assert isinstance(await call(world, phone, device()), Reserved)


async def test_a_limit_that_the_owners_calls_have_reached_shows_a_stranger_only_roughly_when_they_were(
    world: World,
) -> None:
    phone = fresh_phone()
    for _ in range(4):
        await world.approve(await world.place(phone))
    await world.travel(HOUR - 287)
    context = stranger()
    ref, answer = await world.reserve(phone, context)
    times = (await world.settle(ref, answer, context)).times
    assert times.resend_at == times.now + 300_000


@pytest.mark.parametrize("limit", [Limit.CALLS_TOTAL, Limit.CALLS_PER_CLIENT])
async def test_strangers_have_their_share_of_all_calls_and_of_a_clients_and_others_all_that_is_left(
    world: World, limit: Limit
) -> None:
    rates = parse_rates("11/day")
    page = WEB if limit is Limit.CALLS_TOTAL else replace(WEB, calls=rates)
    world.rule(calls_total=rates if limit is Limit.CALLS_TOTAL else world.policy.calls_total)
    for made, share in ((stranger, 5), (device, 6), (stranger, 0)):
        answers = await world.race(lambda made=made: replace(made(), client=page))  # type: ignore[misc]
        assert placed(answers) == share
        assert {answer.limit for answer in answers if isinstance(answer, LimitReached)} == {limit}


async def test_strangers_see_what_is_left_of_their_share_of_a_clients_own_limit(world: World) -> None:
    page = replace(WEB, calls=parse_rates("5/day"))
    left = []
    for made in (stranger, device, device, stranger, device):
        _, answer = await world.reserve(context=replace(made(), client=page))
        left += [quota.left for quota in answer.quotas if quota.limit is Limit.CALLS_PER_CLIENT]
    assert left == [1, 3, 2, 0, 0]


async def test_without_a_share_strangers_are_called_by_no_one(world: World) -> None:
    world.rule(public_share=0)
    assert isinstance(await world.reserved(context=stranger()), SpendCapReached)
    assert isinstance(await world.reserved(context=device()), Reserved)


@pytest.mark.parametrize(
    ("limits", "made", "own", "in_all"),
    [
        ("5/hour, 10/day", device, 2, 5),
        ("5/hour", stranger, 2, 2),
        ("20/hour", stranger, 5, 10),
        ("20/day", device, 10, 20),
        ("3/day", device, 2, 3),
        ("3/day", stranger, 1, 1),
    ],
)
async def test_one_address_has_half_of_what_its_lane_allows_and_at_least_a_call_and_its_resend(
    world: World, limits: str, made: Any, own: int, in_all: int
) -> None:
    world.rule(cooldowns=(5,), calls_per_phone=parse_rates(limits), calls_per_ip=parse_rates("1000/hour"))
    phone, context = fresh_phone(), made("2001:db8:1:1::1")
    for number in range(own):
        ref, answer = await world.reserve(phone, context)
        settled = await world.settle(ref, answer, context)
        last = number == own - 1
        assert (settled.times.resend_at is None) == last, "and it is said when the address may call again"
        await world.travel(5)
    denied = await world.reserved(phone, made("2001:db8:1:1::2"))  # of the same /64
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
    for made, cooldown, of_strangers, of_others in (
        *((stranger, step, step, 30) for step in (30, 60, 300, 300)),
        *((device, step, 300, step) for step in (30, 60, 300)),
    ):
        await world.place(phone, made())
        assert await world.reserved(phone, stranger()) == LimitReached(Limit.RESEND_COOLDOWN, of_strangers)
        assert await world.reserved(phone, BACKEND) == LimitReached(Limit.RESEND_COOLDOWN, of_others)
        await world.travel(cooldown)
    await world.approve(await world.place(phone, device()), device())
    assert isinstance(await world.reserved(phone, device()), Reserved), "an approval ends the series"


async def test_a_resend_counts_in_the_lane_that_its_verification_was_started_in(world: World) -> None:
    """A device sends its token with the start alone."""
    ref, context = await world.place(context=device()), stranger()
    await world.travel(30)
    await world.resend(ref, context, price=9000)
    assert await world.counted("money", "3600") == {"trusted": 12_500}
    await world.travel(60)
    again = await world.reserve_resend(ref, context)
    assert await world.counted("lane") == {"trusted_placed": 3}
    await world.end(ref, again, Refusal.BUSY, context)
    assert await world.counted("lane") == {"trusted_placed": 2}
    assert await world.counted("money", "3600") == {"trusted": 12_500}

"""Limits that many verifications share, in every store: counters in slices, against models that remember every call."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import pytest

from app.verification.client import Client
from app.verification.limits import Rate, parse_rates
from app.verification.model import Approval, CallInProgress, Limit, LimitReached
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, World, device, fresh_address, stranger
from tests.harness import fresh_phone

HOUR, DAY, SLICES = 3600, 86_400, 12

# ---- the library part alone


def _part(name: str) -> str:
    return files("app.store").joinpath("lua", "lib", f"{name}.lua").read_text("utf-8")


_SCRIPT = (
    _part("script").replace("local now = time[1] * 1000 + math.floor(time[2] / 1000)", "local now = request.now")
    + _part("counters")
    + """
local counter = read_counter(keys.counter, request.window)
if request.step == 'count' then count_in(counter, request.name, request.amount) end
if request.step == 'count_blindly' then count(keys.counter, request.window, request.name, request.amount) end
if request.step == 'correct' then correct(keys.counter, request.window, request.name, request.at, request.amount) end
counter = read_counter(keys.counter, request.window)
return reply('done', {
  total = total_of(counter, 'a', 'b'), a = total_of(counter, 'a'), wait = wait_for(counter, request.room, 'a', 'b'), lives = redis.call('PTTL', keys.counter),
})
"""
)


@dataclass
class Model:
    """Every count, at its time."""

    window: int
    events: list[tuple[int, str, int]] = field(default_factory=list)

    def slice(self, at: float) -> int:
        return int(at * SLICES // (self.window * 1000))

    def counts(self, now: float, names: str = "ab") -> int:
        return sum(
            amount for at, name, amount in self.events if name in names and self.slice(at) >= self.slice(now) - SLICES
        )

    def wait(self, now: int, room: int) -> int:
        """By trying each moment at which a slice ends."""
        if self.counts(now) <= room:
            return 0
        if room < 0:
            return self.window * 1000
        ends = sorted({-((self.slice(at) + SLICES + 1) * self.window * 1000 // -SLICES) for at, _, _ in self.events})
        return next(end - now for end in ends if end > now and self.counts(end) <= room)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [1, 60, HOUR, DAY])
async def test_a_counter_counts_what_the_model_does_whatever_happens(world: World, window: int, seed: int) -> None:
    """The clock goes on within a slice, over one, over many, and back; amounts are of calls and of money."""
    chance, model, now = random.Random(f"{window} {seed}"), Model(window), 1_790_000_000_000
    key, script = world.names.key("counter"), await world.server.script_load(_SCRIPT)
    pauses = [0, 0.1, 1, 1, 2, 5, 12, 13, 14, -3 if seed == 0 else 0.5]
    for _ in range(120):
        now += round(chance.choice(pauses) * window * 1000 / SLICES * chance.random() * 2)
        step, amount, name = (
            chance.choice(["count", "count", "count_blindly", "look", "correct"]),
            chance.choice([1, 7, 35_000]),
            chance.choice("ab"),
        )
        at, room = now, chance.choice([-1, 0, 5, 10_000, 60_000])
        if step == "correct" and model.events:
            place = chance.randrange(len(model.events))
            at, name, counted = model.events[place]
            amount = chance.choice([-counted, 5, 31_500])
            model.events[place] = (at, name, counted + amount)
        elif step.startswith("count"):
            model.events.append((now, name, amount))
        request = {"step": step, "window": window, "now": now, "amount": amount, "name": name, "at": at, "room": room}
        request |= {"keys": ["counter"], "not_after": now}
        reply = json.loads(
            await world.server.evalsha(script, 1, key, json.dumps({"slices": SLICES}), json.dumps(request))
        )
        exact = sum(amount for at, _, amount in model.events if at > now - window * 1000)
        assert reply["total"] == model.counts(now)
        assert exact <= reply["total"] or seed == 0, "never less than the window holds, but after the clock went back"
        assert (reply["a"], reply["wait"]) == (model.counts(now, "a"), model.wait(now, room))
        if step == "count":
            model.events = [event for event in model.events if model.slice(event[0]) >= model.slice(now) - SLICES]
        if step.startswith("count"):
            assert reply["lives"] >= (model.slice(now) + SLICES + 1) * window * 1000 / SLICES - now
    assert await world.server.hlen(key) <= 2 * (2 * SLICES + 4), "what counts no more is removed"


# ---- limits


@pytest.mark.parametrize("seed", range(3))
async def test_no_window_sees_more_calls_than_its_limit_and_the_wait_is_right(world: World, seed: int) -> None:
    chance, denied, now = random.Random(seed), 0, 0.0
    placed: list[tuple[float, str]] = []
    rates, share = parse_rates("6/minute, 20/hour"), 0.5
    world.rule(calls_total=rates, public_share=share)

    def counted(lane: str | None, seconds: float) -> int:
        return sum(at > now - seconds and lane in (None, who) for at, who in placed)

    async def start(context: RequestContext) -> Any:
        answer = await world.reserved(context=context)
        for rate in rates if isinstance(answer, Reserved) else ():
            # The server's clock goes on by a little beside the test's.
            assert counted(None, rate.seconds - 1) < rate.count
            assert context.lane == "trusted" or counted("public", rate.seconds - 1) < rate.share(share).count
        if isinstance(answer, Reserved):
            placed.append((now, context.lane.value))
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
    assert len(placed) > 20 < denied


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


async def test_an_address_gets_as_many_calls_as_its_limit_over_all_phones(world: World) -> None:
    context = stranger()
    answers = await asyncio.gather(*(world.reserved(context=context) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 3
    denied = next(answer for answer in answers if isinstance(answer, LimitReached))
    assert denied.limit is Limit.CALLS_PER_IP
    assert HOUR <= denied.retry_after <= HOUR + 300, "the window, and a slice at most"
    assert sorted(answer.quotas[0].left for answer in answers if isinstance(answer, Reserved)) == [0, 1, 2]


async def test_an_ipv6_address_counts_by_64_and_its_site_by_48_at_four_times_the_limit(world: World) -> None:
    world.rule(calls_per_ip=(Rate(2, HOUR),))
    number = random.randrange(0x10000)

    async def start(host: str) -> bool:
        return isinstance(await world.reserved(context=stranger(f"2001:db8:{number:x}:{host}")), Reserved)

    assert [await start(host) for host in ("1::1", "1::2", "1:2:3:4:5", "2::1", "2::2", "2::3")] == [
        True,
        True,
        False,
    ] * 2
    assert [await start(f"{net}::1") for net in (3, 4, 5, 6)] == [True] * 4
    assert not await start("7::1"), "eight of the /48"
    assert isinstance(await world.reserved(context=stranger(f"2001:db8:{number ^ 1:x}:7::1")), Reserved)


async def test_addresses_of_an_ipv4_network_have_a_limit_each(world: World) -> None:
    first = fresh_address().rpartition(".")[0]
    for host in range(1, 6):
        answers = [await world.reserved(context=stranger(f"{first}.{host}")) for _ in range(4)]
        assert [isinstance(answer, Reserved) for answer in answers] == [True, True, True, False]


@pytest.mark.parametrize("address", ["198.51.100.20", "2001:db8:7:7::9"])
async def test_an_approval_gives_its_calls_back_to_address_and_network(world: World, address: str) -> None:
    """So that people behind one carrier NAT do not use up each other's; once, however often the code is repeated."""
    context = stranger(address)
    for _ in range(12):
        ref = await world.place(context=context)
        await world.travel(30)
        await world.resend(ref, context)
        assert isinstance(await world.right(ref, context), Approval)
        assert isinstance(await world.right(ref, context), Approval)
    counters = [key for key in await world.keys() if "address:" in key or "network:" in key]
    assert len(counters) == (2 if address.startswith("198") else 3)
    for key in counters:
        assert await world.counted(key.removeprefix(world.prefix)) == {"public": 0}
    await world.place(context=context)
    assert [key for key in counters if await world.counted(key.removeprefix(world.prefix)) != {"public": 1}] == []


async def test_a_denial_counts_nowhere(world: World) -> None:
    context = device()
    ref, _ = await world.reserve(context=context)
    before = {key: await world.server.dump(key) for key in await world.keys()}
    for _ in range(5):
        assert isinstance(await world.reserved(ref.phone, context), CallInProgress)
    assert {key: await world.server.dump(key) for key in await world.keys()} == before


async def test_a_client_has_limits_of_its_own(world: World) -> None:
    client = RequestContext(Client("limited", "web", parse_rates("2/minute, 3/day")))
    answers = [await world.reserved(context=client) for _ in range(3)]
    assert [isinstance(answer, Reserved) for answer in answers] == [True, True, False]
    assert answers[2].limit is Limit.CALLS_PER_CLIENT
    assert isinstance(await world.reserved(), Reserved)
    await world.travel(70)
    last = await world.reserved(context=client)
    assert [(quota.place, quota.left) for quota in last.quotas] == [(1, 0)], "the tightest"


async def test_all_calls_together_have_a_limit(world: World) -> None:
    world.rule(calls_total=parse_rates("7/day"))
    answers = await asyncio.gather(*(world.reserved() for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 7
    assert {answer.limit for answer in answers if isinstance(answer, LimitReached)} == {Limit.CALLS_TOTAL}


async def test_a_clock_that_is_set_back_opens_nothing(world: World) -> None:
    context = stranger()
    for _ in range(3):
        await world.reserve(context=context)
    await world.travel(-5 * HOUR)
    assert isinstance(await world.reserved(context=context), LimitReached)
    for back in (False, True):
        ref = await world.place()
        await world.travel(-5 * HOUR if back else 0)
        assert isinstance(await world.reserved(ref.phone), LimitReached)


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

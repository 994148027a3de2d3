"""What lies in the server: little, and it counts on while the pepper is rotated. That no one can read it: tests/attacks/test_at_rest.py."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from app.verification import model
from app.verification.client import Client, IdempotentRequest
from app.verification.ids import IdCodec
from app.verification.limits import parse_caps, parse_rates
from app.verification.model import CodeIncorrect, DestinationSuspended, Limit, LimitReached
from app.verification.policy import Guard
from app.verification.ports import RequestContext
from tests.contract.conftest import BACKEND, PEPPER, POLICY, World, fresh_address, stranger
from tests.harness import fresh_phone

NEXT_PEPPER = b"the next pepper 0123456789 0123456789 abc"


async def test_a_live_verification_takes_at_most_a_kilobyte_in_all(world: World) -> None:
    """With the phone's record, what is held of its guesses, and the counters of an IPv4 address and its network."""
    context = stranger()
    ref, call = await world.reserve(context=context, purpose="login")
    await world.settle(ref, call, context)
    own = [key for key in await world.keys() if re.search("verification|phone|address|network", key)]
    assert len(own) == 4
    assert sum([await world.server.memory_usage(key) for key in own]) <= 1024
    names = world.names.verification(ref)
    assert {await world.server.object("encoding", names[name]) for name in ("verification", "phone")} == {b"listpack"}


async def test_the_records_of_a_phone_do_not_grow_from_day_to_day(world: World) -> None:
    phone, sizes = fresh_phone(), []
    for _ in range(40):
        ref = await world.place(phone)
        await world.wrong(ref)
        await world.travel(12_000)
        names = world.names.verification(ref)
        sizes.append([await world.server.hlen(names[name]) for name in ("phone", "guesses")])
    calls, guesses = (max(size) for size in zip(*sizes, strict=True))
    assert calls == 8 + 3, "the calls of a day, the cooldowns' steps, and what the last one holds"
    assert guesses <= 13


# ---- rotation


@pytest.fixture
def rotate(world: World) -> Any:
    """Have another pepper in force, and this one before it."""
    return lambda **changes: world.rule(codec=IdCodec(NEXT_PEPPER, PEPPER), **changes)


async def test_what_was_begun_under_the_old_pepper_is_checked_resent_and_redeemed(world: World, rotate: Any) -> None:
    ref, call = await world.reserve(purpose="login")
    await world.settle(ref, call)
    await world.wrong(ref)
    await world.travel(30)
    rotate()
    opened = world.codec.open(ref.id)
    assert opened == ref
    await world.resend(opened, code="4567")
    assert await world.wrong(opened) == CodeIncorrect(1)
    approval = await world.approve(opened)
    assert (approval.purpose, approval.phone) == ("login", ref.phone)
    assert await world.guessed(opened) == {"trusted": 0}, "given back, from before and after"
    assert isinstance(await world.store.redeem(opened, 2**45), model.Redeemed)


async def test_a_rotation_places_no_second_call(world: World, rotate: Any) -> None:
    def once() -> RequestContext:
        return replace(BACKEND, idempotency=world.codec.idempotency("backend", "start", IdempotentRequest("one", b"")))

    context = once()
    ref, call = await world.reserve(context=context)
    rotate()
    again = once()
    answers = await asyncio.gather(*(world.reserved(ref.phone, who) for _ in range(50) for who in (BACKEND, again)))
    assert {type(answer) for answer in answers[::2]} == {model.CallInProgress}
    assert {type(answer) for answer in answers[1::2]} == {model.KeyInUse}
    opened = world.codec.open(ref.id)
    assert opened
    first = await world.settle(opened, call, context)
    assert await world.reserved(ref.phone, again) == model.Replayed(model.Pending(first))
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 30)


async def test_every_limit_counts_on_under_the_next_pepper(world: World, rotate: Any) -> None:
    once_a_day = parse_caps("0.35/day")
    client = Client("capped", "capped", parse_rates("1/day"))
    rich = Client("rich", "rich", spend=once_a_day)
    world.rule(
        guard=Guard(200, 1000, 3, 0.5, 0),
        calls_per_ip=parse_rates("1/day"),
        spending=replace(POLICY.spending, by_country={"KZ": once_a_day}),
    )
    address, suspended = stranger(fresh_address()), f"+7926555{fresh_phone()[-4:]}"
    for phone, context in (
        (fresh_phone(), address),
        (fresh_phone(), RequestContext(client)),
        (fresh_phone(), RequestContext(rich)),
        (f"+7701{fresh_phone()[-7:]}", BACKEND),
        *((f"{suspended[:-1]}{n}", BACKEND) for n in range(3)),
    ):
        await world.wrong(await world.place(phone, context), context)
    assert isinstance(await world.reserved(suspended), DestinationSuspended)
    rotate()
    assert (await world.reserved(context=address)).limit is Limit.CALLS_PER_IP
    assert (await world.reserved(context=RequestContext(client))).limit is Limit.CALLS_PER_CLIENT
    assert (await world.reserved(context=RequestContext(rich))).cap is model.Cap.CLIENT
    assert isinstance(await world.reserved(f"+7701{fresh_phone()[-7:]}"), model.SpendCapReached)
    assert isinstance(await world.reserved(suspended), DestinationSuspended)
    assert [found.destination for found in (await world.store.status()).suspended] == [suspended[:-4]]


async def test_guesses_count_on_under_the_next_pepper(world: World, rotate: Any) -> None:
    world.rule(cooldowns=(5,))
    ref = await world.place()
    for _ in range(3):
        await world.wrong(ref)
    await world.travel(5)
    live = await world.place(ref.phone)
    await world.travel(5)
    rotate()
    _, third = await world.reserve(ref.phone)
    assert (third.code_length, await world.guessed(ref)) == (4, {"trusted": 300}), "300 of 940 are counted, 300 held"
    await world.travel(31)
    assert (await world.reserved(ref.phone)).code_length == 5
    await world.approve(live)


async def test_a_worker_that_does_not_know_the_new_pepper_yet_undoes_no_record(world: World, rotate: Any) -> None:
    old = world.store
    rotate()
    ref = await world.place()
    await old.reserve(IdCodec(PEPPER).new(ref.phone), BACKEND, 4, None)
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 30)


async def test_records_are_found_after_a_rotation_whatever_the_clock(world: World, rotate: Any) -> None:
    ref = await world.place()
    rotate()
    await world.store.status()  # the worker knows the server's clock, which then jumps
    await world.travel(10)
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 20)


async def test_records_are_found_after_a_rotation_in_a_full_server(world: World, rotate: Any) -> None:
    ref = await world.place()
    rotate()
    async with world.full():
        assert await world.check(ref, "9999") == CodeIncorrect(2)
    assert await world.guessed(ref) == {"trusted": 100}
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 30)

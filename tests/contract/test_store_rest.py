"""What lies in the server: nothing readable, little, and for as long as it counts, also while the pepper is rotated."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.verification.client import Client, IdempotentRequest, networks_of
from app.verification.ids import IdCodec
from app.verification.limits import parse_caps, parse_rates
from app.verification.model import (
    Approval,
    CallInProgress,
    Cap,
    CodeIncorrect,
    DestinationSuspended,
    KeyInUse,
    Limit,
    LimitReached,
    Pending,
    Redeemed,
    Refusal,
    Replayed,
    SpendCapReached,
)
from app.verification.policy import Guard
from app.verification.ports import RequestContext
from tests.contract.conftest import BACKEND, PEPPER, POLICY, World, fresh_address, stranger
from tests.harness import fresh_phone

NEXT_PEPPER = b"the next pepper 0123456789 0123456789 abc"
PHONE = "+79068080807"
"""Its runs of digits occur in no time of day."""


@asynccontextmanager
async def overheard(server: Any) -> AsyncIterator[list[str]]:
    """All that the server is sent meanwhile, by MONITOR and by its slow log."""
    heard: list[str] = []

    async def listen(monitor: Any) -> None:
        while "the end" not in "".join(heard[-1:]):
            heard.append((await monitor.next_command())["command"])

    before = await server.config_get("slowlog-log-slower-than")
    await server.config_set("slowlog-log-slower-than", 0)
    await server.slowlog_reset()
    async with server.monitor() as monitor:
        listening = asyncio.ensure_future(listen(monitor))
        try:
            yield heard
        finally:
            await server.echo("the end")
            await listening
    heard += [str(entry["command"]) for entry in await server.slowlog_get(1000)]
    await server.config_set("slowlog-log-slower-than", before["slowlog-log-slower-than"])


async def at_rest(world: World) -> list[str]:
    """Every key, field and value."""
    found = []
    for key in await world.server.keys(f"{world.prefix}*"):
        kind = await world.server.type(key)
        read = {b"hash": world.server.hgetall, b"string": world.server.get}
        found += [key.decode(), str(await (read[kind](key) if kind in read else world.server.zrange(key, 0, -1)))]
    return found


async def life(world: World) -> str:
    """All that can become of a phone, its caller and its destination; everything that the server saw of it."""
    world.rule(
        guard=Guard(1000, 1000, 4, 0.5, 1),
        calls_per_ip=parse_rates("1000/hour"),
        spending=replace(POLICY.spending, by_country={"RU": parse_caps("400000/hour")}),
    )
    client = Client("shop-of-horrors", "x", calls=parse_rates("500/hour"), spend=parse_caps("500/hour"), public=True)
    idempotency = world.codec.idempotency(client.id, "start", IdempotentRequest("action-4711", b"body"))
    context = replace(stranger("203.0.113.77", idempotency=idempotency), client=client)
    async with overheard(world.server) as heard:
        ref, call = await world.reserve(PHONE, context, purpose="login-to-shop")
        await world.settle(ref, call, context)
        await world.wrong(ref, context)
        await world.travel(30)
        await world.resend(ref, replace(context, idempotency=None))
        assert isinstance(await world.right(ref, context), Approval)
        seen = await at_rest(world)
        assert isinstance(await world.store.redeem(ref, 2**45), Redeemed)
        for number, end in enumerate((world.store.commit_unknown, world.store.cancel_reservation, None, None)):
            v6 = replace(context, networks=networks_of("2001:db8:77:1::5"), idempotency=None)
            ref, call = await world.reserve(f"{PHONE[:-1]}{number}", v6, purpose="login-to-shop")
            if end:
                await end(ref, v6, call, *([Refusal.BALANCE] if number else []))
        await world.store.status(client)
        seen += await at_rest(world)
    assert isinstance(call, DestinationSuspended)
    return "\n".join([*heard, *seen])


async def test_nothing_that_is_kept_or_sent_can_be_read(world: World) -> None:
    lives = []
    for pepper in (PEPPER, NEXT_PEPPER):
        world.rule(codec=IdCodec(pepper))
        lives.append(await life(world))
        await world.server.delete(*await world.keys())
    for text in lives:
        assert "evalsha" in text.lower()
        assert not re.findall(
            r"shop|horrors|login|action|(?<![0-9a-f])4711(?![0-9a-f])|203\.0\.113|2001:db8|(?<![\w+/=-])RU(?![\w+/=-])",
            text,
        )
    runs = {PHONE[at : at + 5] for at in range(1, len(PHONE) - 4)}
    # A digest may hold five of the digits by chance, but not under two peppers.
    assert not [run for run in runs if all(run in text for text in lives)]


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


async def test_the_record_of_a_phone_does_not_grow_from_day_to_day(world: World) -> None:
    phone, sizes = fresh_phone(), []
    for _ in range(25):
        ref = await world.place(phone)
        await world.travel(12_000)
        sizes.append(await world.server.hlen(world.names.verification(ref)["phone"]))
    assert max(sizes) == sizes[-1] == 8 + 3, "the calls of a day, the cooldowns' steps, and what the last one holds"


async def test_what_was_guessed_at_a_phone_does_not_grow_from_day_to_day(world: World) -> None:
    phone, sizes = fresh_phone(), []
    for _ in range(40):
        ref = await world.place(phone)
        await world.wrong(ref)
        await world.travel(10_000)
        sizes.append(await world.server.hlen(world.names.verification(ref)["guesses"]))
    assert max(sizes) <= 13


async def test_three_days_after_the_last_call_nothing_is_left(world: World) -> None:
    await life(world)
    await world.travel(3 * 86_400)
    assert await world.keys() == {}


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
    approval = await world.check(opened, "0123")
    assert isinstance(approval, Approval)
    assert (approval.purpose, approval.phone) == ("login", ref.phone)
    assert await world.guessed(opened) == {"trusted": 0}, "given back, from before and after"
    assert isinstance(await world.store.redeem(opened, 2**45), Redeemed)


async def test_a_rotation_places_no_second_call(world: World, rotate: Any) -> None:
    context = replace(
        BACKEND, idempotency=world.codec.idempotency("backend", "start", IdempotentRequest("one", b"body"))
    )
    ref, call = await world.reserve(context=context)
    rotate()
    again = replace(context, idempotency=world.codec.idempotency("backend", "start", IdempotentRequest("one", b"body")))
    answers = await asyncio.gather(
        *(world.reserved(ref.phone) for _ in range(50)), *(world.reserved(ref.phone, again) for _ in range(50))
    )
    assert sum(isinstance(answer, CallInProgress) for answer in answers) == 50
    assert sum(answer == KeyInUse(1) for answer in answers) == 50
    opened = world.codec.open(ref.id)
    assert opened
    first = await world.settle(opened, call, context)
    assert await world.reserved(ref.phone, again) == Replayed(Pending(first))
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
    assert (await world.reserved(context=RequestContext(rich))).cap is Cap.CLIENT
    assert isinstance(await world.reserved(f"+7701{fresh_phone()[-7:]}"), SpendCapReached)
    assert isinstance(await world.reserved(suspended), DestinationSuspended)
    assert [found.destination for found in (await world.store.status()).suspended] == [suspended[:-4]]


async def test_guesses_count_on_under_the_next_pepper(world: World, rotate: Any) -> None:
    world.rule(cooldowns=(5,))
    ref, live = await world.place(), None
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
    assert isinstance(await world.right(live), Approval)


async def test_records_are_found_after_a_rotation_whatever_the_clock(world: World, rotate: Any) -> None:
    ref = await world.place()
    rotate()
    await world.store.status()  # the worker knows the server's clock, which then jumps
    await world.travel(10)
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 20)


async def test_records_are_found_after_a_rotation_in_a_full_server(world: World, rotate: Any) -> None:
    ref = await world.place()
    rotate()
    await world.server.config_set("maxmemory", "1")
    try:
        assert await world.check(ref, "9999") == CodeIncorrect(2)
    finally:
        await world.server.config_set("maxmemory", "0")
    assert await world.guessed(ref) == {"trusted": 100}
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 30)

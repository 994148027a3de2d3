"""A verification's life, in every store: the embedded Valkey and Redis. Races and strangers: tests/attacks."""

from dataclasses import replace
from typing import Any

import pytest

from app.verification import model
from app.verification.challenge import When
from app.verification.limits import Rate, parse_rates
from app.verification.model import Approval, CallFailed, CodeIncorrect, LimitReached, Refusal, Status
from app.verification.policy import Guard
from tests.contract.conftest import BACKEND, World, placed, stranger
from tests.harness import fresh_phone

NEITHER = pytest.mark.parametrize("refusal", [Refusal.OTHER, None], ids=["refused", "unknown"])
"""A call that was not placed, as far as is known."""


def cooldown(seconds: int) -> LimitReached:
    return LimitReached(model.Limit.RESEND_COOLDOWN, seconds)


async def test_a_placed_call_is_settled_and_its_code_approved_once(world: World) -> None:
    ref, call = await world.reserve(purpose="login")
    settled = await world.settle(ref, call)
    assert (settled.status, settled.attempts_left, settled.calls) == (Status.PENDING, 3, 1)
    times = settled.times
    assert (times.created_at, times.resend_at) == (call.at, call.at + 30_000)
    assert times.expires_at == times.now + 300_000
    assert await world.check(ref, "012") == model.CodeIncomplete(4), "which spends no attempt"
    first = await world.check(ref, "74957650123")
    assert (first.phone, first.purpose, first.repeated) == (ref.phone, "login", False)
    await world.travel(59)
    assert await world.right(ref) == replace(first, repeated=True)
    await world.travel(1)
    assert await world.right(ref) == model.AlreadyUsed()


async def test_the_resend_cooldown_grows_with_each_call_and_restarts_after_an_approval(world: World) -> None:
    phone = fresh_phone()
    for step in (30, 60, 300, 300):
        await world.place(phone)
        assert await world.reserved(phone) == cooldown(step)
        await world.travel(step)
    await world.approve(await world.place(phone))
    after = await world.reserved(phone)
    assert after.limit is model.Limit.CALLS_PER_PHONE, "the hour's five are used, whatever the cooldown says"


async def test_an_hour_without_a_call_restarts_the_cooldown(world: World) -> None:
    phone = fresh_phone()
    for pause in (30, 3600, 0):
        await world.place(phone)
        await world.travel(pause)
    assert await world.reserved(phone) == cooldown(30)


async def test_a_cooldown_of_more_than_an_hour_lasts_as_long(world: World) -> None:
    world.rule(cooldowns=(7200,), calls_per_phone=parse_rates("20/hour"))
    ref = await world.place()
    await world.travel(7100)
    assert await world.reserved(ref.phone) == cooldown(100)
    await world.travel(100)
    await world.place(ref.phone)


async def test_one_call_of_a_phone_and_day_is_a_sample_whatever_its_limits(world: World) -> None:
    world.rule(calls_per_phone=parse_rates("5/hour"))
    phone, sampled = fresh_phone(), []
    for hours in (0, 2, 5, 18, 24):
        await world.travel(hours * 3600)
        ref, call = await world.reserve(phone)
        sampled.append(call.sampled)
        await world.settle(ref, call)
    assert sampled == [True, False, False, False, True]


async def test_the_limits_per_hour_and_day_are_exact(world: World) -> None:
    world.rule(cooldowns=(5,), calls_per_phone=(Rate(2, 3600), Rate(3, 86400)))
    phone = fresh_phone()
    await world.place(phone)
    await world.travel(3590)
    await world.place(phone)
    await world.travel(9)
    assert await world.reserved(phone) == LimitReached(model.Limit.CALLS_PER_PHONE, 1, 0), "both lie within the hour"
    await world.travel(1)
    await world.place(phone)
    await world.travel(3600)
    by_day = await world.reserved(phone)
    assert by_day == LimitReached(model.Limit.CALLS_PER_PHONE, 86400 - 7200, 1)
    await world.travel(by_day.retry_after)
    await world.place(phone)


# ---- calls that are not placed


async def test_a_refused_call_gives_its_place_back_and_takes_no_resend(world: World) -> None:
    phone = fresh_phone()
    for _ in range(12):
        ref, call = await world.reserve(phone)
        assert await world.end(ref, call, Refusal.OTHER) == 0
        found: Any = await world.store.read(ref, BACKEND.client)
        assert (found.status, found.calls) == (Status.FAILED, 0), "none was placed, and none may have been"
        assert isinstance(await world.wrong(ref), CallFailed)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), CallFailed)


async def test_a_call_of_unknown_outcome_keeps_its_place_and_a_resend_brings_its_verification_a_code(
    world: World,
) -> None:
    ref, call = await world.reserve()
    assert 29_000 < await world.end(ref, call, None) <= 30_000
    assert await world.status(ref) is Status.FAILED
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), LimitReached), "the phone may be ringing"
    await world.travel(30)
    again = await world.reserve_resend(ref)
    assert isinstance(await world.right(ref), CallFailed), "no code is known yet"
    settled = await world.settle(ref, again, code="0002")
    assert (settled.status, settled.calls, settled.attempts_left) == (Status.PENDING, 2, 3)
    assert isinstance(await world.check(ref, "0001"), CodeIncorrect)
    assert isinstance(await world.check(ref, "0002"), Approval)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), model.AlreadyUsed)


async def test_such_a_resend_may_come_to_nothing_too_and_ends_with_the_longest_life(world: World) -> None:
    ref, call = await world.reserve()
    await world.end(ref, call, None)
    for wait, refusal in ((30, None), (60, None), (300, Refusal.OTHER)):
        await world.travel(wait)
        await world.end(ref, await world.reserve_resend(ref), refusal)
        assert await world.status(ref) is Status.FAILED
    await world.travel(211)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), CallFailed | model.NotFound)


async def test_reporting_a_call_twice_changes_nothing(world: World) -> None:
    ref, call = await world.reserve()
    once, twice = await world.settle(ref, call), await world.settle(ref, call)
    assert replace(twice, times=once.times) == once
    assert twice.times.expires_at == once.times.expires_at
    assert await world.end(ref, call, Refusal.OTHER) > 0, "what settled is not given back"
    await world.approve(ref)


async def test_a_refusal_that_is_reported_twice_does_not_touch_the_call_after_it(world: World) -> None:
    ref = await world.place()
    await world.travel(30)
    refused = await world.reserve_resend(ref)
    await world.end(ref, refused, Refusal.OTHER)
    call = await world.reserve_resend(ref)
    await world.end(ref, refused, Refusal.OTHER)
    again = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(again, model.CallInProgress), "the second call still blocks"
    await world.settle(ref, call, code="0002")
    assert isinstance(await world.check(ref, "0002"), Approval)


@NEITHER
async def test_a_resend_that_is_not_placed_leaves_the_first_code_in_force(
    world: World, refusal: Refusal | None
) -> None:
    ref = await world.place()
    await world.travel(30)
    await world.end(ref, await world.reserve_resend(ref), refusal)
    found: Any = await world.store.read(ref, BACKEND.client)
    assert (found.status, found.calls, found.attempts_left) == (Status.PENDING, 1 if refusal else 2, 3)
    await world.approve(ref)


# ---- resends, and the end


async def test_the_codes_of_the_last_two_calls_count_and_no_older_one(world: World) -> None:
    ref = await world.place(code="0001")
    for code, wait in (("0002", 30), ("0003", 60)):
        await world.travel(wait)
        await world.resend(ref, code=code)
    assert isinstance(await world.check(ref, "0001"), CodeIncorrect)
    first: Any = await world.check(ref, "0002")
    assert await world.check(ref, "0002") == replace(first, repeated=True), "whichever of the two it was"
    assert await world.check(ref, "0003") == model.AlreadyUsed()


async def test_a_resend_moves_the_expiry_at_most_to_the_longest_life(world: World) -> None:
    ref = await world.place()
    await world.travel(299)
    times = (await world.resend(ref)).times
    assert times.expires_at == times.now + 300_000
    await world.travel(290)
    call = await world.reserve_resend(ref)
    placing: Any = await world.store.read(ref, BACKEND.client)
    times = (await world.settle(ref, call)).times
    assert placing.times.expires_at == times.expires_at == times.created_at + 600_000
    assert times.resend_at is None, "a resend that comes after the end is no use"


async def test_an_expired_verification_takes_no_code_and_no_resend_and_is_not_revived(world: World) -> None:
    ref = await world.place()
    await world.travel(299)
    assert await world.wrong(ref) == CodeIncorrect(2)
    await world.travel(2)
    store, client = world.store, BACKEND.client
    answers = await world.right(ref), await store.reserve_resend(ref, BACKEND), await store.cancel(ref, client)
    assert {type(answer) for answer in answers} == {model.Expired}
    assert await world.status(ref) is Status.EXPIRED
    await world.travel(600)
    assert await world.check(ref, "0123") == await world.status(ref) == model.NotFound()


async def test_a_settle_after_the_end_revives_nothing(world: World) -> None:
    ref = await world.place()
    await world.travel(30)
    call = await world.reserve_resend(ref)
    assert await world.store.cancel(ref, BACKEND.client) is None
    late = ref, BACKEND, call, ref.digest("0002"), None
    assert isinstance(await world.store.settle(*late), model.CanceledBefore)
    assert isinstance(await world.check(ref, "0002"), model.CanceledBefore)
    record = world.names.verification(ref)["verification"]
    await world.server.delete(record)
    assert isinstance(await world.store.settle(*late), model.NotFound)
    assert await world.server.exists(record) == 0


async def test_a_verification_is_not_seen_before_its_call_was_placed(world: World) -> None:
    ref, _ = await world.reserve()
    resent, canceled = await world.store.reserve_resend(ref, BACKEND), await world.store.cancel(ref, BACKEND.client)
    assert await world.right(ref) == await world.status(ref) == resent == canceled == model.NotFound()


async def test_every_key_has_a_ttl_from_its_first_write(world: World) -> None:
    async def verification_lives() -> int:
        keys = await world.keys()
        assert all(0 < left <= 100_800_000 for left in keys.values()), keys
        return keys[world.names.verification(ref)["verification"]]

    context = stranger()
    ref, call = await world.reserve(context=context)
    assert await verification_lives() <= 30_000
    await world.settle(ref, call, context)
    assert await verification_lives() <= 900_000
    for step in (world.wrong, world.right, world.wrong):
        await step(ref, context)
        await verification_lives()
    await world.store.cancel(ref, context.client)
    assert await verification_lives() <= 600_000


async def test_a_test_number_has_no_cooldown_and_is_counted_apart(world: World) -> None:
    world.rule(guard=Guard(200, 1, 1, 0.5, 1), challenge=When.ALWAYS)
    phone, context = fresh_phone(), stranger()
    refs = [world.codec.new(phone, test=True) for _ in range(101)]
    *calls, over = [await world.store.reserve(ref, context, 4, None) for ref in refs]
    assert placed(calls) == 100
    assert isinstance(over, LimitReached)
    assert (over.limit, over.retry_after <= 60 + 5) == (model.Limit.CALLS_PER_PHONE, True)
    await world.store.settle(refs[0], context, calls[0], refs[0].digest("0123"), None)  # type: ignore[arg-type]  # it is reserved
    assert isinstance(await world.wrong(refs[0], context), CodeIncorrect)
    await world.approve(refs[0], context)
    assert {key.split(":")[1] for key in await world.keys()} == {"verification", "phone"}, "nothing else is counted"
    await world.place(phone)


async def test_no_token_is_redeemed_that_expired_or_whose_verification_is_gone(world: World) -> None:
    ref = await world.place()
    assert await world.store.redeem(ref, 2**45) == model.TokenExpired(), "not approved"
    approval = await world.approve(ref)
    expires_at = approval.approved_at + 600_000
    assert await world.store.redeem(ref, approval.approved_at) == model.TokenExpired()
    await world.travel(599)
    assert await world.store.redeem(ref, expires_at) == model.Redeemed(approval), "it lives as long as its token"
    assert await world.store.redeem(ref, expires_at) == model.TokenRedeemed()
    await world.travel(2)
    assert await world.store.redeem(ref, 2**45) == model.TokenExpired()
    assert world.names.verification(ref)["verification"] not in await world.keys()

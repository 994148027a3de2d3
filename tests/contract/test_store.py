"""A verification's life, in every store: the embedded Valkey and Redis."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.verification.limits import Rate, parse_rates
from app.verification.model import (
    AlreadyUsed,
    Approval,
    AttemptsExhausted,
    CallFailed,
    CallInProgress,
    CanceledBefore,
    CodeIncomplete,
    CodeIncorrect,
    Expired,
    Limit,
    LimitReached,
    NotFound,
    Refusal,
    Status,
    Verification,
)
from app.verification.ports import Reserved
from tests.contract.conftest import BACKEND, OTHER, World, device, stranger
from tests.harness import fresh_phone


async def test_a_placed_call_is_settled_and_its_code_approved_once(world: World) -> None:
    ref, call = await world.reserve(purpose="login")
    await world.settle(ref, call)
    first, again = await world.right(ref), await world.right(ref)
    assert isinstance(first, Approval)
    assert (first.phone, first.purpose, first.repeated) == (ref.phone, "login", False)
    assert again == replace(first, repeated=True)


async def test_the_last_digits_of_what_was_typed_count_and_too_few_spend_no_attempt(world: World) -> None:
    ref = await world.place()
    assert await world.check(ref, "012") == CodeIncomplete(4)
    assert isinstance(await world.check(ref, "74957650123"), Approval)


async def test_the_times_are_the_policys(world: World) -> None:
    ref, call = await world.reserve()
    settled = await world.settle(ref, call)
    times = settled.times
    assert times.created_at == call.at
    assert times.expires_at == times.now + 300_000
    assert times.resend_at == call.at + 30_000
    assert (settled.status, settled.attempts_left, settled.calls) == (Status.PENDING, 3, 1)


async def test_a_hundred_starts_at_once_are_one_call(world: World) -> None:
    phone = fresh_phone()
    contexts = [BACKEND, OTHER, device(), stranger(), stranger()]
    answers = await asyncio.gather(*(world.reserved(phone, contexts[n % 5]) for n in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 1
    denied = [answer for answer in answers if isinstance(answer, CallInProgress)]
    assert len(denied) == 99
    assert all(25 <= answer.retry_after <= 30 for answer in denied)


async def test_the_resend_cooldown_grows_with_each_call_and_restarts_after_an_approval(world: World) -> None:
    phone = fresh_phone()
    for step in (30, 60, 300, 300):
        await world.place(phone)
        assert await world.reserved(phone) == LimitReached(Limit.RESEND_COOLDOWN, step)
        await world.travel(step)
    assert isinstance(await world.right(await world.place(phone)), Approval)
    after = await world.reserved(phone)
    assert after.limit is Limit.CALLS_PER_PHONE, "the hour's five are used, whatever the cooldown says"


async def test_an_hour_without_a_call_restarts_the_cooldown(world: World) -> None:
    phone = fresh_phone()
    await world.place(phone)
    await world.travel(30)
    await world.place(phone)
    await world.travel(3600)
    await world.place(phone)
    assert await world.reserved(phone) == LimitReached(Limit.RESEND_COOLDOWN, 30)


async def test_a_cooldown_of_more_than_an_hour_lasts_as_long(world: World) -> None:
    world.rule(cooldowns=(7200,), calls_per_phone=parse_rates("20/hour"))
    ref = await world.place()
    await world.travel(7100)
    assert await world.reserved(ref.phone) == LimitReached(Limit.RESEND_COOLDOWN, 100)
    await world.travel(100)
    await world.place(ref.phone)


async def test_one_call_of_a_phone_and_day_is_a_sample_whatever_its_limits(world: World) -> None:
    world.rule(calls_per_phone=parse_rates("5/hour"))
    phone = fresh_phone()
    sampled = []
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
    assert await world.reserved(phone) == LimitReached(Limit.CALLS_PER_PHONE, 1, 0), "both lie within the hour"
    await world.travel(1)
    await world.place(phone)
    await world.travel(3600)
    by_day = await world.reserved(phone)
    assert by_day == LimitReached(Limit.CALLS_PER_PHONE, 86400 - 7200, 1)
    await world.travel(by_day.retry_after)
    await world.place(phone)


async def test_a_refused_call_gives_its_place_back(world: World) -> None:
    phone = fresh_phone()
    for _ in range(12):
        ref, call = await world.reserve(phone)
        assert await world.store.cancel_reservation(ref, BACKEND, call, Refusal.OTHER) == 0
        assert isinstance(await world.wrong(ref), CallFailed)


async def test_a_call_of_unknown_outcome_keeps_its_place_and_fails_its_verification(world: World) -> None:
    ref, call = await world.reserve()
    assert 29_000 < await world.store.commit_unknown(ref, BACKEND, call) <= 30_000
    assert await world.status(ref) is Status.FAILED
    assert isinstance(await world.reserved(ref.phone), LimitReached)


async def test_a_resend_gives_a_verification_its_code_whose_call_came_to_no_known_end(world: World) -> None:
    ref, call = await world.reserve()
    await world.store.commit_unknown(ref, BACKEND, call)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), LimitReached), "the phone may be ringing"
    await world.travel(30)
    again = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(again, Reserved)
    assert isinstance(await world.right(ref), CallFailed), "no code is known yet"
    settled = await world.settle(ref, again, code="0002")
    assert (settled.status, settled.calls, settled.attempts_left) == (Status.PENDING, 2, 3)
    assert isinstance(await world.check(ref, "0001"), CodeIncorrect)
    assert isinstance(await world.check(ref, "0002"), Approval)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), AlreadyUsed)


async def test_such_a_resend_may_come_to_nothing_too_and_ends_with_the_longest_life(world: World) -> None:
    ref, call = await world.reserve()
    await world.store.commit_unknown(ref, BACKEND, call)
    for wait in (30, 60):
        await world.travel(wait)
        again = await world.store.reserve_resend(ref, BACKEND)
        assert isinstance(again, Reserved)
        await world.store.commit_unknown(ref, BACKEND, again)
        assert await world.status(ref) is Status.FAILED
    await world.travel(300)
    again = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(again, Reserved)
    await world.store.cancel_reservation(ref, BACKEND, again, Refusal.OTHER)
    assert await world.status(ref) is Status.FAILED
    await world.travel(211)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), CallFailed | NotFound)


async def test_a_call_that_was_refused_takes_no_resend(world: World) -> None:
    ref, call = await world.reserve()
    await world.store.cancel_reservation(ref, BACKEND, call, Refusal.OTHER)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), CallFailed)


async def test_reporting_a_call_twice_changes_nothing(world: World) -> None:
    ref, call = await world.reserve()
    once, twice = await world.settle(ref, call), await world.settle(ref, call)
    assert replace(twice, times=once.times) == once
    assert twice.times.expires_at == once.times.expires_at
    assert await world.store.cancel_reservation(ref, BACKEND, call, Refusal.OTHER) > 0, "what settled is not given back"
    assert isinstance(await world.right(ref), Approval)


async def test_a_refusal_that_is_reported_twice_does_not_touch_the_call_after_it(world: World) -> None:
    ref = await world.place()
    await world.travel(30)
    refused = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(refused, Reserved)
    await world.store.cancel_reservation(ref, BACKEND, refused, Refusal.OTHER)
    placed = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(placed, Reserved)
    await world.store.cancel_reservation(ref, BACKEND, refused, Refusal.OTHER)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), CallInProgress), "the second call still blocks"
    await world.settle(ref, placed, code="0002")
    assert isinstance(await world.check(ref, "0002"), Approval)


async def test_the_codes_of_the_last_two_calls_count_and_no_older_one(world: World) -> None:
    ref = await world.place(code="0001")
    for code, wait in (("0002", 30), ("0003", 60)):
        await world.travel(wait)
        await world.resend(ref, code=code)
    assert isinstance(await world.check(ref, "0001"), CodeIncorrect)
    assert isinstance(await world.check(ref, "0002"), Approval)


@pytest.mark.parametrize("refused", [True, False])
async def test_a_resend_that_is_not_placed_leaves_the_first_code_in_force(world: World, *, refused: bool) -> None:
    ref = await world.place()
    await world.travel(30)
    call = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(call, Reserved)
    if refused:
        await world.store.cancel_reservation(ref, BACKEND, call, Refusal.OTHER)
    else:
        await world.store.commit_unknown(ref, BACKEND, call)
    found = await world.store.read(ref, BACKEND.client)
    assert isinstance(found, Verification)
    assert (found.status, found.calls, found.attempts_left) == (Status.PENDING, 1 if refused else 2, 3)
    assert isinstance(await world.right(ref), Approval)


async def test_a_resend_moves_the_expiry_at_most_to_the_longest_life(world: World) -> None:
    ref = await world.place()
    await world.travel(299)
    settled = await world.resend(ref, code="0002")
    assert settled.times.expires_at == settled.times.now + 300_000
    await world.travel(290)
    settled = await world.resend(ref, code="0003")
    assert settled.times.expires_at == settled.times.created_at + 600_000
    assert settled.times.resend_at is None, "a resend that comes after the end is no use"


async def test_an_expired_verification_takes_no_code_and_no_resend_and_is_not_revived(world: World) -> None:
    ref = await world.place()
    await world.travel(299)
    assert await world.wrong(ref) == CodeIncorrect(2)
    await world.travel(2)
    assert isinstance(await world.right(ref), Expired)
    assert isinstance(await world.store.reserve_resend(ref, BACKEND), Expired)
    assert isinstance(await world.store.cancel(ref, BACKEND.client), Expired)
    assert await world.status(ref) is Status.EXPIRED
    await world.travel(600)
    assert await world.check(ref, "0123") == await world.status(ref) == NotFound()


async def test_a_settle_after_the_end_revives_nothing(world: World) -> None:
    ref = await world.place()
    await world.travel(30)
    call = await world.store.reserve_resend(ref, BACKEND)
    assert isinstance(call, Reserved)
    assert await world.store.cancel(ref, BACKEND.client) is None
    assert isinstance(await world.store.settle(ref, BACKEND, call, ref.digest("0002"), None), CanceledBefore)
    assert isinstance(await world.check(ref, "0002"), CanceledBefore)
    record = world.names.verification(ref)["verification"]
    await world.server.delete(record)
    assert isinstance(await world.store.settle(ref, BACKEND, call, ref.digest("0002"), None), NotFound)
    assert await world.server.exists(record) == 0


async def test_a_wrong_code_after_the_approval_spends_attempts_so_that_the_repeat_window_is_no_free_guessing(
    world: World,
) -> None:
    ref = await world.place()
    assert isinstance(await world.right(ref), Approval)
    for _ in range(3):
        assert isinstance(await world.wrong(ref), AlreadyUsed)
    assert isinstance(await world.right(ref), AlreadyUsed)


async def test_after_the_repeat_window_the_right_code_gets_nothing_more(world: World) -> None:
    ref = await world.place()
    assert isinstance(await world.right(ref), Approval)
    await world.travel(59)
    assert isinstance(await world.right(ref), Approval)
    await world.travel(1)
    assert isinstance(await world.right(ref), AlreadyUsed)


async def test_another_client_sees_and_changes_nothing(world: World) -> None:
    ref = await world.place()
    for answer in (
        await world.right(ref, OTHER),
        await world.store.reserve_resend(ref, OTHER),
        await world.status(ref, OTHER),
        await world.store.cancel(ref, OTHER.client),
    ):
        assert answer == NotFound()
    assert isinstance(await world.right(ref), Approval)


async def test_a_verification_is_not_seen_before_its_call_was_placed(world: World) -> None:
    ref, _ = await world.reserve()
    assert await world.right(ref) == NotFound()
    assert await world.status(ref) == NotFound()
    assert await world.store.reserve_resend(ref, BACKEND) == NotFound()


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


async def test_a_hundred_guesses_at_once_are_three(world: World) -> None:
    ref = await world.place()
    answers = await asyncio.gather(*(world.check(ref, f"{n:04d}") for n in range(1000, 1100)))
    assert sum(isinstance(answer, CodeIncorrect) for answer in answers) == 3
    assert sum(isinstance(answer, AttemptsExhausted) for answer in answers) == 97


async def test_a_hundred_right_codes_at_once_are_one_approval(world: World) -> None:
    ref = await world.place()
    answers = await asyncio.gather(*(world.check(ref, "0123") for _ in range(100)))
    assert sum(answer.repeated for answer in answers) == 99
    assert len({answer.approved_at for answer in answers}) == 1


async def test_the_right_code_on_the_last_attempt_is_approved(world: World) -> None:
    ref = await world.place()
    assert [await world.wrong(ref) for _ in range(2)] == [CodeIncorrect(2), CodeIncorrect(1)]
    assert isinstance(await world.right(ref), Approval)


async def test_a_test_number_has_no_cooldown_and_is_counted_apart(world: World) -> None:
    phone = fresh_phone()

    async def start(context: Any = BACKEND) -> Any:
        return await world.store.reserve(world.codec.new(phone, test=True), context, 4, None)

    answers = [await start() for _ in range(100)]
    assert all(isinstance(answer, Reserved) for answer in answers)
    over = await start(stranger())
    assert over.limit is Limit.CALLS_PER_PHONE
    assert over.retry_after <= 60 + 5
    await world.place(phone)

"""One suite for every store: the embedded Valkey and Redis."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from app.store.connection import examine
from app.store.keys import keys_of, phone_key
from app.store.redis_store import RedisStore
from app.verification.call import Refusal
from app.verification.client import Client
from app.verification.errors import StoreUnavailable
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    AlreadyUsed,
    Approval,
    AttemptsExhausted,
    CallFailed,
    CallInProgress,
    CanceledBefore,
    CodeIncorrect,
    Expired,
    Limit,
    LimitReached,
    NotFound,
    Status,
    Verification,
)
from app.verification.ports import RequestContext, Reserved
from app.verification.rates import Rate
from tests.contract.conftest import POLICY, coalescer_of
from tests.harness import fresh_phone, make_older

WEB, OTHER = (RequestContext(Client(name, name)) for name in ("web", "other"))


@pytest.fixture
def ref(codec: IdCodec) -> VerificationRef:
    return codec.new(fresh_phone(), 4)


async def _reserved(store: RedisStore, ref: VerificationRef, before: VerificationRef | None = None) -> Reserved:
    call = await store.start([ref], WEB, None, before)
    assert isinstance(call, Reserved), call
    return call


async def _pending(store: RedisStore, ref: VerificationRef, code: str = "0123") -> Reserved:
    call = await _reserved(store, ref)
    assert isinstance(await store.settle(ref, WEB, call, ref.digest(code), None), Verification)
    return call


async def _ago(server: Any, ref: VerificationRef, seconds: float) -> None:
    await make_older(server, ref, seconds)


async def test_a_started_call_is_settled_and_its_code_approved_once(store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    first = await store.check(ref, WEB, ref.digest("0123"))
    again = await store.check(ref, WEB, ref.digest("0123"))
    assert isinstance(first, Approval)
    assert isinstance(again, Approval)
    assert (first.repeated, again.repeated) == (False, True)
    assert again.approved_at == first.approved_at


async def test_the_times_are_the_policys(store: RedisStore, ref: VerificationRef) -> None:
    call = await _reserved(store, ref)
    settled = await store.settle(ref, WEB, call, b"d" * 16, None)
    assert isinstance(settled, Verification)
    times = settled.times
    assert times.created_at == call.at
    assert times.expires_at == times.now + 300_000
    assert times.resend_at == call.at + 30_000
    assert (settled.status, settled.attempts_left, settled.calls) == (Status.PENDING, 3, 1)


async def test_a_second_start_while_the_first_is_being_placed_is_told_so(
    store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    await _reserved(store, ref)
    second = await store.start([codec.new(ref.phone, 4)], OTHER, None, None)
    assert isinstance(second, CallInProgress)
    assert 25 <= second.retry_after <= 30


async def test_the_ladder_grows_with_each_call_and_restarts_after_an_approval(
    store: RedisStore, server: Any, codec: IdCodec, ref: VerificationRef
) -> None:
    for step in (30, 60, 300, 300):
        current = codec.new(ref.phone, 4)
        await _pending(store, current)
        too_soon = await store.start([codec.new(ref.phone, 4)], WEB, None, None)
        assert isinstance(too_soon, LimitReached)
        assert (too_soon.limit, too_soon.retry_after) == (Limit.RESEND_COOLDOWN, step)
        await _ago(server, current, step)
    current = codec.new(ref.phone, 4)
    await _pending(store, current)
    assert isinstance(await store.check(current, WEB, current.digest("0123")), Approval)
    after = await store.start([codec.new(ref.phone, 4)], WEB, None, None)
    assert isinstance(after, LimitReached), "the hour's five are spent, whatever the ladder says"
    assert after.limit is Limit.CALLS_PER_PHONE


async def test_an_hour_of_silence_restarts_the_ladder(
    store: RedisStore, server: Any, codec: IdCodec, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await _ago(server, ref, 30)
    second = codec.new(ref.phone, 4)
    await _pending(store, second)
    await _ago(server, second, 3600)
    third = codec.new(ref.phone, 4)
    await _pending(store, third)
    refused = await store.start([codec.new(ref.phone, 4)], WEB, None, None)
    assert isinstance(refused, LimitReached)
    assert refused.retry_after == 30


async def test_the_limits_per_hour_and_day_are_exact(server: Any, codec: IdCodec, ref: VerificationRef) -> None:
    store = RedisStore(
        coalescer_of(server), replace(POLICY, cooldowns=(5,), calls_per_phone=(Rate(2, 3600), Rate(3, 86400)))
    )
    await _pending(store, ref)
    await _ago(server, ref, 3599)
    second = codec.new(ref.phone, 4)
    await _pending(store, second)
    await _ago(server, second, 0.5)
    held = await store.start([codec.new(ref.phone, 4)], WEB, None, None)
    assert isinstance(held, LimitReached), "both calls lie within the hour"
    await _ago(server, second, 5)
    third = codec.new(ref.phone, 4)
    await _pending(store, third)
    await _ago(server, third, 3600)
    by_day = await store.start([codec.new(ref.phone, 4)], WEB, None, None)
    assert isinstance(by_day, LimitReached)
    assert by_day.limit is Limit.CALLS_PER_PHONE
    assert 86400 - 2 * 3600 - 60 < by_day.retry_after <= 86400 - 2 * 3600


async def test_a_refused_call_gives_everything_back(store: RedisStore, codec: IdCodec, ref: VerificationRef) -> None:
    for _ in range(12):
        current = codec.new(ref.phone, 4)
        call = await _reserved(store, current)
        assert await store.release(current, WEB, call, Refusal.OTHER) == 0
        assert isinstance(await store.check(current, WEB, b"d" * 16), CallFailed)


async def test_a_call_of_unknown_fate_keeps_its_place_and_fails_its_verification(
    store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    call = await _reserved(store, ref)
    assert 29_000 < await store.keep(ref, WEB, call) <= 30_000
    found = await store.read(ref, "web")
    assert isinstance(found, Verification)
    assert found.status is Status.FAILED
    assert isinstance(await store.start([codec.new(ref.phone, 4)], WEB, None, None), LimitReached)


async def test_reporting_a_call_twice_changes_nothing(store: RedisStore, ref: VerificationRef) -> None:
    call = await _reserved(store, ref)
    once = await store.settle(ref, WEB, call, ref.digest("0123"), None)
    twice = await store.settle(ref, WEB, call, ref.digest("0123"), None)
    assert isinstance(once, Verification)
    assert isinstance(twice, Verification)
    assert replace(twice, times=once.times) == once
    assert twice.times.expires_at == once.times.expires_at
    assert await store.release(ref, WEB, call, Refusal.OTHER) > 0, "a call that settled is not given back"
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)


async def test_a_refusal_told_twice_does_not_touch_the_call_after_it(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await _ago(server, ref, 30)
    refused = await store.resend(ref, WEB)
    assert isinstance(refused, Reserved)
    await store.release(ref, WEB, refused, Refusal.OTHER)
    placed = await store.resend(ref, WEB)
    assert isinstance(placed, Reserved)
    await store.release(ref, WEB, refused, Refusal.OTHER)
    assert isinstance(await store.resend(ref, WEB), CallInProgress), "the second call still blocks the third"
    assert isinstance(await store.settle(ref, WEB, placed, ref.digest("0002"), None), Verification)
    assert isinstance(await store.check(ref, WEB, ref.digest("0002")), Approval)


async def test_the_codes_of_the_last_two_calls_count_and_no_older_one(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref, "0001")
    for code, wait in (("0002", 30), ("0003", 60)):
        await _ago(server, ref, wait)
        call = await store.resend(ref, WEB)
        assert isinstance(call, Reserved), call
        await store.settle(ref, WEB, call, ref.digest(code), None)
    assert isinstance(await store.check(ref, WEB, ref.digest("0001")), CodeIncorrect)
    assert isinstance(await store.check(ref, WEB, ref.digest("0002")), Approval)


async def test_a_refused_resend_leaves_the_first_code_in_force(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await _ago(server, ref, 30)
    call = await store.resend(ref, WEB)
    assert isinstance(call, Reserved)
    await store.release(ref, WEB, call, Refusal.OTHER)
    found = await store.read(ref, "web")
    assert isinstance(found, Verification)
    assert (found.status, found.calls) == (Status.PENDING, 1)
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)


async def test_a_resend_moves_the_expiry_at_most_to_the_longest_life(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await _ago(server, ref, 299)
    call = await store.resend(ref, WEB)
    assert isinstance(call, Reserved)
    settled = await store.settle(ref, WEB, call, ref.digest("0002"), None)
    assert isinstance(settled, Verification)
    assert settled.times.expires_at == settled.times.now + 300_000
    await _ago(server, ref, 290)
    call = await store.resend(ref, WEB)
    assert isinstance(call, Reserved)
    settled = await store.settle(ref, WEB, call, ref.digest("0003"), None)
    assert isinstance(settled, Verification)
    assert settled.times.expires_at == settled.times.created_at + 600_000
    assert settled.times.resend_at is None, "nobody is told of a resend that comes after the end"


async def test_an_expired_verification_takes_no_code_and_no_resend_and_is_not_revived(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await _ago(server, ref, 301)
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Expired)
    assert isinstance(await store.resend(ref, WEB), Expired)
    assert isinstance(await store.cancel(ref, "web"), Expired)
    found = await store.read(ref, "web")
    assert isinstance(found, Verification)
    assert found.status is Status.EXPIRED


async def test_a_settle_after_the_end_revives_nothing(server: Any, store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    await _ago(server, ref, 30)
    call = await store.resend(ref, WEB)
    assert isinstance(call, Reserved)
    assert await store.cancel(ref, "web") is None
    assert isinstance(await store.settle(ref, WEB, call, ref.digest("0002"), None), CanceledBefore)
    assert isinstance(await store.check(ref, WEB, ref.digest("0002")), CanceledBefore)
    await server.delete(keys_of(ref)[0])
    assert isinstance(await store.settle(ref, WEB, call, ref.digest("0002"), None), NotFound)
    assert await server.exists(keys_of(ref)[0]) == 0


async def test_a_wrong_code_after_approval_spends_attempts_so_that_the_grace_is_no_free_guessing(
    store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)
    for _ in range(3):
        assert isinstance(await store.check(ref, WEB, ref.digest("9999")), AlreadyUsed)
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), AlreadyUsed)


async def test_after_the_grace_time_the_right_code_is_told_nothing_more(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)
    await _ago(server, ref, 61)
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), AlreadyUsed)


async def test_another_client_sees_and_changes_nothing(store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    for answer in (
        await store.check(ref, OTHER, ref.digest("0123")),
        await store.resend(ref, OTHER),
        await store.read(ref, "other"),
        await store.cancel(ref, "other"),
    ):
        assert answer == NotFound()
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)


async def test_nobody_sees_a_verification_before_its_call_was_placed(store: RedisStore, ref: VerificationRef) -> None:
    await _reserved(store, ref)
    assert await store.check(ref, WEB, b"d" * 16) == NotFound()
    assert await store.read(ref, "web") == NotFound()
    assert await store.resend(ref, WEB) == NotFound()


async def test_every_key_has_a_ttl_from_its_first_write(server: Any, store: RedisStore, codec: IdCodec) -> None:
    async def ttls(ref: VerificationRef) -> list[int]:
        return [await server.pttl(key) for key in keys_of(ref)]

    longest = 93_600_000
    ref = codec.new(fresh_phone(), 4)
    call = await _reserved(store, ref)
    assert all(0 < ttl <= longest for ttl in await ttls(ref))
    await store.settle(ref, WEB, call, ref.digest("0123"), None)
    assert (await ttls(ref))[0] <= 900_000
    for step in (
        lambda: store.check(ref, WEB, b"x" * 16),
        lambda: store.check(ref, WEB, ref.digest("0123")),
        lambda: store.check(ref, WEB, b"x" * 16),
        lambda: store.cancel(ref, "web"),
    ):
        await step()
        assert all(0 < ttl <= longest for ttl in await ttls(ref))
    assert (await ttls(ref))[0] <= 600_000


async def test_reports_of_forgotten_calls_create_no_key(server: Any, store: RedisStore, ref: VerificationRef) -> None:
    call = await _reserved(store, ref)
    await server.delete(*keys_of(ref))
    await store.release(ref, WEB, call, Refusal.OTHER)
    await store.keep(ref, WEB, call)
    await store.settle(ref, WEB, call, b"d" * 16, None)
    await store.check(ref, WEB, b"d" * 16)
    await store.cancel(ref, "web")
    assert await server.exists(*keys_of(ref)) == 0


async def test_a_crash_between_reserving_and_settling_blocks_no_longer_than_its_deadline(
    server: Any, codec: IdCodec, ref: VerificationRef
) -> None:
    store = RedisStore(coalescer_of(server), replace(POLICY, call_deadline=1, cooldowns=(5,)))
    await _reserved(store, ref)
    verification, phone = keys_of(ref)
    assert await server.pttl(verification) <= 1000
    # As if the deadline had passed: the mark is older, and the ladder's step too.
    await server.hset(phone, "f", int(time.time() * 1000) - 1)
    await _ago(server, ref, 6)
    await _reserved(store, codec.new(ref.phone, 4))


async def test_the_limits_of_a_phone_outlive_a_rotation_of_the_pepper(store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    rotating = IdCodec(b"the next pepper 0123456789 0123456789", b"pepper of the contract tests 0123456789")
    moved = rotating.new(ref.phone, 4)
    denied = await store.start([moved], WEB, None, rotating.before(moved))
    assert isinstance(denied, LimitReached)
    assert phone_key(moved.tag) != phone_key(ref.tag)


async def test_a_server_that_lost_its_scripts_is_given_them_again(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await server.script_flush()
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)


async def test_a_full_server_decides_nothing_and_recovers(server: Any, store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    before = (await server.config_get("maxmemory"))["maxmemory"]
    try:
        await server.config_set("maxmemory", "1")
        for step in (store.start([ref], WEB, None, None), store.check(ref, WEB, ref.digest("9999"))):
            with pytest.raises(StoreUnavailable):
                await step
    finally:
        await server.config_set("maxmemory", before)
    assert await store.check(ref, WEB, ref.digest("9999")) == CodeIncorrect(2), (
        "the guess at the full server spent nothing"
    )


async def test_a_hundred_guesses_at_once_are_three(store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    answers = await asyncio.gather(*(store.check(ref, WEB, ref.digest(f"{n:04d}")) for n in range(1000, 1100)))
    assert sum(isinstance(answer, CodeIncorrect) for answer in answers) == 3
    assert sum(isinstance(answer, AttemptsExhausted) for answer in answers) == 97


async def test_an_eviction_policy_that_drops_counters_is_found(server: Any) -> None:
    assert (await examine(server)).ready
    await server.config_set("maxmemory-policy", "allkeys-lru")
    try:
        health = await examine(server)
        assert not health.ready
        assert "noeviction" in health.faults[0]
    finally:
        await server.config_set("maxmemory-policy", "noeviction")


async def test_a_read_only_replica_is_found_and_decides_nothing(
    server: Any, store: RedisStore, ref: VerificationRef
) -> None:
    await _pending(store, ref)
    await server.replicaof("127.0.0.1", 1)
    try:
        assert not (await examine(server)).ready
        with pytest.raises(StoreUnavailable):
            await store.check(ref, WEB, ref.digest("0123"))
    finally:
        await server.replicaof("NO", "ONE")
    assert isinstance(await store.check(ref, WEB, ref.digest("0123")), Approval)


async def test_a_records_memory_stays_packed(server: Any, store: RedisStore, ref: VerificationRef) -> None:
    await _pending(store, ref)
    assert {await server.object("encoding", key) for key in keys_of(ref)} == {b"listpack"}

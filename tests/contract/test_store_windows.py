"""Limits that many verifications share, in every store: an address's, a client's; and a test number's own."""

import asyncio
from typing import Any

import pytest

from app.store.redis_store import RedisStore
from app.verification.client import Client
from app.verification.ids import IdCodec, VerificationRef
from app.verification.model import (
    Approval,
    CallInProgress,
    CodeIncorrect,
    Limit,
    LimitReached,
)
from app.verification.ports import RequestContext, Reserved
from app.verification.rates import parse_rates
from tests.harness import fresh_phone

CLIENT = Client("web", "web")


@pytest.fixture
def ref(codec: IdCodec) -> VerificationRef:
    return codec.new(fresh_phone(), 4)


async def _reserved(store: RedisStore, ref: VerificationRef, ask: RequestContext) -> Reserved:
    call = await store.start([ref], ask, None, None)
    assert isinstance(call, Reserved), call
    return call


async def test_an_address_gets_as_many_calls_as_its_limit_over_all_phones(store: RedisStore, codec: IdCodec) -> None:
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    answers = [await store.start([codec.new(fresh_phone(), 4)], ask, None, None) for _ in range(5)]
    assert [isinstance(answer, Reserved) for answer in answers] == [True, True, True, False, False]
    assert isinstance(answers[3], LimitReached)
    assert answers[3].limit is Limit.CALLS_PER_IP
    assert 3600 <= answers[3].retry_after <= 3900, "the window, and a slice at most"


async def test_a_hundred_calls_of_an_address_at_once_are_three(store: RedisStore, codec: IdCodec) -> None:
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    answers = await asyncio.gather(*(store.start([codec.new(fresh_phone(), 4)], ask, None, None) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 3


async def test_a_denial_counts_nowhere(server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef) -> None:
    ask = RequestContext(CLIENT, codec.address(ref.phone))
    await _reserved(store, ref, ask)
    for _ in range(5):
        assert isinstance(await store.start([codec.new(ref.phone, 4)], ask, None, None), CallInProgress)
    assert isinstance(await store.start([codec.new(fresh_phone(), 4)], ask, None, None), Reserved)


async def test_a_client_has_limits_of_its_own(store: RedisStore, codec: IdCodec) -> None:
    client = Client(f"c{fresh_phone()[1:]}", "web", parse_rates("2/minute, 3/day"))
    answers = [await store.start([codec.new(fresh_phone(), 4)], RequestContext(client), None, None) for _ in range(3)]
    assert [isinstance(answer, Reserved) for answer in answers] == [True, True, False]
    assert isinstance(answers[2], LimitReached)
    assert answers[2].limit is Limit.CALLS_PER_CLIENT
    assert isinstance(await store.start([codec.new(fresh_phone(), 4)], RequestContext(CLIENT), None, None), Reserved)


async def test_wrong_guesses_of_an_address_add_up_over_verifications(store: RedisStore, codec: IdCodec) -> None:
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    refs = [codec.new(fresh_phone(), 4) for _ in range(3)]
    for each in refs:
        await store.settle(
            each,
            RequestContext(CLIENT),
            await _reserved(store, each, RequestContext(CLIENT)),
            each.digest("0123"),
            None,
        )
    for each in (refs[0], refs[0], refs[1], refs[1]):
        assert isinstance(await store.check(each, ask, each.digest("9999")), CodeIncorrect)
    for code in ("0123", "9999"):
        denied = await store.check(refs[2], ask, refs[2].digest(code))
        assert isinstance(denied, LimitReached), (
            "the right code too: else each guess would still tell whether it was right"
        )
        assert denied.limit is Limit.WRONG_GUESSES_PER_IP
    elsewhere = RequestContext(CLIENT, codec.address(fresh_phone()))
    assert isinstance(await store.check(refs[2], elsewhere, refs[2].digest("0123")), Approval)


async def test_right_codes_count_nowhere(store: RedisStore, codec: IdCodec) -> None:
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    for _ in range(6):
        each = codec.new(fresh_phone(), 4)
        await store.settle(
            each,
            RequestContext(CLIENT),
            await _reserved(store, each, RequestContext(CLIENT)),
            each.digest("0123"),
            None,
        )
        assert isinstance(await store.check(each, ask, each.digest("0123")), Approval)


async def test_counts_slide_out_of_the_window(server: Any, store: RedisStore, codec: IdCodec) -> None:
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    key = f"ld:a:{ask.address}"
    for _ in range(3):
        await _reserved(store, codec.new(fresh_phone(), 4), ask)
    assert 3_600_000 < await server.pttl(key) <= 3_900_000
    for slices, closed in ((12, True), (13, False)):
        stored = await server.get(key)
        newest = int.from_bytes(stored[4:10], "big")
        older = stored[:4] + (newest - slices).to_bytes(6, "big") + stored[10:]
        await server.set(key, older, keepttl=True)
        answer = await store.start([codec.new(fresh_phone(), 4)], ask, None, None)
        assert isinstance(answer, LimitReached) == closed
        await server.set(key, stored, keepttl=True)


async def test_a_clock_that_is_set_back_opens_nothing(server: Any, store: RedisStore, codec: IdCodec) -> None:
    ask = RequestContext(CLIENT, codec.address(fresh_phone()))
    key = f"ld:a:{ask.address}"
    for _ in range(3):
        await _reserved(store, codec.new(fresh_phone(), 4), ask)
    stored = await server.get(key)
    ahead = stored[:4] + (int.from_bytes(stored[4:10], "big") + 50).to_bytes(6, "big") + stored[10:]
    await server.set(key, ahead, keepttl=True)
    assert isinstance(await store.start([codec.new(fresh_phone(), 4)], ask, None, None), LimitReached)


async def test_a_test_number_has_no_ladder_and_no_call_in_the_way(store: RedisStore, codec: IdCodec) -> None:
    phone = fresh_phone()
    ask = RequestContext(CLIENT)
    answers = [await store.start([codec.new(phone, 4, test=True)], ask, None, None) for _ in range(100)]
    assert all(isinstance(answer, Reserved) for answer in answers)
    over = await store.start([codec.new(phone, 4, test=True)], ask, None, None)
    assert isinstance(over, LimitReached)
    assert over.retry_after <= 60
    assert isinstance(await store.start([codec.new(phone, 4)], ask, None, None), Reserved), (
        "the phone itself is counted apart"
    )

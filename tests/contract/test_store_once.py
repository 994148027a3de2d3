"""Idempotency keys in every store: one request is carried out once, whatever becomes of whoever carries it out."""

import asyncio
from typing import Any

import pytest

from app.store.keys import keys_of, phone_key, request_key
from app.store.redis_store import RedisStore
from app.verification.call import Refusal
from app.verification.client import Client, IdempotentRequest
from app.verification.ids import IdCodec, IdempotencyRef, VerificationRef
from app.verification.model import (
    CallInProgress,
    CallRefused,
    CallUnknown,
    KeyInUse,
    KeyReused,
    Pending,
    Replayed,
    Verification,
)
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import POLICY, coalescer_of
from tests.harness import fresh_phone, make_older

CLIENT = Client("web", "web")


@pytest.fixture
def ref(codec: IdCodec) -> VerificationRef:
    return codec.new(fresh_phone(), 4)


def _receipt(
    codec: IdCodec, ref: VerificationRef, key: str, body: bytes = b"body", operation: str = "start"
) -> IdempotencyRef:
    return codec.idempotency(ref, CLIENT.id, operation, IdempotentRequest(f"{key} {ref.phone}", body))


def _ask(codec: IdCodec, ref: VerificationRef, key: str = "one", body: bytes = b"body") -> RequestContext:
    return RequestContext(CLIENT, None, _receipt(codec, ref, key, body))


async def _reserved(store: RedisStore, ref: VerificationRef, ask: RequestContext) -> Reserved:
    call = await store.start([ref], ask, "login", None)
    assert isinstance(call, Reserved), call
    return call


async def test_what_came_of_a_request_is_told_again_as_it_was(
    store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    call = await _reserved(store, ref, ask)
    first = await store.settle(ref, ask, call, ref.digest("0123"), None)
    assert isinstance(first, Verification)
    await store.check(ref, ask, ref.digest("9999"))
    again = await store.start([codec.new(ref.phone, 4)], ask, "login", None)
    assert again == Replayed(Pending(first)), "not a day older, whatever has happened since"


async def test_a_request_in_flight_is_told_so_and_one_with_another_body_is_refused(
    store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    await _reserved(store, ref, _ask(codec, ref))
    assert await store.start([codec.new(ref.phone, 4)], _ask(codec, ref), None, None) == KeyInUse(1)
    other = codec.new(fresh_phone(), 4)
    other_body = RequestContext(CLIENT, None, _receipt(codec, ref, "one", b"other"))
    assert await store.start([other], other_body, None, None) == KeyReused()
    other_route = RequestContext(CLIENT, None, _receipt(codec, ref, "one", operation="resend"))
    assert await store.resend(ref, other_route) == KeyReused()


async def test_a_hundred_sendings_at_once_reserve_one_call(
    store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    answers = await asyncio.gather(*(store.start([codec.new(ref.phone, 4)], ask, None, None) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 1
    assert sum(answer == KeyInUse(1) for answer in answers) == 99


async def test_a_request_whose_worker_died_is_never_carried_out_again(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    await _reserved(store, ref, ask)
    # As if the deadline had passed: the record in flight, the phone's mark, and the ladder.
    assert ask.idempotency
    await server.hincrby(request_key(ask.idempotency), "u", -31_000)
    await server.hincrby(phone_key(ref.tag), "f", -31_000)
    await make_older(server, ref, 31)
    told = await store.start([codec.new(ref.phone, 4)], ask, None, None)
    assert isinstance(told, Replayed)
    assert isinstance(told.first, CallUnknown)
    assert told.first.id == ref.id, "the verification that the call was for, not the one that was not begun"
    assert await store.start([codec.new(ref.phone, 4)], ask, None, None) == told
    assert isinstance(await store.start([codec.new(ref.phone, 4)], _ask(codec, ref, "two"), None, None), Reserved)


@pytest.mark.parametrize("refused", [True, False])
async def test_a_refusal_and_an_unknown_fate_are_told_again(
    store: RedisStore, codec: IdCodec, ref: VerificationRef, refused: bool
) -> None:
    ask = _ask(codec, ref)
    call = await _reserved(store, ref, ask)
    if refused:
        await store.release(ref, ask, call, Refusal.BALANCE)
    else:
        await store.keep(ref, ask, call)
    told = await store.start([codec.new(ref.phone, 4)], ask, None, None)
    expected = CallRefused(ref.id, Refusal.BALANCE, 60) if refused else CallUnknown(ref.id, 30)
    assert told == Replayed(expected)


async def test_a_denied_request_uses_nothing_of_its_key(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    await _reserved(store, ref, RequestContext(CLIENT))
    ask = _ask(codec, ref)
    assert isinstance(await store.start([codec.new(ref.phone, 4)], ask, None, None), CallInProgress)
    assert ask.idempotency
    assert not await server.exists(request_key(ask.idempotency))


async def test_a_resend_is_carried_out_once_too(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    await store.settle(ref, ask, await _reserved(store, ref, ask), ref.digest("0123"), None)
    await make_older(server, ref, 30)
    again = RequestContext(CLIENT, None, _receipt(codec, ref, "two", operation="resend"))
    call = await store.resend(ref, again)
    assert isinstance(call, Reserved)
    first = await store.settle(ref, again, call, ref.digest("4567"), None)
    assert isinstance(first, Verification)
    assert await store.resend(ref, again) == Replayed(Pending(first))
    assert first.calls == 2


async def test_a_record_lives_for_a_day_and_holds_nothing_readable(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    assert ask.idempotency
    await store.settle(ref, ask, await _reserved(store, ref, ask), ref.digest("0123"), None)
    key = request_key(ask.idempotency)
    assert 86_000_000 < await server.pttl(key) <= 86_400_000
    dump = b"".join(part for pair in (await server.hgetall(key)).items() for part in pair) + key.encode()
    for secret in (ref.phone[1:], ref.id[4:], f"one {ref.phone}", "body"):
        assert secret.encode() not in dump


async def test_a_report_of_a_request_that_the_server_forgot_creates_no_key(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    assert ask.idempotency
    call = await _reserved(store, ref, ask)
    await server.delete(*keys_of(ref), request_key(ask.idempotency))
    await store.settle(ref, ask, call, ref.digest("0123"), None)
    await store.keep(ref, ask, call)
    assert await server.exists(request_key(ask.idempotency)) == 0


async def test_a_key_outlives_a_rotation_of_the_pepper(server: Any, codec: IdCodec, ref: VerificationRef) -> None:
    store = RedisStore(coalescer_of(server), POLICY)
    ask = _ask(codec, ref)
    first = await store.settle(ref, ask, await _reserved(store, ref, ask), ref.digest("0123"), None)
    assert isinstance(first, Verification)
    rotating = IdCodec(b"the next pepper 0123456789 0123456789", b"pepper of the contract tests 0123456789")
    before = rotating.before(rotating.new(ref.phone, 4))
    assert before
    assert await store.recall(before, _receipt(rotating, before, "one")) == Replayed(Pending(first))
    assert await store.recall(before, _receipt(rotating, before, "another")) is None


async def test_an_outcome_that_comes_after_others_were_told_of_none_changes_nothing(
    server: Any, store: RedisStore, codec: IdCodec, ref: VerificationRef
) -> None:
    ask = _ask(codec, ref)
    call = await _reserved(store, ref, ask)
    assert ask.idempotency
    await server.hset(request_key(ask.idempotency), "u", 1)
    told = await store.start([codec.new(ref.phone, 4)], ask, "login", None)
    assert isinstance(told, Replayed)
    assert isinstance(told.first, CallUnknown)
    assert isinstance(await store.settle(ref, ask, call, ref.digest("0123"), None), Verification)
    assert await store.start([codec.new(ref.phone, 4)], ask, "login", None) == told

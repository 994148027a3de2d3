"""Idempotency keys in every store: one request is carried out once, whatever becomes of whoever carries it out."""

import asyncio
from typing import Any

import pytest

from app.store.keys import keys_of, phone_key, request_key
from app.store.redis import RedisStore
from app.verification.call import Refusal
from app.verification.client import Client, Once
from app.verification.keyring import Handle, Keyring, Receipt
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
from app.verification.ports import Ask, Reserved
from tests.contract.conftest import POLICY, coalescer_of
from tests.harness import fresh_phone, make_older

CLIENT = Client("web", "web")


@pytest.fixture
def handle(keyring: Keyring) -> Handle:
    return keyring.new(fresh_phone(), 4)


def _receipt(keyring: Keyring, handle: Handle, key: str, body: bytes = b"body", operation: str = "start") -> Receipt:
    return keyring.receipt(handle, CLIENT.id, operation, Once(f"{key} {handle.phone}", body))


def _ask(keyring: Keyring, handle: Handle, key: str = "one", body: bytes = b"body") -> Ask:
    return Ask(CLIENT, None, _receipt(keyring, handle, key, body))


async def _reserved(store: RedisStore, handle: Handle, ask: Ask) -> Reserved:
    call = await store.start([handle], ask, "login", None)
    assert isinstance(call, Reserved), call
    return call


async def test_what_came_of_a_request_is_told_again_as_it_was(
    store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    ask = _ask(keyring, handle)
    call = await _reserved(store, handle, ask)
    first = await store.settle(handle, ask, call, handle.digest("0123"), None)
    assert isinstance(first, Verification)
    await store.check(handle, ask, handle.digest("9999"))
    again = await store.start([keyring.new(handle.phone, 4)], ask, "login", None)
    assert again == Replayed(Pending(first)), "not a day older, whatever has happened since"


async def test_a_request_in_flight_is_told_so_and_one_with_another_body_is_refused(
    store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    await _reserved(store, handle, _ask(keyring, handle))
    assert await store.start([keyring.new(handle.phone, 4)], _ask(keyring, handle), None, None) == KeyInUse(1)
    other = keyring.new(fresh_phone(), 4)
    other_body = Ask(CLIENT, None, _receipt(keyring, handle, "one", b"other"))
    assert await store.start([other], other_body, None, None) == KeyReused()
    other_route = Ask(CLIENT, None, _receipt(keyring, handle, "one", operation="resend"))
    assert await store.resend(handle, other_route) == KeyReused()


async def test_a_hundred_sendings_at_once_reserve_one_call(store: RedisStore, keyring: Keyring, handle: Handle) -> None:
    ask = _ask(keyring, handle)
    answers = await asyncio.gather(*(store.start([keyring.new(handle.phone, 4)], ask, None, None) for _ in range(100)))
    assert sum(isinstance(answer, Reserved) for answer in answers) == 1
    assert sum(answer == KeyInUse(1) for answer in answers) == 99


async def test_a_request_whose_worker_died_is_never_carried_out_again(
    server: Any, store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    ask = _ask(keyring, handle)
    await _reserved(store, handle, ask)
    # As if the deadline had passed: the record in flight, the phone's mark, and the ladder.
    assert ask.receipt
    await server.hincrby(request_key(ask.receipt), "u", -31_000)
    await server.hincrby(phone_key(handle.tag), "f", -31_000)
    await make_older(server, handle, 31)
    told = await store.start([keyring.new(handle.phone, 4)], ask, None, None)
    assert isinstance(told, Replayed)
    assert isinstance(told.first, CallUnknown)
    assert told.first.id == handle.id, "the verification that the call was for, not the one that was not begun"
    assert await store.start([keyring.new(handle.phone, 4)], ask, None, None) == told
    assert isinstance(
        await store.start([keyring.new(handle.phone, 4)], _ask(keyring, handle, "two"), None, None), Reserved
    )


@pytest.mark.parametrize("refused", [True, False])
async def test_a_refusal_and_an_unknown_fate_are_told_again(
    store: RedisStore, keyring: Keyring, handle: Handle, refused: bool
) -> None:
    ask = _ask(keyring, handle)
    call = await _reserved(store, handle, ask)
    if refused:
        await store.release(handle, ask, call, Refusal.BALANCE)
    else:
        await store.keep(handle, ask, call)
    told = await store.start([keyring.new(handle.phone, 4)], ask, None, None)
    expected = CallRefused(handle.id, Refusal.BALANCE, 60) if refused else CallUnknown(handle.id, 30)
    assert told == Replayed(expected)


async def test_a_denied_request_uses_nothing_of_its_key(
    server: Any, store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    await _reserved(store, handle, Ask(CLIENT))
    ask = _ask(keyring, handle)
    assert isinstance(await store.start([keyring.new(handle.phone, 4)], ask, None, None), CallInProgress)
    assert ask.receipt
    assert not await server.exists(request_key(ask.receipt))


async def test_a_resend_is_carried_out_once_too(
    server: Any, store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    ask = _ask(keyring, handle)
    await store.settle(handle, ask, await _reserved(store, handle, ask), handle.digest("0123"), None)
    await make_older(server, handle, 30)
    again = Ask(CLIENT, None, _receipt(keyring, handle, "two", operation="resend"))
    call = await store.resend(handle, again)
    assert isinstance(call, Reserved)
    first = await store.settle(handle, again, call, handle.digest("4567"), None)
    assert isinstance(first, Verification)
    assert await store.resend(handle, again) == Replayed(Pending(first))
    assert first.calls == 2


async def test_a_record_lives_for_a_day_and_holds_nothing_readable(
    server: Any, store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    ask = _ask(keyring, handle)
    assert ask.receipt
    await store.settle(handle, ask, await _reserved(store, handle, ask), handle.digest("0123"), None)
    key = request_key(ask.receipt)
    assert 86_000_000 < await server.pttl(key) <= 86_400_000
    dump = b"".join(part for pair in (await server.hgetall(key)).items() for part in pair) + key.encode()
    for secret in (handle.phone[1:], handle.id[4:], f"one {handle.phone}", "body"):
        assert secret.encode() not in dump


async def test_a_report_of_a_request_that_the_server_forgot_creates_no_key(
    server: Any, store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    ask = _ask(keyring, handle)
    assert ask.receipt
    call = await _reserved(store, handle, ask)
    await server.delete(*keys_of(handle), request_key(ask.receipt))
    await store.settle(handle, ask, call, handle.digest("0123"), None)
    await store.keep(handle, ask, call)
    assert await server.exists(request_key(ask.receipt)) == 0


async def test_a_key_outlives_a_rotation_of_the_pepper(server: Any, keyring: Keyring, handle: Handle) -> None:
    store = RedisStore(coalescer_of(server), POLICY)
    ask = _ask(keyring, handle)
    first = await store.settle(handle, ask, await _reserved(store, handle, ask), handle.digest("0123"), None)
    assert isinstance(first, Verification)
    rotating = Keyring(b"the next pepper 0123456789 0123456789", b"pepper of the contract tests 0123456789")
    before = rotating.before(rotating.new(handle.phone, 4))
    assert before
    assert await store.recall(before, _receipt(rotating, before, "one")) == Replayed(Pending(first))
    assert await store.recall(before, _receipt(rotating, before, "another")) is None


async def test_an_outcome_that_comes_after_others_were_told_of_none_changes_nothing(
    server: Any, store: RedisStore, keyring: Keyring, handle: Handle
) -> None:
    ask = _ask(keyring, handle)
    call = await _reserved(store, handle, ask)
    assert ask.receipt
    await server.hset(request_key(ask.receipt), "u", 1)
    told = await store.start([keyring.new(handle.phone, 4)], ask, "login", None)
    assert isinstance(told, Replayed)
    assert isinstance(told.first, CallUnknown)
    assert isinstance(await store.settle(handle, ask, call, handle.digest("0123"), None), Verification)
    assert await store.start([keyring.new(handle.phone, 4)], ask, "login", None) == told

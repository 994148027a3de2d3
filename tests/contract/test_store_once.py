"""Idempotency keys in every store: one request is executed once, whatever becomes of who executes it."""

from dataclasses import replace

import pytest

from app.verification import model
from app.verification.client import IdempotentRequest
from app.verification.model import CallUnknown, KeyInUse, KeyReused, Pending, Refusal, Replayed
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, World
from tests.harness import fresh_phone


def once(world: World, key: str = "one", body: bytes = b"body", operation: str = "start") -> RequestContext:
    """A request with an idempotency key."""
    idempotency = world.codec.idempotency(BACKEND.client.id, operation, IdempotentRequest(key, body))
    return RequestContext(BACKEND.client, idempotency=idempotency)


async def test_what_came_of_a_request_is_returned_again_as_it_was(world: World) -> None:
    context = once(world)
    ref, call = await world.reserve(context=context, purpose="login")
    first = await world.settle(ref, call, context)
    await world.wrong(ref)
    again = await world.reserved(ref.phone, once(world))
    assert again == Replayed(Pending(first)), "not a day older, whatever has happened since"
    await world.travel(86_000)
    assert await world.reserved(ref.phone, once(world)) == again
    await world.travel(500)
    assert isinstance(await world.reserved(ref.phone, once(world)), Reserved), "after a day it is forgotten"


async def test_a_request_in_progress_is_said_to_be_and_one_with_another_body_is_refused(world: World) -> None:
    ref, _ = await world.reserve(context=once(world))
    assert await world.reserved(ref.phone, once(world)) == KeyInUse(1)
    assert await world.reserved(fresh_phone(), once(world, body=b"other")) == KeyReused()
    assert await world.store.reserve_resend(ref, once(world, operation="resend")) == KeyReused()


async def test_a_request_whose_worker_died_is_never_executed_again(world: World) -> None:
    context = once(world)
    ref, call = await world.reserve(context=context)
    await world.travel(29)
    assert await world.reserved(ref.phone, once(world)) == KeyInUse(1)
    await world.travel(1)
    replayed = await world.reserved(ref.phone, once(world))
    assert isinstance(replayed, Replayed)
    assert isinstance(replayed.first, CallUnknown)
    assert replayed.first.id == ref.id, "the verification that the call was for, not the one that was not begun"
    await world.store.settle(ref, context, call, ref.digest("0123"), None)
    assert await world.reserved(ref.phone, once(world)) == replayed
    await world.travel(30)
    assert isinstance(await world.reserved(ref.phone, once(world, "two")), Reserved)


@pytest.mark.parametrize("refusal", [Refusal.BALANCE, None], ids=["refused", "unknown"])
async def test_a_refusal_and_an_unknown_outcome_are_returned_again(world: World, refusal: Refusal | None) -> None:
    context = once(world)
    ref, call = await world.reserve(context=context)
    await world.end(ref, call, refusal, context)
    expected = model.CallRefused(ref.id, refusal, 60) if refusal else CallUnknown(ref.id, 30)
    assert await world.reserved(ref.phone, once(world)) == Replayed(expected)


async def test_a_start_whose_record_is_lost_is_returned_again_as_unknown(world: World) -> None:
    """As it was answered: its code came too late, or the server lost what it is for."""
    context = once(world)
    ref, call = await world.reserve(context=context)
    await world.server.delete(world.names.verification(ref)["verification"])
    assert await world.store.settle(ref, context, call, ref.digest("0123"), None) == model.NotFound()
    await world.end(ref, call, None, context)
    assert await world.reserved(ref.phone, once(world)) == Replayed(CallUnknown(ref.id, 30))


async def test_a_request_that_was_seen_is_found_again_where_no_call_can_be_placed(world: World) -> None:
    phone, context = fresh_phone(), once(world)
    recall = world.store.recall
    assert await recall(world.codec.new(phone), context) is None
    assert await world.keys() == {}, "it reserves nothing"
    ref, call = await world.reserve(phone, context)
    assert await recall(ref, once(world)) == KeyInUse(1)
    pending = await world.settle(ref, call, context)
    assert await recall(ref, once(world)) == Replayed(Pending(pending))
    assert await recall(ref, once(world, body=b"another")) == KeyReused()
    lapsed, _ = await world.reserve(context=once(world, "two"))
    await world.travel(31)
    assert await recall(world.codec.new(lapsed.phone), once(world, "two")) == Replayed(CallUnknown(lapsed.id, 1))


async def test_a_denied_request_uses_nothing_of_its_key(world: World) -> None:
    ref, _ = await world.reserve()
    assert isinstance(await world.reserved(ref.phone, once(world)), model.CallInProgress)
    assert not [key for key in await world.keys() if "request:" in key]


async def test_a_resend_is_executed_once_too(world: World) -> None:
    ref = await world.place(context=once(world))
    await world.travel(30)
    again = once(world, "two", operation="resend")
    first = await world.resend(ref, again)
    assert await world.store.reserve_resend(ref, again) == Replayed(Pending(first))


async def test_an_outcome_that_comes_after_the_request_was_answered_as_unknown_changes_nothing(world: World) -> None:
    ref, context = await world.place(), once(world, operation="resend")
    await world.travel(30)
    call = await world.reserve_resend(ref, context)
    await world.travel(30)
    unknown = Replayed(CallUnknown(ref.id, 30))
    assert await world.store.reserve_resend(ref, context) == unknown
    await world.settle(ref, call, context)
    assert await world.store.reserve_resend(ref, context) == unknown


async def test_a_report_that_was_lost_by_another_sending_of_the_request_changes_nothing(world: World) -> None:
    """The same request came to two workers. One places the call, the other never reached the store: it has nothing to give back."""
    world.rule(timeout=0.5)
    context = once(world)
    ref, call = await world.reserve(context=context)
    await world.store.cancel_reservation(world.codec.new(ref.phone), once(world), None, Refusal.UNREACHABLE)
    first = await world.settle(ref, call, context)
    assert await world.reserved(ref.phone, once(world)) == Replayed(Pending(first))


@pytest.mark.parametrize("keys", [True, False])
async def test_a_resend_that_never_reached_the_store_gives_back_nothing_of_anothers(
    world: World, *, keys: bool
) -> None:
    world.rule(timeout=0.5)
    ref = await world.place()
    await world.travel(30)
    one, other = [once(world, "two", operation="resend") if keys else replace(BACKEND, nonce=n) for n in ("1", "2")]
    call = await world.reserve_resend(ref, one)
    await world.store.cancel_reservation(ref, other, None, Refusal.UNREACHABLE)
    assert isinstance(await world.reserved(ref.phone), model.CallInProgress)
    await world.settle(ref, call, one, code="4567")
    assert isinstance(await world.check(ref, "4567"), model.Approval)
    assert await world.counted("money", "3600") == {"trusted": 7000}


async def test_a_request_whose_reservation_was_lost_may_be_sent_again(world: World) -> None:
    """Its caller was answered that nothing was done."""
    world.rule(timeout=0.5)
    context = once(world)
    ref, _ = await world.reserve(context=context)
    for _ in range(2):
        await world.store.cancel_reservation(ref, context, None, Refusal.UNREACHABLE)
    assert isinstance(await world.reserved(ref.phone, once(world)), Reserved)
    assert await world.counted("money", "3600") == {"trusted": 3500}

"""An answer of "unavailable" is true, in every store: nothing was done, and nothing will be done later. What a server loses opens nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from app.provider.admission import Admission
from app.store.connection import connect
from app.store.health import examine
from app.store.redis_store import RedisStore
from app.verification.challenge import When
from app.verification.client import Caller, IdempotentRequest
from app.verification.entropy import EntropyMonitor
from app.verification.errors import StoreUnavailable
from app.verification.model import CallInProgress, CallUnknown, CodeIncorrect, LimitReached, NotFound, Pending, Refusal
from app.verification.ports import CallOutcome, Placed, Reserved
from app.verification.service import Start, VerificationService
from tests.contract.conftest import BACKEND, World, deployed, stranger
from tests.contract.proxy import Proxy
from tests.harness import fresh_phone


async def test_what_begins_after_its_callers_time_does_nothing(world: World) -> None:
    context = stranger()
    ref, call = await world.reserve(context=context)
    placed = await world.place(context=context)
    approved = await world.place()
    await world.right(approved)
    before, late = await world.contents(), world.rule(timeout=-1)
    for step in (
        late.reserve(world.codec.new(fresh_phone()), context, 4, "login"),
        late.reserve_resend(placed, context),
        late.settle(ref, context, call, ref.digest("0123"), 9000),
        late.cancel_reservation(ref, context, call, Refusal.OTHER),
        late.commit_unknown(ref, context, call),
        late.check(placed, context.client, "9999"),
        late.check(placed, context.client, "0123"),
        late.cancel(placed, context.client),
        late.redeem(approved, 2**45),
        late.sample({4: b"abcd"}),
        late.read(placed, context.client),
        late.status(),
    ):
        with pytest.raises(StoreUnavailable, match="too late") as failed:
            await step
        assert not failed.value.sent, "there is nothing to give back"
    assert await world.contents() == before


@pytest.mark.parametrize("seconds", [100, -100])
async def test_a_worker_whose_idea_of_the_clock_is_wrong_corrects_it_and_sends_once_more(
    world: World, seconds: float
) -> None:
    ref = await world.place()
    await world.travel(seconds)
    assert await world.wrong(ref) == CodeIncorrect(2), "one attempt is spent"
    await world.travel(seconds)
    await world.approve(ref)
    await world.travel(1000 * seconds)
    await world.place()


# ---- a server that loses records, is full, or is a replica


async def test_reports_of_forgotten_calls_create_no_key(world: World) -> None:
    world.rule(timeout=0.5)
    context = stranger(idempotency=world.codec.idempotency("web", "start", IdempotentRequest("one", b"body")))
    ref, call = await world.reserve(context=context)
    await world.server.delete(*await world.keys())
    for refusal in (Refusal.OTHER, None):
        await world.end(ref, call, refusal, context)
    await world.store.cancel_reservation(ref, context, None, Refusal.OTHER)
    await world.store.settle(ref, context, call, ref.digest("0123"), 9000)
    await world.wrong(ref, context)
    await world.store.cancel(ref, context.client)
    assert await world.keys() == {}


async def test_a_check_of_a_phone_whose_record_is_gone_leaves_none_that_stays(world: World) -> None:
    for digits in ("9999", "0123"):
        ref = await world.place(context=stranger())
        await world.server.delete(*(key for key in await world.keys() if "verification" not in key))
        await world.check(ref, digits, stranger())
        assert all(left > 0 for left in (await world.keys()).values())


async def test_a_crash_between_reserving_and_settling_blocks_no_longer_than_its_deadline(world: World) -> None:
    ref, _ = await world.reserve()
    await world.travel(29)
    assert await world.reserved(ref.phone) == CallInProgress(1)
    await world.travel(1)
    assert await world.status(ref) == NotFound()
    await world.place(ref.phone)


async def test_a_full_server_reserves_nothing_and_ends_what_was_reserved(world: World) -> None:
    """The phone rings already, and a person waits: what was reserved has its memory."""
    ref, call = await world.reserve()
    refused, refused_call = await world.reserve()
    before = await world.keys()
    async with world.full():
        with pytest.raises(StoreUnavailable, match="OutOfMemory"):
            await world.reserve()
        assert (await world.keys()).keys() == before.keys()
        await world.settle(ref, call)
        assert await world.check(ref, "9999") == CodeIncorrect(2)
        await world.approve(ref)
        assert await world.end(refused, refused_call, Refusal.OTHER) == 0
    await world.place(refused.phone)


async def test_a_key_of_another_type_under_our_names_leaves_no_half_of_a_reservation(world: World) -> None:
    await world.server.set(world.names.key("lane"), "another program's", px=60_000)
    before = await world.contents()
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await world.reserve(context=stranger())
    assert await world.contents() == before


async def test_a_store_that_is_not_safe_is_sent_no_reservation(world: World) -> None:
    pipelines: Any = None
    watch: Any = SimpleNamespace(unsafe="it evicts")
    store = RedisStore(pipelines, watch, world.codec, world.policy, world.prefix, 5)
    with pytest.raises(StoreUnavailable, match="it evicts") as failed:
        await store.reserve(world.codec.new(fresh_phone()), BACKEND, 4, None)
    assert not failed.value.sent


async def test_a_read_only_replica_is_found_and_decides_nothing(world: World) -> None:
    ref = await world.place()
    await world.server.replicaof("127.0.0.1", 1)
    try:
        assert not (await examine(world.server, world.prefix)).ready
        with pytest.raises(StoreUnavailable):
            await world.check(ref, "0123")
    finally:
        await world.server.replicaof("NO", "ONE")
    await world.approve(ref)


# ---- replies that are lost


class Telephone:
    """A provider that takes every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def place(self, phone: str, code_length: int) -> CallOutcome:
        self.calls.append(phone)
        return Placed("0123456"[:code_length], None, None)


@pytest.fixture
async def lossy(
    url: str, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[World, Proxy]]:
    """A deployment behind a relay; its test looks at the server itself."""
    proxy = Proxy()
    async with (
        proxy.between(url, tmp_path / "relay") as address,
        connect(address, 0.5) as client,
        deployed(client, monkeypatch) as world,
    ):
        world.rule(timeout=0.5)
        world.server = server
        yield world, proxy


def service_of(world: World, telephone: Telephone, room: int = 100) -> VerificationService:
    """The service over a deployment, with room for so many calls at once; without the parts that a start needs no more."""
    entropy = EntropyMonitor(world.store, world.codec, world.policy.guesses, lambda _: None)
    parts: Any = None
    provider = Admission(telephone, room, 1, (0, 1), lambda _: None)
    return VerificationService(world.store, provider, world.codec, world.policy, parts, entropy, parts, lambda _: None)


def caller_of(key: str | None = None) -> Caller:
    return Caller(BACKEND.client, None, IdempotentRequest(key, b"body") if key else None)


async def test_a_start_whose_reply_was_lost_gives_all_back_and_its_key_works_again(lossy: tuple[World, Proxy]) -> None:
    world, proxy = lossy
    telephone, phone = Telephone(), fresh_phone()
    service = service_of(world, telephone)
    await world.place()
    before = await world.contents()
    proxy.lose = b'"code_length":4'
    with pytest.raises(StoreUnavailable):
        await service.start(caller_of("one"), Start(phone))
    assert proxy.lost == 1
    assert len(await world.contents()) > len(before), "it was reserved"
    await service.close(5)
    assert telephone.calls == []
    assert (await world.counted("money", "3600"), await world.counted("lane")) == (
        {"trusted": 3500},
        {"trusted_placed": 1},
    )
    assert isinstance(await service.start(caller_of("one"), Start(phone)), Pending)
    assert telephone.calls == [phone]


async def test_a_start_that_is_denied_takes_no_room_from_the_next(world: World) -> None:
    service, phone = service_of(world, Telephone(), room=1), fresh_phone()
    outcomes = [await service.start(caller_of(), Start(each)) for each in (phone, phone, fresh_phone())]
    assert [type(outcome) for outcome in outcomes] == [Pending, LimitReached, Pending]


async def test_a_call_whose_record_the_server_loses_meanwhile_is_unknown(world: World) -> None:
    class Meanwhile(Telephone):
        async def place(self, phone: str, code_length: int) -> CallOutcome:
            await world.server.delete(*(key for key in await world.keys() if ":verification:" in key))
            return await super().place(phone, code_length)

    assert isinstance(await service_of(world, Meanwhile()).start(caller_of(), Start(fresh_phone())), CallUnknown)


async def test_the_trusted_lane_asks_no_challenge_service(world: World) -> None:
    world.rule(challenge=When.AUTO)  # the service below has none
    assert isinstance(
        await service_of(world, Telephone()).start(caller_of(), Start(fresh_phone(), solution="x")), Pending
    )


@pytest.mark.parametrize("sent", [True, False])
async def test_what_was_never_sent_is_not_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch, *, sent: bool
) -> None:
    service, given_back = service_of(world, Telephone()), AsyncMock()
    monkeypatch.setattr(world.store, "reserve", AsyncMock(side_effect=StoreUnavailable("down", sent=sent)))
    monkeypatch.setattr(world.store, "cancel_reservation", given_back)
    with pytest.raises(StoreUnavailable):
        await service.start(caller_of(), Start(fresh_phone()))
    await service.close(5)
    assert given_back.await_count == sent


async def test_a_resend_whose_reply_was_lost_gives_its_call_back(lossy: tuple[World, Proxy]) -> None:
    world, proxy = lossy
    telephone = Telephone()
    service = service_of(world, telephone)
    started = await service.start(caller_of(), Start(fresh_phone()))
    assert isinstance(started, Pending)
    await world.travel(30)
    proxy.lose = b'"seed"'
    with pytest.raises(StoreUnavailable):
        await service.resend(caller_of(), started.verification.id)
    await service.close(5)
    resent = await service.resend(caller_of(), started.verification.id)
    assert isinstance(resent, Pending)
    assert (resent.verification.calls, len(telephone.calls)) == (2, 2)
    assert await world.counted("money", "3600") == {"trusted": 7000}


async def test_a_start_that_its_caller_cancels_is_called_or_gives_all_back(world: World) -> None:
    world.rule(timeout=0.5)
    telephone = Telephone()
    service = service_of(world, telephone)
    await world.status(await world.place())
    for turns in range(60):  # before it is sent, while it is under way, when it was answered
        starting = asyncio.ensure_future(service.start(caller_of(), Start(fresh_phone())))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
    await service.close(5)
    assert await world.counted("money", "3600") == {"trusted": 3500 * (1 + len(telephone.calls))}
    assert await world.counted("lane") == {"trusted_placed": 1 + len(telephone.calls)}


async def test_a_reservation_that_is_still_on_its_way_is_given_back_too(world: World) -> None:
    """Its connection ended, so its caller gave up early; the server executes it all the same, until its time is over."""
    store = world.rule(timeout=0.5)
    ref = world.codec.new(fresh_phone())
    giving_back = asyncio.ensure_future(store.cancel_reservation(ref, BACKEND, None, Refusal.UNREACHABLE))
    await asyncio.sleep(0.1)
    assert isinstance(await store.reserve(ref, BACKEND, 4, None), Reserved)
    await giving_back
    assert isinstance(await world.reserved(ref.phone), Reserved)

"""A server that loses records or scripts, is full, evicts or is a replica: in every store nothing opens, and nothing stays."""

import asyncio

import pytest

from app.store.health import examine
from app.verification.errors import StoreUnavailable
from app.verification.model import (
    Approval,
    CallInProgress,
    CodeIncorrect,
    NotFound,
    Refusal,
)
from tests.contract.conftest import BACKEND, World, stranger


async def test_reports_of_forgotten_calls_create_no_key(world: World) -> None:
    world.rule(timeout=0.5)
    context = stranger()
    ref, call = await world.reserve(context=context)
    await world.server.delete(*await world.keys())
    await world.store.cancel_reservation(ref, context, call, Refusal.OTHER)
    await world.store.cancel_reservation(ref, context, None, Refusal.OTHER)
    await world.store.commit_unknown(ref, context, call)
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


async def test_a_server_that_lost_its_scripts_gets_them_again(world: World) -> None:
    refs = [await world.place() for _ in range(20)]
    await world.server.script_flush()
    answers = await asyncio.gather(*(world.right(ref) for ref in refs))
    assert all(isinstance(answer, Approval) for answer in answers)


async def test_a_full_server_reserves_nothing_and_ends_what_was_reserved(world: World) -> None:
    """The phone rings already, and a person waits: what was reserved has its memory."""
    ref, call = await world.reserve()
    refused, refused_call = await world.reserve()
    before = await world.keys()
    try:
        await world.server.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="OutOfMemory"):
            await world.reserve()
        assert (await world.keys()).keys() == before.keys()
        await world.settle(ref, call)
        assert await world.check(ref, "9999") == CodeIncorrect(2)
        assert isinstance(await world.check(ref, "0123"), Approval)
        assert await world.store.cancel_reservation(refused, BACKEND, refused_call, Refusal.OTHER) == 0
    finally:
        await world.server.config_set("maxmemory", "0")
    await world.place(refused.phone)


async def test_an_eviction_policy_that_drops_counters_is_found_and_no_call_placed(world: World) -> None:
    assert (await examine(world.server, world.prefix)).ready
    await world.server.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "noeviction" in (await examine(world.server, world.prefix)).problems[0]
        await world.store._watch()
        with pytest.raises(StoreUnavailable, match="noeviction"):
            await world.reserve()
    finally:
        await world.server.config_set("maxmemory-policy", "noeviction")


async def test_a_read_only_replica_is_found_and_decides_nothing(world: World) -> None:
    ref = await world.place()
    await world.server.replicaof("127.0.0.1", 1)
    try:
        assert not (await examine(world.server, world.prefix)).ready
        with pytest.raises(StoreUnavailable):
            await world.check(ref, "0123")
    finally:
        await world.server.replicaof("NO", "ONE")
    assert isinstance(await world.right(ref), Approval)

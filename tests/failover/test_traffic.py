"""Servers that fail, hang and move our slot while commands are sent: none is executed twice, and the next ones are answered again."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from app.store.connection import connect
from app.store.pipelines import Pipelines, Replication
from app.verification.errors import StoreUnavailable
from app.verification.model import Approval
from tests.contract.conftest import World, stranger
from tests.contract.proxy import Proxy
from tests.failover.topologies import SLOT, SLOTS, Cluster, Group, Sentinel, Sentinels, until
from tests.failover.traffic import NONE, traffic
from tests.harness import PREFIX
from tests.server import Server, ask, free_port

WAYS: list[Callable[[Server], None]] = [Server.stop, Server.freeze]


@pytest.mark.parametrize("fail", WAYS, ids=["killed", "hangs"])
@pytest.mark.parametrize("fail_sentinel", WAYS, ids=["sentinel_killed", "sentinel_hangs"])
async def test_sentinels_a_primary_and_the_sentinel_that_is_asked_first_fail_together(
    sentinels: Sentinels, fail: Callable[[Server], None], fail_sentinel: Callable[[Server], None]
) -> None:
    async with traffic(sentinels.url) as commands:
        fail_sentinel(sentinels.sentinels[0])
        await asyncio.to_thread(sentinels.lose_primary, fail)
        await commands.audit()


async def test_sentinels_a_primary_that_hung_is_left_for_the_one_that_took_over_and_is_not_gone_back_to(
    sentinels: Sentinels,
) -> None:
    async with traffic(sentinels.url) as commands:
        before = await asyncio.to_thread(sentinels.lose_primary, Server.freeze)
        await commands.more()
        before.thaw()
        await asyncio.to_thread(until, lambda: sentinels.info(before)["role"] == "slave", "it follows")
        await commands.audit()


@pytest.mark.parametrize("fail", WAYS, ids=["killed", "hangs"])
async def test_cluster_the_node_of_our_slot_fails(cluster: Cluster, fail: Callable[[Server], None]) -> None:
    async with traffic(cluster.url) as commands:
        await asyncio.to_thread(cluster.lose_primary, fail)
        await commands.audit()


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_planned_failover(group: Group, acknowledged: bool) -> None:
    """What a former primary takes until the sentinels demote it, seconds later, is lost, unless replicas acknowledge. One may still follow it, all can't."""
    replication = Replication(len(group.replicas), 0.3) if acknowledged else NONE
    async with traffic(group.url, replication) as commands:
        await asyncio.to_thread(group.fail_over)
        await commands.audit()


async def test_sentinels_no_command_is_repeated_whose_reply_was_lost(tmp_path: Path) -> None:
    relay, server, proxy = free_port(), Server(tmp_path / "server"), Proxy()
    sentinel = Sentinel([f"sentinel monitor main 127.0.0.1 {relay} 1"], tmp_path / "sentinel")
    try:
        async with (
            proxy.between(server.url, relay),
            connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/main", 0.5) as client,
            aclosing(Pipelines(client, 0.5)) as pipelines,
        ):
            assert await ask(pipelines, "PING")
            for number in range(1, 4):
                proxy.lose = b"INCR"
                with pytest.raises(StoreUnavailable):
                    await ask(pipelines, "INCR", "lost")
                assert proxy.lost == number
                assert int(await ask(pipelines, "GET", "lost")) == number
    finally:
        sentinel.stop()
        server.stop()


async def test_cluster_our_slot_moves_under_traffic(cluster: Cluster) -> None:
    """By hand, key by key, as `redis-cli --cluster reshard` does: `ASK` and `TRYAGAIN` meanwhile, `MOVED` after that."""
    async with traffic(cluster.url) as commands:
        source = cluster.primary
        moved = await asyncio.to_thread(cluster.move_slot)
        await commands.audit()
        assert moved > 0
        assert cluster.primary is not source
        assert not cluster.ask(source, "CLUSTER", "COUNTKEYSINSLOT", SLOT)


async def test_cluster_a_node_that_does_not_have_our_slot_is_gone_unnoticed(cluster: Cluster) -> None:
    """Without `cluster-require-full-coverage` the rest serves on."""
    for node in cluster.nodes:
        cluster.ask(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    ours, (other, *_) = cluster.primary, cluster.others()
    async with traffic(cluster.url) as commands:
        for node in (*cluster.replicas_of(other), other):
            node.stop()
        await commands.more()
        await asyncio.to_thread(
            until, lambda: int(cluster.state(ours)["cluster_slots_ok"]) < SLOTS, "its slots are served by no one"
        )
        await commands.audit()


async def test_cluster_an_approval_is_whole_though_the_counters_of_its_address_have_moved_already(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named by the record alone, so the server can't tell beforehand that they are elsewhere. They count the call on: that is stricter."""
    async with connect(cluster.url, 2.0) as client, aclosing(Pipelines(client, 2.0)) as pipelines:
        world = World(client, monkeypatch, pipelines)
        world.prefix = PREFIX
        world.rule(timeout=2.0)
        context = stranger()
        ref = await world.place(context=context)
        await world.wrong(ref, context)
        for name, key in (world.names.verification(ref) | world.names.destination(ref)).items():
            if not await client.exists(key):  # with all of its keys here, the script is executed and not redirected
                await (client.zadd(key, {"public:x": 1}) if name == "suspended" else client.hset(key, "made", "1"))
                await client.pexpire(key, 60_000)
        source, (target, *_) = cluster.primary, cluster.others()
        cluster.open_slot(source, target)
        for counters in (f"{PREFIX}address:*", f"{PREFIX}network:*"):
            cluster.move_keys(source, target, cluster.ask(source, "KEYS", counters))
        assert isinstance(await world.right(ref, context), Approval)
        held = cluster.ask(source, "HGETALL", world.names.verification(ref)["phone"])
        assert "step" not in str(held), "what comes behind in the script happened too"

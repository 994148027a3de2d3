"""Servers that fail, hang and move our slot while commands are sent: none is executed twice, and the next ones are answered again."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from app.store.connection import connect
from app.store.pipelines import Pipelines
from app.verification.errors import StoreUnavailable
from tests.contract.proxy import Proxy
from tests.failover.topologies import SLOT, Cluster, Sentinels, until
from tests.failover.traffic import Traffic, traffic
from tests.server import Server, free_port


async def executed_at_most_once(traffic: Traffic) -> None:
    traffic.stopped = True
    counts = Counter((await traffic.counts()).values())
    assert set(counts) <= {0, 1}, counts
    assert counts[1] >= 10, "few were executed: this shows nothing"


WAYS: list[Callable[[Server], None]] = [Server.stop, Server.freeze]


@pytest.mark.parametrize("fail", WAYS, ids=["killed", "hangs"])
@pytest.mark.parametrize("fail_sentinel", WAYS, ids=["sentinel_killed", "sentinel_hangs"])
async def test_sentinels_a_primary_and_the_sentinel_that_is_asked_first_fail_together(
    sentinels: Sentinels, fail: Callable[[Server], None], fail_sentinel: Callable[[Server], None]
) -> None:
    async with traffic(sentinels.url) as commands:
        before = sentinels.primary
        fail_sentinel(sentinels.sentinels[0])
        fail(before)
        await asyncio.to_thread(until, lambda: sentinels.primary is not before, "another primary")
        await commands.more()
        await executed_at_most_once(commands)


async def test_sentinels_a_primary_that_hung_is_left_for_the_one_that_took_over_and_is_not_gone_back_to(
    sentinels: Sentinels,
) -> None:
    async with traffic(sentinels.url) as commands:
        before = sentinels.primary
        before.freeze()
        await asyncio.to_thread(until, lambda: sentinels.primary is not before, "another primary")
        await commands.more()
        before.thaw()
        await asyncio.to_thread(until, lambda: sentinels.info(before)["role"] == "slave", "it follows")
        await commands.more()
        await executed_at_most_once(commands)


async def test_sentinels_a_planned_failover_leaves_no_connection_to_the_former_primary(sentinels: Sentinels) -> None:
    """What it takes until the sentinels demote it, seconds later, is lost: docs/reliability.md says what closes that."""
    async with traffic(sentinels.url) as commands:
        before = sentinels.primary
        sentinels.ask(sentinels.sentinels[1], "SENTINEL", "FAILOVER", "main")
        await asyncio.to_thread(until, lambda: sentinels.info(before)["role"] == "slave", "it follows")
        await commands.more()
        await executed_at_most_once(commands)


async def test_sentinels_no_command_is_repeated_whose_reply_was_lost(tmp_path: Path) -> None:
    relay, server = free_port(), Server(tmp_path / "server")
    sentinel = Sentinels.watching(tmp_path / "sentinel", relay)
    proxy = Proxy()
    try:
        async with (
            proxy.between(server.url, relay),
            connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/main", 0.5) as client,
        ):
            pipelines = Pipelines(client, 0.5)
            assert await pipelines.run("PING")
            for number in range(1, 4):
                proxy.lose = b"INCR"
                with pytest.raises(StoreUnavailable):
                    await pipelines.run("INCR", "lost")
                assert proxy.lost == number
                assert int(await pipelines.run("GET", "lost")) == number
            await pipelines.aclose()
    finally:
        sentinel.stop()
        server.stop()


@pytest.mark.parametrize("fail", WAYS, ids=["killed", "hangs"])
async def test_cluster_the_node_of_our_slot_fails(cluster: Cluster, fail: Callable[[Server], None]) -> None:
    async with traffic(cluster.url) as commands:
        before = cluster.owner()
        fail(before)
        await asyncio.to_thread(until, lambda: cluster.owner() is not before, "another owner")
        await commands.more()
        await executed_at_most_once(commands)


async def test_cluster_a_planned_failover_under_traffic(cluster: Cluster) -> None:
    async with traffic(cluster.url) as commands:
        before = cluster.owner()
        cluster.ask(cluster.replica_of(before), "CLUSTER", "FAILOVER")
        await asyncio.to_thread(until, lambda: cluster.owner() is not before, "another owner")
        await commands.more()
        await executed_at_most_once(commands)


async def test_cluster_our_slot_moves_under_traffic(cluster: Cluster) -> None:
    """By hand, key by key, as `redis-cli --cluster reshard` does: `ASK` and `TRYAGAIN` meanwhile, `MOVED` after that."""
    async with traffic(cluster.url) as commands:
        source, (target, *_) = cluster.owner(), cluster.others()
        moved = await asyncio.to_thread(cluster.move_slot, source, target)
        await commands.more()
        assert moved > 0
        assert cluster.owner() is target
        await executed_at_most_once(commands)
        assert not cluster.ask(source, "CLUSTER", "COUNTKEYSINSLOT", str(SLOT))
        assert len(await commands.counts()) == commands.sent


async def test_cluster_a_node_that_does_not_have_our_slot_is_gone_unnoticed(cluster: Cluster) -> None:
    """Without `cluster-require-full-coverage` the rest serves on."""
    for node in cluster.nodes:
        cluster.ask(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    other, *_ = cluster.others()
    replica = cluster.replica_of(other)
    async with traffic(cluster.url) as commands:
        replica.stop()
        other.stop()
        await commands.more()
        await asyncio.to_thread(until, lambda: not cluster.covers_all(), "its slots are served by no one")
        await commands.more()
        await executed_at_most_once(commands)

"""A slot that moves key by key: no script stops half-way, though some of the keys that it touches are gone already."""

from contextlib import aclosing

import pytest

from app.store.connection import connect
from app.store.pipelines import Pipelines
from app.verification.model import Approval
from tests.contract.conftest import World, stranger
from tests.failover.topologies import Cluster
from tests.harness import PREFIX


async def test_an_approval_is_whole_though_the_counters_of_its_address_have_moved_already(
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
        source, (target, *_) = cluster.owner(), cluster.others()
        cluster.open_slot(source, target)
        cluster.move_keys(source, target, cluster.keys(source, f"{PREFIX}address:*", f"{PREFIX}network:*"))
        assert isinstance(await world.right(ref, context), Approval)
        held = cluster.hash(source, world.names.verification(ref)["phone"])
        assert "step" not in held, "what comes behind in the script happened too"
        cluster.move_slot(source, target)

"""REDIS_WAIT_REPLICAS: what was answered is there after a failover, and without enough replicas no call is placed and no code is compared."""

import asyncio
from pathlib import Path

import httpx
import pytest

from app.store.pipelines import Replication
from tests.exposition import scrape, series
from tests.failover.people import people_during, told_the_truth
from tests.failover.topologies import Cluster, Group, Sentinels, primary_of, until
from tests.failover.traffic import Traffic, traffic
from tests.harness import Simulator, fresh_phone, serving, wrong

ONE, BOTH = Replication(1, 0.3), Replication(2, 0.3)
SETTINGS = {"REDIS_TIMEOUT": "1", "REDIS_WAIT_REPLICAS": "1", "WORKERS": "1"}


async def test_sentinels_what_was_acknowledged_survives_a_primary_that_lives_on_unaware(sentinels: Sentinels) -> None:
    """Until the sentinels demote it, the former primary accepts writes, all of which are lost. One replica may still follow it, both can't."""
    async with traffic(sentinels.url, BOTH) as commands:
        before = sentinels.primary
        sentinels.ask(sentinels.sentinels[1], "SENTINEL", "FAILOVER", "main")
        await asyncio.to_thread(until, lambda: sentinels.info(before)["role"] == "slave", "it follows")
        await commands.more()
        await all_acknowledged_are_there(commands)


async def test_cluster_what_was_acknowledged_survives_a_planned_failover(cluster: Cluster) -> None:
    """The former primary answers MOVED: a script goes where its WAIT goes."""
    async with traffic(cluster.url, ONE) as commands:
        before = cluster.owner()
        cluster.ask(cluster.replica_of(before), "CLUSTER", "FAILOVER")
        await asyncio.to_thread(until, lambda: cluster.owner() is not before, "another owner")
        await commands.more()
        await all_acknowledged_are_there(commands)


async def test_what_was_acknowledged_survives_the_death_of_the_primary(group: Group) -> None:
    async with traffic(group.url, ONE) as commands:
        before = primary_of(group)
        before.stop()
        await asyncio.to_thread(until, lambda: primary_of(group) is not before, "another primary")
        if isinstance(group, Cluster):
            before.start()  # as the only replica that the shard has
        await commands.more()
        await all_acknowledged_are_there(commands)


async def all_acknowledged_are_there(commands: Traffic) -> None:
    commands.stopped = True
    counts = await commands.counts()
    assert len(commands.answered) >= 10, "few were acknowledged: this shows nothing"
    assert {number for number in commands.answered if counts[number] != 1} == set()
    assert set(counts.values()) <= {0, 1}


def test_without_enough_replicas_no_call_is_placed_and_no_code_is_compared(
    group: Group, simulator: Simulator, tmp_path: Path
) -> None:
    """They hang, so that the primary still counts them: only the WAIT of each request finds out."""
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, **SETTINGS) as service:
        known, other = fresh_phone(), fresh_phone()
        id_, code = service.start(known).json()["id"], simulator.code(known)
        assert service.check(id_, wrong(code)).json()["attempts_left"] == 2
        primary = primary_of(group)
        replicas = [node for node in group.nodes if node is not primary]
        if isinstance(group, Cluster):
            replicas = [group.replica_of(primary)]
        for replica in replicas:
            replica.freeze()
        _refused(service.start(other))
        _refused(service.check(id_, wrong(code)))
        _refused(service.check(id_, code))
        assert simulator.count(other) == 0
        for replica in replicas:
            replica.thaw()
        until(lambda: (answer := service.start(other)).status_code == 201 and answer, "the reservation was given back")
        assert simulator.count(other) == 1
        answer = service.check(id_, code)
        assert answer.status_code == 200, "the approval stands, and is repeated"


def _refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), answer.text
    assert answer.json()["retry_after"] >= 1


def test_readiness_names_replicas_that_are_missing(sentinels: Sentinels, simulator: Simulator, tmp_path: Path) -> None:
    settings = SETTINGS | {"REDIS_WAIT_REPLICAS": "3"}
    with serving(tmp_path, simulator.send_url, None, 503, REDIS_URL=sentinels.url, **settings) as service:
        answer = service.http.get("/readyz").json()
        assert answer["problems"] == ["Redis has fewer replicas than REDIS_WAIT_REPLICAS asks for. Repair the replicas"]
        phone = fresh_phone()
        _refused(service.start(phone))
        assert simulator.count(phone) == 0
        assert scrape(service.url)[series("lastdigits_store_problem", problem="too_few_replicas")] == 1


@pytest.mark.parametrize("fail", ["killed", "hangs"])
def test_a_failover_loses_nothing_that_was_answered(
    group: Group, fail: str, simulator: Simulator, tmp_path: Path
) -> None:
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, **SETTINGS) as service:

        def fault() -> None:
            before = primary_of(group)
            (before.stop if fail == "killed" else before.freeze)()
            until(lambda: primary_of(group) is not before, "another primary")
            if isinstance(group, Cluster):
                (before.start if fail == "killed" else before.thaw)()

        people = people_during(service, fault)
        told_the_truth(people, simulator)
        for phone, answer in people.told.items():
            if answer.status_code == 201:
                # Its reservation is there: the phone is not called again. (Its code may be lost: it is written after the call.)
                assert service.start(phone).json()["code"] == "limit_reached"
        service.process.kill()

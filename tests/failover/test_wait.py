"""REDIS_WAIT_REPLICAS: what was answered is there after a failover, and without enough replicas no call is placed and no code is compared."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.exposition import scrape, series
from tests.failover.people import people_during
from tests.failover.topologies import Group, Sentinels, until
from tests.harness import Simulator, fresh_phone, serving, wrong
from tests.server import Server

SETTINGS = {"REDIS_TIMEOUT": "1", "REDIS_WAIT_REPLICAS": "1", "WORKERS": "1"}


def test_without_enough_replicas_no_call_is_placed_and_no_code_is_compared(
    group: Group, simulator: Simulator, tmp_path: Path
) -> None:
    """They hang, so that the primary still counts them: only the WAIT of each request finds out."""
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, **SETTINGS) as service:
        known, other = fresh_phone(), fresh_phone()
        id_, code = service.start(known).json()["id"], simulator.code(known)
        assert service.check(id_, wrong(code)).json()["attempts_left"] == 2
        replicas = group.replicas
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
        assert service.check(id_, code).status_code == 200, "the approval stands, and is repeated"


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


@pytest.mark.parametrize(
    ("fail", "repair"), [(Server.stop, Server.start), (Server.freeze, Server.thaw)], ids=["killed", "hangs"]
)
def test_a_failover_loses_nothing_that_was_answered(
    group: Group, fail: Callable[[Server], None], repair: Callable[[Server], None], simulator: Simulator, tmp_path: Path
) -> None:
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, **SETTINGS) as service:

        def fault() -> None:
            repair(group.lose_primary(fail))  # of a shard it is the only replica

        for phone, answer in people_during(fault, service.asynchronous(), simulator).items():
            if answer.status_code == 201:
                # Its reservation is there: the phone is not called again. (Its code may be lost: it is written after the call.)
                assert service.start(phone).json()["code"] == "limit_reached"
        service.process.kill()

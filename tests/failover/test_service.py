"""The service on Sentinel and on a cluster: what callers are answered while servers fail is true, and it goes on by itself.

With REDIS_WAIT_REPLICAS, what was answered is there after a failover, and without enough replicas no call is placed and no code is compared.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.contract.test_mobilgroup_tls import identity
from tests.exposition import scrape, series
from tests.failover.people import people_during
from tests.failover.topologies import Cluster, Group, Sentinels, until
from tests.harness import Simulator, fresh_phone, serving, wrong
from tests.server import Server


@pytest.mark.parametrize("fail", [Server.stop, Server.freeze], ids=["killed", "hangs"])
def test_a_failover_while_people_verify_themselves(
    group: Group, fail: Callable[[Server], None], simulator: Simulator, tmp_path: Path
) -> None:
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, REDIS_TIMEOUT="1") as service:
        known = fresh_phone()
        id_ = service.start(known).json()["id"]
        assert service.check(id_, wrong(simulator.code(known))).json()["attempts_left"] == 2
        scripts = [_scripts(group, server) for server in group.nodes]
        assert scripts.count(0) == len(group.nodes) - 1, "replicas have no scripts: the new primary must be sent them"
        people_during(partial(group.lose_primary, fail), service.asynchronous(), simulator)
        assert _scripts(group, group.primary) > 0
        # What was written long before is there: the phone's cooldown, the attempt that was counted, the code.
        assert _answered(lambda: service.start(known)).json()["code"] == "limit_reached"
        assert _answered(lambda: service.check(id_, wrong(simulator.code(known)))).json()["attempts_left"] == 1
        assert _answered(lambda: service.check(id_, simulator.code(known))).status_code == 200
        assert simulator.count(known) == 1
        service.process.kill()  # some servers hang: there is nothing to wait for


def _answered(request: Callable[[], httpx.Response]) -> httpx.Response:
    """What a worker answers that has found the new primary: each one finds it by itself."""
    answer: httpx.Response = until(lambda: (given := request()).status_code != 503 and given, "an answer")
    return answer


def _scripts(group: Group, server: Server) -> int:
    return int(group.info(server, "memory")["number_of_cached_scripts"])


def test_our_slot_moves_while_people_verify_themselves(cluster: Cluster, simulator: Simulator, tmp_path: Path) -> None:
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=cluster.url, REDIS_TIMEOUT="1") as service:
        answered = people_during(cluster.move_slot, service.asynchronous(), simulator)
        begun = [(phone, answer.json()["id"]) for phone, answer in answered.items() if answer.status_code == 201]
        for phone, id_ in begun[:3] + begun[-3:]:
            assert _answered(partial(service.check, id_, simulator.code(phone))).status_code == 200


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="the server of the wheel has no TLS; redis-server has")
@pytest.mark.parametrize("make", [Sentinels, Cluster], ids=["sentinel", "cluster"])
def test_it_speaks_tls_as_a_user_with_no_more_rights_than_documented(
    make: type[Sentinels | Cluster], simulator: Simulator, tmp_path: Path
) -> None:
    identity(tmp_path, "127.0.0.1")
    with make(tmp_path / "servers", shutil.which("redis-server"), tmp_path, password="password-of-the-tests") as group:
        assert group.url.startswith("rediss+")
        with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, WORKERS="1") as service:
            phone = fresh_phone()
            id_ = service.start(phone).json()["id"]
            assert service.check(id_, simulator.code(phone)).status_code == 200
            clients = str(group.ask(group.primary, "CLIENT", "LIST"))
            assert "user=service" in clients or "'user': 'service'" in clients


# ---- REDIS_WAIT_REPLICAS

ACKNOWLEDGED = {"REDIS_TIMEOUT": "1", "REDIS_WAIT_REPLICAS": "1", "WORKERS": "1"}


def test_without_enough_replicas_no_call_is_placed_and_no_code_is_compared(
    group: Group, simulator: Simulator, tmp_path: Path
) -> None:
    """They hang, so that the primary still counts them: only the WAIT of each request finds out."""
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, **ACKNOWLEDGED) as service:
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
    settings = ACKNOWLEDGED | {"REDIS_WAIT_REPLICAS": "3"}
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
    with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, **ACKNOWLEDGED) as service:

        def fault() -> None:
            repair(group.lose_primary(fail))  # of a shard it is the only replica

        for phone, answer in people_during(fault, service.asynchronous(), simulator).items():
            if answer.status_code == 201:
                # Its reservation is there: the phone is not called again. (Its code may be lost: it is written after the call.)
                assert _answered(partial(service.start, phone)).json()["code"] == "limit_reached"
        service.process.kill()

"""The service on Sentinel and on a cluster: what callers are told while servers fail is true, and it goes on by itself."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.contract.test_mobilgroup_tls import identity
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
        assert scripts.count(0) == len(group.nodes) - 1, (
            "replicas have no scripts: whoever takes over must be sent them"
        )
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
        told = people_during(cluster.move_slot, service.asynchronous(), simulator)
        begun = [(phone, answer.json()["id"]) for phone, answer in told.items() if answer.status_code == 201]
        for phone, id_ in begun[:3] + begun[-3:]:
            assert _answered(partial(service.check, id_, simulator.code(phone))).status_code == 200


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="the server of the wheel has no TLS; redis-server has")
@pytest.mark.parametrize("make", [Sentinels, Cluster], ids=["sentinel", "cluster"])
def test_it_speaks_tls_as_a_user_with_no_more_rights_than_documented(
    make: type[Sentinels | Cluster], simulator: Simulator, tmp_path: Path
) -> None:
    identity(tmp_path, "127.0.0.1")
    group = make(tmp_path / "servers", shutil.which("redis-server"), tmp_path, password="password-of-the-tests")
    try:
        assert group.url.startswith("rediss+")
        with serving(tmp_path / "service", simulator.send_url, REDIS_URL=group.url, WORKERS="1") as service:
            phone = fresh_phone()
            id_ = service.start(phone).json()["id"]
            assert service.check(id_, simulator.code(phone)).status_code == 200
            clients = str(group.ask(group.primary, "CLIENT", "LIST"))
            assert "user=service" in clients or "'user': 'service'" in clients
    finally:
        group.stop()

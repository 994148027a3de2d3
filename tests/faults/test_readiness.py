"""Readiness: a server that answers and yet can't be relied on. /readyz says why and what to do, the log has the server's own words, no call is placed."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_server
from typing import Any, NamedTuple

import httpx
import pytest

from app.store.health import StoreProblem
from tests.exposition import scrape, series
from tests.harness import MAX_START, Service, Simulator, answers_with, fresh_phone, serving, until
from tests.server import Server

BINARIES = [pytest.param(None, id="valkey"), pytest.param("redis-server", id="redis", marks=pytest.mark.redis)]
ADMIN = {"user": "admin", "password": "admin-of-the-tests"}
PASSWORD = "password-of-the-tests"
SPENT = series("lastdigits_spend", cap="all", window="day", lane="all")
UNAVAILABLE = series(
    "lastdigits_http_requests_total", route="/verify/start", method="POST", status="503", code="store_unavailable"
)


@dataclass
class Subject:
    """A server that is about to break, and the service that relies on it."""

    server: Server
    directory: Path
    service: Service

    def admin(self, *words: str) -> Any:
        return self.server.command(*words, **ADMIN)


@pytest.fixture(scope="module", params=BINARIES)
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, simulator: Simulator
) -> Iterator[Subject]:
    directory = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        options = {"user": f"admin on >{ADMIN['password']} ~* &* +@all", "requirepass": PASSWORD}
        server = Server(directory, request.param, enable_protected_configs="yes", **options)
        stack.callback(server.stop)
        settings = {"REDIS_URL": server.url.replace("//", f"//:{PASSWORD}@"), "WORKERS": "1"}
        service = stack.enter_context(serving(tmp_path_factory.mktemp("service"), simulator.send_url, **settings))
        yield Subject(server, directory, service)


# ---- the ways to break

Step = str | Callable[[Subject], None]


class Case(NamedTuple):
    """A way to break and its repair (commands of the administrator, or a function), the problem that must be found, the server's words, the fix in /readyz."""

    break_: Step
    repair: Step
    problem: StoreProblem
    words: str
    fix: str


def _take(step: Step, subject: Subject) -> None:
    if callable(step):
        step(subject)
    else:
        for command in step.split("; "):
            subject.admin(*command.split())


@contextmanager
def _broken(subject: Subject, break_: Step, repair: Step) -> Iterator[None]:
    _take(break_, subject)
    try:
        yield
    finally:
        _take(repair, subject)


def _lose_the_folder(subject: Subject) -> None:
    subject.admin("CONFIG", "SET", "save", "3600 1")
    subject.admin("SET", "changed", "1")
    shutil.rmtree(subject.directory)
    subject.admin("BGSAVE")  # fails in the background


def _restore_the_folder(subject: Subject) -> None:
    subject.directory.mkdir()
    _take(f"CONFIG SET dir {subject.directory}; SAVE", subject)
    subject.admin("CONFIG", "SET", "save", "")


def _load_slowly(subject: Subject) -> None:
    subject.admin("EVAL", "for at = 1, 2000 do redis.call('SET', 'filler:' .. at, redis.sha1hex(at)) end", "0")
    subject.admin("SAVE")
    subject.server.stop()
    subject.server.start(key_load_delay="5000", loading_process_events_interval_bytes="1024")


def _restart(subject: Subject) -> None:
    subject.server.stop()
    subject.server.start()


def _acl(rules: str) -> str:
    """What the service's user may do; connections of before are closed, for they keep what they had."""
    return f"ACL SETUSER default {rules}; CLIENT KILL TYPE normal SKIPME yes"


ALL_RIGHTS = _acl(f"reset on >{PASSWORD} ~* &* +@all")
POLICY, REPLICAS = "CONFIG SET maxmemory-policy", "CONFIG SET min-replicas-to-write"
FULL, EVICTS, RIGHTS = StoreProblem.MEMORY_FULL, StoreProblem.EVICTION, StoreProblem.PERMISSION
OOM, LACKS = "OOM command not allowed", "the scripts need HINCRBY"
CASES = {
    "the folder of its dump is gone": Case(
        _lose_the_folder, _restore_the_folder, StoreProblem.CANNOT_SAVE, "MISCONF", "the disk of its `dir`"
    ),
    "its memory is full": Case("CONFIG SET maxmemory 1mb", "CONFIG SET maxmemory 0", FULL, OOM, "Raise its maxmemory"),
    "it has no replica": Case(
        f"{REPLICAS} 1", f"{REPLICAS} 0", StoreProblem.NO_REPLICAS, "NOREPLICAS", "Repair the replicas"
    ),
    "it evicts what expires": Case(f"{POLICY} volatile-ttl", f"{POLICY} noeviction", EVICTS, "", "volatile-ttl"),
    "it evicts what is old": Case(f"{POLICY} allkeys-lru", f"{POLICY} noeviction", EVICTS, "", "Set it to noeviction"),
    "no scripts allowed": Case(_acl("-@scripting"), ALL_RIGHTS, RIGHTS, "NOPERM", "+@scripting"),
    "none of our keys allowed": Case(_acl("resetkeys ~other:*"), ALL_RIGHTS, RIGHTS, "NOPERM", "~{lastdigits}:*"),
    "no INFO allowed": Case(_acl("-info"), ALL_RIGHTS, RIGHTS, "'info'", "+info"),
    "a command of the scripts not allowed": Case(_acl("-hincrby"), ALL_RIGHTS, RIGHTS, LACKS, "+@write"),
    "another password": Case(
        _acl("resetpass >another"), ALL_RIGHTS, StoreProblem.CREDENTIALS, "WRONGPASS", "Correct them in REDIS_URL"
    ),
    "a read-only replica": Case(
        "REPLICAOF 127.0.0.1 1",
        "REPLICAOF NO ONE",
        StoreProblem.READ_ONLY,
        "READONLY",
        "Write the primary's address",
    ),
    "it loads its data": Case(_load_slowly, _restart, StoreProblem.LOADING, "LOADING", "Wait"),
}


def _readiness(service: Service, problem: StoreProblem | None) -> httpx.Response:
    """What /readyz answers once it sees this; it keeps what it found for a moment."""
    place = series("lastdigits_store_problem", problem=problem.value) if problem else series("lastdigits_ready")
    until(lambda: answers_with(service, "/readyz", 503 if problem else 200))
    until(lambda: scrape(service.url)[place] == 1)
    return service.http.get("/readyz")


def _reports(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["event"] in {"ready", "not_ready"}]


@pytest.mark.parametrize("name", CASES)
def test_a_server_that_is_not_to_be_relied_on_is_named_with_the_fix_and_no_call_is_placed(
    subject: Subject, simulator: Simulator, phone: str, name: str
) -> None:
    case, service = CASES[name], subject.service
    _readiness(service, None)
    with _broken(subject, case.break_, case.repair):
        answer = _readiness(service, case.problem).json()
        assert (answer["code"], answer["sandbox"]) == ("not_ready", False)
        assert case.fix in " ".join(answer["problems"])
        started = service.start(phone)
        assert (started.status_code, started.json()["code"]) == (503, "store_unavailable")
        assert simulator.count(phone) == 0
        seen = scrape(service.url)
        assert [seen[series(f"lastdigits_{gauge}")] for gauge in ("store_up", "store_safe", "ready")] == [1, 0, 0]
        report = _reports(service)
        assert report[-1]["level"] == "error"
        assert case.words in report[-1].get("detail", "")
        for _ in range(2):
            time.sleep(0.11)  # each of these is a look of its own
            service.http.get("/readyz")
        assert _reports(service) == report, "one line says it"
    _readiness(service, None)
    assert _reports(service)[-1]["event"] == "ready"
    assert service.start(phone).status_code == 201


def test_the_rights_that_readiness_asks_for_are_all_that_the_service_needs(
    subject: Subject, simulator: Simulator
) -> None:
    service = subject.service
    rules = f"reset on >{PASSWORD} +@read +@write +@scripting +@connection +info +time ~{{lastdigits}}:*"
    with _broken(subject, _acl(rules), ALL_RIGHTS):
        _readiness(service, None)
        assert service.check(*service.begin(simulator)).status_code == 200
        assert SPENT in scrape(service.url)


def test_a_scrape_of_a_service_without_its_store_is_answered_at_once(subject: Subject, phone: str) -> None:
    service, server = subject.service, subject.server
    _readiness(service, None)
    for stop, start in ((server.freeze, server.thaw), (server.stop, server.start)):
        stop()
        try:
            time.sleep(1)  # what was seen before is kept for as long
            asked_at = time.monotonic()
            seen = scrape(service.url)
            assert time.monotonic() - asked_at < 2
            assert [seen[series(f"lastdigits_{gauge}")] for gauge in ("store_up", "ready", "sandbox")] == [0, 0, 0]
            assert SPENT not in seen, "it is not known"
            assert service.start(phone).status_code == 503
            assert scrape(service.url)[UNAVAILABLE] == seen[UNAVAILABLE] + 1
        finally:
            start()
        _readiness(service, None)


# ---- starts without a store


def test_a_start_waits_for_a_store_that_is_not_there_yet_and_says_so(tmp_path: Path, simulator: Simulator) -> None:
    server = Server(tmp_path)
    server.stop()
    settings = {"REDIS_URL": server.url, "REDIS_START_WAIT": "60", "WORKERS": "1"}
    with _while_starting(tmp_path / "service", simulator, "waiting_for_store", settings, server.start) as service:
        events = [line["event"] for line in service.lines()]
    server.stop()
    assert events.index("waiting_for_store") < events.index("ready") < events.index("Application startup complete.")


def test_a_start_waits_no_longer_than_it_may_and_not_for_what_only_the_operator_can_fix(
    tmp_path: Path, simulator: Simulator
) -> None:
    server = Server(tmp_path)
    one = {"REDIS_URL": server.url, "WORKERS": "1"}
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with serving(tmp_path / "a", simulator.send_url, None, 503, REDIS_START_WAIT="300", **one) as service:
        assert not [line for line in service.lines() if line["event"] == "waiting_for_store"]
    server.stop()
    with serving(tmp_path / "b", simulator.send_url, None, 503, REDIS_START_WAIT="1", **one) as service:
        assert [line["seconds"] for line in service.lines() if line["event"] == "waiting_for_store"] == [1]


@contextmanager
def _while_starting(
    directory: Path, simulator: Simulator, event: str, settings: dict[str, str], then: Callable[[], None]
) -> Iterator[Service]:
    """A service that starts; once its log has an event, something is done."""
    with ThreadPoolExecutor(1) as pool:
        log = directory / "log"
        reported = pool.submit(until, lambda: log.exists() and f'"{event}"' in log.read_text("utf-8"), MAX_START)
        reported.add_done_callback(lambda _: then())
        with serving(directory, simulator.send_url, **settings) as service:
            reported.result()
            yield service


# ---- clusters


def _cluster_node(directory: Path, binary: str | None) -> tuple[Server, int]:
    """A server of a cluster, and the port of its bus; it serves no slot yet."""
    directory.mkdir()
    with create_server(("127.0.0.1", 0)) as probe:
        bus = probe.getsockname()[1]
    return Server(directory, binary, cluster_enabled="yes", cluster_port=str(bus), cluster_node_timeout="500"), bus


@pytest.mark.parametrize("binary", BINARIES)
def test_a_node_of_a_cluster_that_is_named_by_a_plain_url_is_recognised(
    tmp_path: Path, simulator: Simulator, phone: str, binary: str | None
) -> None:
    with ExitStack() as stack:
        (node, _), (other, bus) = (_cluster_node(tmp_path / name, binary) for name in ("node", "other"))
        for server in (node, other):
            stack.callback(server.stop)
        node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        until(lambda: b"cluster_state:ok" in node.command("CLUSTER", "INFO"))
        settings = {"REDIS_URL": node.url, "WORKERS": "1"}
        service = stack.enter_context(serving(tmp_path / "service", simulator.send_url, **settings))
        assert service.start(fresh_phone()).status_code == 201, "it has our keys"
        node.command("CLUSTER", "DELSLOTSRANGE", "0", "16383")
        problems = _readiness(service, StoreProblem.CLUSTER_DOWN).json()["problems"]
        assert problems == ["The Redis cluster is down: no node serves our keys. Repair the cluster"]
        other.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        node.command("CLUSTER", "MEET", "127.0.0.1", str(other.port), str(bus))
        problems = _readiness(service, StoreProblem.CLUSTER_NODE).json()["problems"]
        assert problems == ["This Redis is a node of a cluster. Write redis+cluster:// in REDIS_URL"]
        assert service.start(phone).status_code == 503
        assert simulator.count(phone) == 0
        service.process.kill()  # else it would wait for a store that it can't reach


def test_a_service_starts_while_its_cluster_is_down_and_is_ready_once_it_is_there(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    node, _ = _cluster_node(tmp_path / "node", None)
    node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    node.command("CLUSTER", "SAVECONFIG")
    node.stop()
    settings = {"REDIS_URL": node.url.replace("redis://", "redis+cluster://").removesuffix("/0"), "WORKERS": "1"}
    with ExitStack() as stack:
        stack.callback(node.stop)
        starting = _while_starting(tmp_path / "service", simulator, "not_ready", settings, node.start)
        service = stack.enter_context(starting)
        assert service.start(phone).status_code == 201
        node.stop()
        assert service.start(fresh_phone()).json()["code"] == "store_unavailable"
        service.process.kill()

"""ATTACKS.md, "Storage" and "Truth of an answer", with two workers: a 503 says when to try again, and what was answered as undone is not done later."""

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app.store.connection import connect
from app.store.pipelines import Pipelines
from app.store.redis_store import MAX_UNDER_WAY
from tests.exposition import scrape, series
from tests.harness import Service, Simulator, answers_with, fresh_phone, names_of, ref_of, serving, until, wrong
from tests.server import Server, ask

STARTS, CHECKS, MORE = 40, 10, 50


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A store of one's own, to be stopped, frozen and restarted."""
    store = Server(tmp_path_factory.mktemp("store"))
    yield store
    store.stop()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, store: Server) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("on-own-store")
    with serving(directory, simulator.send_url, REDIS_URL=store.url, REDIS_TIMEOUT="0.5") as deployed:
        yield deployed


@contextmanager
def _frozen(store: Server) -> Iterator[None]:
    store.freeze()
    try:
        yield
    finally:
        store.thaw()


def _unavailable(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) >= 1


def _readiness(deployed: Service, status: int) -> httpx.Response:
    """What /readyz answers once it answers so; it keeps what it found for a moment."""
    until(lambda: answers_with(deployed, "/readyz", status), 10, f"/readyz does not answer {status}")
    return deployed.http.get("/readyz")


@pytest.mark.parametrize("state", ["down", "frozen"])
def test_without_a_store_nothing_is_called_or_approved_and_it_recovers(
    deployed: Service, store: Server, simulator: Simulator, phone: str, state: str
) -> None:
    verification, code = deployed.begin(simulator)
    (store.stop if state == "down" else store.freeze)()
    try:
        _unavailable(deployed.start(phone))
        _unavailable(deployed.check(verification, code))
        _unavailable(deployed.post("/verify/resend", {"id": verification}))
        _unavailable(deployed.get(f"/verify/{verification}"))
        assert _readiness(deployed, 503).json()["code"] == "not_ready"
        assert deployed.http.get("/healthz").status_code == 200
        assert simulator.count(phone) == 0
        assert verification not in deployed.log.read_text("utf-8"), "a whole id is the right to guess its code"
    finally:
        (store.start if state == "down" else store.thaw)()
    _readiness(deployed, 200)
    # One that was down has restarted empty: nothing opens.
    assert deployed.check(verification, code).status_code == (404 if state == "down" else 200)
    assert deployed.start(phone).status_code == 201


async def test_a_restarted_server_fails_no_request_by_connections_of_before(store: Server) -> None:
    async with connect(store.url, 2.0) as client, aclosing(Pipelines(client, 2.0)) as pipelines:
        await asyncio.gather(*(ask(pipelines, "ECHO", "before") for _ in range(200)))
        store.stop()
        store.start()
        await asyncio.sleep(0.05)  # nothing here stood still while the server was away
        assert await asyncio.gather(*(ask(pipelines, "ECHO", "after") for _ in range(200))) == [b"after"] * 200


def test_a_flushed_script_cache_is_not_noticed(
    deployed: Service, store: Server, simulator: Simulator, phone: str
) -> None:
    store.command("SCRIPT", "FLUSH")
    verification, code = deployed.begin(simulator, phone)
    store.command("SCRIPT", "FLUSH")
    assert deployed.check(verification, wrong(code)).status_code == 422
    assert deployed.check(verification, code).status_code == 200


def test_a_full_server_places_no_call_and_readiness_says_so(
    deployed: Service, store: Server, simulator: Simulator, phone: str
) -> None:
    verification, code = deployed.begin(simulator)
    store.command("CONFIG", "SET", "maxmemory", "1")
    try:
        _unavailable(deployed.start(phone))
        assert simulator.count(phone) == 0
        assert deployed.check(verification, code).status_code == 200, "a person waits: that still works"
        assert "memory of Redis is full" in _readiness(deployed, 503).json()["problems"][0]
    finally:
        store.command("CONFIG", "SET", "maxmemory", "0")
    _readiness(deployed, 200)
    assert deployed.start(phone).status_code == 201


def test_an_evicting_store_forgets_no_cooldown_that_a_call_follows_and_readiness_says_so(
    deployed: Service, store: Server, simulator: Simulator, phone: str
) -> None:
    def noticed() -> int:
        return sum("noeviction" in str(line.get("problems")) for line in deployed.lines())

    def fill() -> None:
        """Some megabytes of others, which live for days."""
        with Redis.from_url(store.url) as client:
            for number in range(3000):
                client.set(f"others:{number}", "x" * 1000, px=10**9)

    def record_is_gone() -> bool:
        fill()  # whatever is written drives out the shortest-lived of a random few
        return not store.command("EXISTS", record)

    verification, _ = deployed.begin(simulator, phone)
    record = names_of(deployed).verification(ref_of(deployed, verification))["phone"]
    before = noticed()
    store.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    try:
        until(lambda: noticed() >= before + 2, 30, "a worker does not see it")
        used = store.command("INFO", "memory")["used_memory"]
        store.command("CONFIG", "SET", "maxmemory", str(used + 2_000_000))
        until(record_is_gone, 60, "the record of its call is not driven out")
        assert "noeviction" in deployed.http.get("/readyz").json()["problems"][0]
        for answer in deployed.at_once("/verify/start", [{"phone": phone}] * STARTS):
            _unavailable(answer)
        assert simulator.count(phone) == 1
    finally:
        store.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        store.command("CONFIG", "SET", "maxmemory", "0")
    until(lambda: deployed.start(fresh_phone()).status_code == 201, 30, "it does not recover")


# ---- what is answered is true


async def test_a_store_that_stops_and_goes_on_runs_nothing_of_what_was_answered_as_unavailable(
    deployed: Service, store: Server, simulator: Simulator
) -> None:
    begun = [deployed.begin(simulator) for _ in range(CHECKS)]
    checks = [
        {"id": verification, "code": code if number % 2 else wrong(code)}
        for number, (verification, code) in enumerate(begun)
    ]
    starts = [({"phone": fresh_phone()}, {"Idempotency-Key": secrets.token_hex(12)}) for _ in range(STARTS)]
    async with deployed.asynchronous() as http:
        with _frozen(store):
            answers = await asyncio.gather(
                *(http.post("/verify/start", json=body, headers=key) for body, key in starts),
                *(http.post("/verify/check", json=body) for body in checks),
            )
        for answer in answers:
            _unavailable(answer)
        await asyncio.to_thread(_readiness, deployed, 200)
        states = [deployed.get(f"/verify/{verification}").json() for verification, _ in begun]
        assert [(state["status"], state["attempts_left"]) for state in states] == [("pending", 3)] * CHECKS
        assert sum(simulator.count(body["phone"]) for body, _ in starts) == 0
        # What could be run late has been run, or has found that it is too late: the server processes commands in their order.
        again = await asyncio.gather(*(http.post("/verify/start", json=body, headers=key) for body, key in starts))
    assert {answer.status_code for answer in again} == {201}, "the same key works, and no reservation is in the way"
    assert [simulator.count(body["phone"]) for body, _ in starts] == [1] * STARTS
    assert [deployed.check(*each).status_code for each in begun] == [200] * CHECKS


def _start_while_it_stops(
    deployed: Service, store: Server, simulator: Simulator, phone: str, seconds: float
) -> httpx.Response:
    """Start a verification; while the phone rings, the store stops for so long."""
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(deployed.start, phone)
        until(lambda: simulator.count(phone) or starting.done())
        with _frozen(store):
            time.sleep(seconds)
        return starting.result()


def test_a_short_stop_of_the_store_while_the_phone_rings_does_not_lose_the_code(
    deployed: Service, store: Server, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.5)
    answer = _start_while_it_stops(deployed, store, simulator, phone, 1.4)
    assert answer.status_code == 201, answer.text
    assert deployed.check(answer.json()["id"], simulator.code(phone)).status_code == 200
    assert simulator.count(phone) == 1


def test_a_store_that_fails_while_the_phone_rings_is_an_unknown_call_and_no_outage(
    deployed: Service, store: Server, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.3)
    answer = _start_while_it_stops(deployed, store, simulator, phone, 5)
    assert (answer.status_code, answer.json()["code"]) == (504, "call_unknown")
    assert answer.json()["retry_after"] >= 30, "the phone may ring: no one should ask again at once"
    _readiness(deployed, 200)
    assert deployed.start(phone).json()["code"] in {"call_in_progress", "limit_reached"}
    assert simulator.count(phone) == 1


# ---- more than can be answered, and fewer to answer it


async def test_behind_a_store_that_hangs_so_many_requests_wait_and_the_others_are_refused_at_once(
    tmp_path: Path, simulator: Simulator, store: Server
) -> None:
    # It waits for its store for longer than the test takes. Connections of a proxy have no bound.
    settings = {"REDIS_URL": store.url, "REDIS_TIMEOUT": "30", "WORKERS": "1", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path, simulator.send_url, **settings) as deployed:
        verification, code = deployed.begin(simulator)
        check, total = {"id": verification, "code": code}, MAX_UNDER_WAY + MORE
        limits = httpx.Limits(max_connections=total)
        async with httpx.AsyncClient(
            base_url=deployed.url, headers=deployed.headers(), timeout=60, limits=limits
        ) as http:
            with _frozen(store):
                answers = [asyncio.ensure_future(http.post("/verify/check", json=check)) for _ in range(total)]
                while sum(answer.done() for answer in answers) < MORE:  # noqa: ASYNC110  there is no event to wait for
                    await asyncio.sleep(0.02)
                refused = [answer.result() for answer in answers if answer.done()]
                assert [answer.json()["code"] for answer in refused] == ["overloaded"] * MORE
                assert {answer.headers["Retry-After"] for answer in refused} == {"2"}
                page = deployed.headers("web") | {"Origin": "https://shop.example"}
                readable = await http.post("/verify/start", json={"phone": fresh_phone()}, headers=page)
                assert readable.json()["code"] == "overloaded"
                assert readable.headers["Access-Control-Allow-Origin"] == "https://shop.example"
                for path in ("/healthz", "/metrics"):
                    assert (await http.get(path)).status_code == 200
            assert Counter([(await answer).status_code for answer in answers]) == {200: MAX_UNDER_WAY, 503: MORE}
        labels = {"route": "/verify/check", "method": "POST", "status": "503", "code": "overloaded"}
        assert scrape(deployed.url)[series("lastdigits_http_requests_total", **labels)] == MORE
        assert deployed.check(verification, code).status_code == 200


def test_a_worker_that_dies_while_it_owes_its_supervisor_an_answer_is_replaced_at_once(deployed: Service) -> None:
    """The supervisor asks twice a second. A stopped worker does not answer, and has a minute to; then it is killed."""
    victim, other = deployed.workers()
    os.kill(victim, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(victim, signal.SIGKILL)
    os.kill(other, signal.SIGKILL)
    until(lambda: answers_with(deployed, "/healthz", 200), 20, "it waits for the answer of a dead worker")
    until(lambda: len(deployed.workers()) == 2)
    assert deployed.start(fresh_phone()).status_code == 201
    assert not {victim, other} & set(deployed.workers())

"""The metrics of several workers: summed, whichever answers, and kept when one of them is killed."""

import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import until
from tests.exposition import call, operation, read, scrape, series
from tests.harness import Service, Simulator, fresh_phone, serving


@contextmanager
def _only(worker: int, service: Service) -> Iterator[None]:
    """All others stand still: what is asked meanwhile, by new connections, this one answers."""
    others = [pid for pid in service.workers() if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def _start(service: Service) -> None:
    body = {"phone": fresh_phone()}
    answer = httpx.post(f"{service.url}/verify/start", json=body, headers=service.headers(), timeout=10)
    assert answer.status_code == 201, answer.text


def test_workers_are_summed_and_the_counts_of_a_killed_one_stay(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with serving(tmp_path / "service", simulator.send_url) as service:
        first, second = workers = service.workers()
        for worker, starts in ((first, 2), (second, 3)):
            with _only(worker, service):
                for _ in range(starts):
                    _start(service)
        for worker in workers:
            with _only(worker, service):
                seen = scrape(service.url)
            assert (seen[operation("start", "placed")], seen[call("placed")]) == (5, 5)
        os.kill(first, signal.SIGKILL)
        until(lambda: service.log.read_text().count("Application startup complete") == 3)
        assert scrape(service.url)[call("placed")] == 5
        (third,) = set(service.workers()) - set(workers)
        with _only(third, service):
            _start(service)
            assert scrape(service.url)[call("placed")] == 6
        with _only(second, service):
            assert scrape(service.url)[call("placed")] == 6
            text = httpx.get(f"{service.url}/metrics").text
        assert {dict(labels)["worker"] for name, labels in read(text) if name == "process_open_fds"} == {"0", "1"}
        service.process.send_signal(signal.SIGHUP)
        assert scrape(service.url)[call("placed")] == 6
    assert not list((tmp_path / "temporary").iterdir()), "it left a file"


def test_a_full_disk_costs_neither_a_call_nor_its_count(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    with serving(tmp_path, simulator.send_url) as service:
        # No file may grow: each write to one, as to the log, fails from now on.
        for pid in (service.process.pid, *service.workers()):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, 1))
        verification = service.start(phone).json()["id"]
        assert service.check(verification, simulator.code(phone)).status_code == 200
        seen = scrape(service.url)
        assert (seen[operation("start", "placed")], seen[operation("check", "approved")]) == (1, 1)
        assert seen[series("lastdigits_observer_errors_total")] >= 3, "the lines of start, call and check"
        for _ in range(2):
            assert service.http.post("/verify/check").status_code == 401
            assert service.http.get("/readyz").status_code == 200
        assert scrape(service.url)[series("lastdigits_observer_errors_total")] >= 5
        slow = fresh_phone()
        simulator.behave(slow, delay=0.8)
        with ThreadPoolExecutor() as pool:
            starting = pool.submit(service.start, slow)
            until(lambda: simulator.count(slow) == 1)
            service.process.send_signal(signal.SIGTERM)
            assert starting.result().status_code == 201
        assert service.process.wait(30) == 0

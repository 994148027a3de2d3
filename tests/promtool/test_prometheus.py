"""A real Prometheus with the shipped rules watches real services while each of them breaks in its own way: it must name what broke.

The rules are the shipped ones but for their `for:`, which is a second here: the waiting is Prometheus's own, and promtool tests the real ones. Prometheus
scrapes and evaluates each second.
"""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.harness import ROOT, Service, Simulator, fresh_phone, logged_address, running, serving
from tests.server import Server

pytestmark = pytest.mark.promtool
RULES = ROOT / "deploy" / "prometheus-rules.yml"


@dataclass(frozen=True)
class Prometheus:
    http: httpx.Client

    def healthy(self) -> set[str]:
        """The jobs that were scraped."""
        targets = self.http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"] for target in targets if target["health"] == "up"}

    def firing(self) -> dict[str, set[str]]:
        """The names of the alerts that are firing, by job."""
        found: dict[str, set[str]] = {}
        for alert in self.http.get("/api/v1/alerts").json()["data"]["alerts"]:
            assert "<no value>" not in json.dumps(alert["annotations"])
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["job"], set()).add(alert["labels"]["alertname"])
        return found


@contextmanager
def _watching(directory: Path, targets: dict[str, str]) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these jobs' addresses."""
    (directory / "rules.yml").write_text(re.sub(r"for: .*", "for: 1s", RULES.read_text("utf-8")), "utf-8")
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [url.removeprefix("http://")]}]}
        for job, url in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }
    (directory / "prometheus.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    options = {"config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": address}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *arguments], cwd=directory, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=10) as http:
            prometheus = Prometheus(http)
            _until(lambda: _answers(http) and prometheus.healthy() == set(targets), 30, (directory / "log").read_text)
            yield prometheus
    finally:
        process.terminate()
        process.wait(20)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def _until(holds: Callable[[], bool], seconds: float, seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, seen()
        time.sleep(0.2)


@contextmanager
def _sandbox(directory: Path) -> Iterator[str]:
    """A service that was started with nothing configured."""
    directory.mkdir()
    settings = {"LASTDIGITS_PORT": "0", "LASTDIGITS_SIMULATOR_PORT": "0", "LASTDIGITS_LOG_FORMAT": "json"}
    with running(["serve"], settings, directory / "log", logged_address) as (_, url):
        yield url


SETTINGS: dict[str, dict[str, str]] = {
    "lastdigits": {},
    "wrong-key": {"PROVIDER_API_KEY": "a-key-that-was-revoked"},
    "balance-spent": {},
    "cap-reached": {"SPEND_PER_HOUR": "0.8", "SPEND_PER_DAY": "0.8"},
    "codes-predictable": {},
    "clients-turned-away": {},
}

FIRES = {
    "store-down": {"LastdigitsStoreDown", "LastdigitsNotReady", "LastdigitsStoreFailsRequests"},
    "wrong-key": {"LastdigitsProviderRefusesKey"},
    "balance-spent": {"LastdigitsBalanceSpent"},
    "cap-reached": {"LastdigitsSpendCap", "LastdigitsSpendCapNear"},
    "sandbox": {"LastdigitsSandbox"},
    "codes-predictable": {"LastdigitsCodesPredictable", "LastdigitsCodesBiased"},
    "clients-turned-away": {"LastdigitsClientsTurnedAway"},
}
"""What fires, and nothing else: for the job `lastdigits`, which is well, nothing."""


def _break(services: dict[str, Service], store: Server, simulator: Simulator) -> None:
    """Let each service meet what its name says."""
    spent = fresh_phone()
    simulator.behave(spent, answer="error", error_code="not_enough_money")
    stranger = {"Authorization": "Bearer pk_of-an-older-clients-file"}
    store.stop()
    answers = [
        services["lastdigits"].start(fresh_phone()),
        services["store-down"].start(fresh_phone()),
        services["wrong-key"].start(fresh_phone()),
        services["balance-spent"].start(spent),
        *(services["cap-reached"].start(fresh_phone()) for _ in range(3)),
        services["codes-predictable"].start(fresh_phone()),
        *(services["clients-turned-away"].post("/verify/start", {}, headers=stranger) for _ in range(5)),
    ]
    codes = [answer.json().get("code") for answer in answers]
    expected = ["store_unavailable", "call_not_placed", "call_not_placed", None, None, "spend_cap", "codes_predictable"]
    assert codes == [None, *expected, *["key_unknown"] * 5]


def test_each_breakage_fires_the_alert_that_names_it(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator
) -> None:
    directory = tmp_path_factory.mktemp("watched")
    store, shared = Server(tmp_path_factory.mktemp("own")), Server(tmp_path_factory.mktemp("shared"))
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        stack.callback(store.stop)
        stack.callback(shared.stop)
        # Codes that recur as no provider's do: one code, a thousand times.
        shared.command("SET", "{codes-predictable}:codes:4", "00000001" * 1000)

        def serve(job: str) -> Service:
            settings = {"REDIS_URL": shared.url, "KEY_PREFIX": f"{{{job}}}:"} | SETTINGS.get(
                job, {"REDIS_URL": store.url}
            )
            return stack.enter_context(serving(directory / job, simulator.send_url, WORKERS="1", **settings))

        sandbox = pool.submit(lambda: stack.enter_context(_sandbox(directory / "sandbox")))
        jobs = [*SETTINGS, "store-down"]
        services = dict(zip(jobs, pool.map(serve, jobs), strict=True))
        addresses = {job: service.url for job, service in services.items()} | {"sandbox": sandbox.result()}
        prometheus = stack.enter_context(_watching(directory, addresses))
        _break(services, store, simulator)
        _until(lambda: prometheus.firing() == FIRES, 30, prometheus.firing)
        services[
            "store-down"
        ].process.kill()  # else it would wait for its store, to give back what the start may have reserved

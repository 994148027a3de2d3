"""`lastdigits serve` as a process: the sandbox, addresses, exit statuses, signals, and the lives of its children."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from app.cli.serve import with_made_keys
from app.processes import StartError, listen
from app.sandbox import reachable, sandbox_keys
from app.settings import load_settings
from app.store.embedded import embedded_server, store_directory
from app.workers import WORKER_TIMEOUT
from tests.e2e.conftest import Command, until
from tests.harness import ROOT, Service, Simulator, environment, running, serving

SANDBOX = {"LASTDIGITS_PORT": "0", "LASTDIGITS_SIMULATOR_PORT": "0", "LASTDIGITS_LOG_FORMAT": "json"}


def _serve(cwd: Path, **settings: str) -> tuple[int, str]:
    """The exit status of a service that does not start, and what it says."""
    given = {"PYTHONPATH": f"{cwd}:{ROOT}"} | {f"LASTDIGITS_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "app.cli", "serve"]
    done = subprocess.run(
        command, env=environment(given), cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


@contextmanager
def _sandbox(directory: Path, **settings: str) -> Iterator[tuple[Any, str, str]]:
    """A running sandbox: its process, what it printed, and its address. It answers, and all of its workers have started."""
    log, workers = directory / "log", int(settings["WORKERS"])
    given = SANDBOX | {f"LASTDIGITS_{name}": value for name, value in settings.items()}

    def banner(text: str) -> str | None:
        return text if "Paste this" in text and '"serving"' in text else None

    with running(["serve"], given, log, banner) as (process, text):
        (address,) = re.findall(r"Service +(\S+)", text)
        until(lambda: _is_ready(address) and log.read_text().count("Application startup complete") >= workers)
        yield process, text, address


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


# ---- the sandbox


@pytest.mark.parametrize(
    ("host", "workers", "also", "ending"),
    [("LOCALHOST", "2", None, signal.SIGINT), ("::", "1", "[::1]", signal.SIGTERM)],
)
def test_the_sandbox_verifies_a_phone_by_pasting_what_it_prints(
    tmp_path: Path, host: str, workers: str, also: str | None, ending: int
) -> None:
    with _sandbox(tmp_path, HOST=host, SIMULATOR_HOST=host, WORKERS=workers) as (process, text, address):
        assert "no phone rings, and nothing leaves this machine" in text
        logged = map(json.loads, re.findall(r"^{.*}$", text, re.MULTILINE))
        assert [line["level"] for line in logged if line["event"] == "sandbox"] == ["warning"]
        script = text.partition("count.\n")[2].partition("\n{")[0]
        assert '"purpose": "login", "client_ip": "203.0.113.7"' in script
        pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        started, called, approved = pasted.stdout.strip().splitlines()
        assert json.loads(started)["status"] == "pending"
        assert re.fullmatch(r"The last digits of the number that called: \d{4}", called)
        assert jwt.decode(json.loads(approved)["token"], options={"verify_signature": False})["test"] is True
        if also:
            assert httpx.get(f"http://{also}:{address.rpartition(':')[2]}/healthz").status_code == 200, ":: takes both"
        _end(process, ending, 0)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("LOCALHOST", "localhost")]
)
def test_a_listening_address_is_shown_as_one_that_can_be_reached(host: str, shown: str) -> None:
    with listen(host, 0, "LASTDIGITS_HOST", "LASTDIGITS_PORT") as listener:
        assert reachable(host) == shown
        socket.create_connection((shown.strip("[]"), listener.getsockname()[1]), 5).close()


def test_a_killed_sandbox_leaves_no_process_and_keeps_its_keys_and_data_apart(tmp_path: Path) -> None:
    keys: list[list[str]] = []
    started = ""
    for workers in ("2", "1"):
        with _sandbox(tmp_path, WORKERS=workers) as (process, text, address):
            keys.append(re.findall(r"[ps]k_[A-Za-z0-9_-]{43}", text)[:2])
            headers = {"Authorization": f"Bearer {keys[-1][1]}"}
            if not started:
                answer = httpx.post(f"{address}/verify/start", json={"phone": "+79161234567"}, headers=headers)
                started = answer.json()["id"]
                status, said = _serve(tmp_path, PORT="0", SIMULATOR_PORT="0")
                assert (status, f"process {process.pid}" in said) == (69, True), said
            assert httpx.get(f"{address}/verify/{started}", headers=headers).json()["status"] == "pending"
            _end(process, signal.SIGKILL, -9)
    assert keys[0] == keys[1]
    made = tmp_path / "data" / "sandbox" / "keys"
    assert {path.name for path in made.iterdir()} == {"pepper", "sandbox-keys.json", "signing-keys.json"}
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "data", made, made.parent / "store")} == {0o700}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["sandbox"]


# ---- exit statuses


def test_invalid_settings_end_with_78_and_commands_that_can_be_pasted(tmp_path: Path) -> None:
    given = {"PROVIDER_API_KEY": "key-4711", "PEPER": "x", "CODE_LENGTH": "9", "REDIS_URL": "mysql://x:4711@h"}
    status, said = _serve(tmp_path, **given)
    assert status == 78
    assert said.startswith("lastdigits: invalid configuration:\n  - LASTDIGITS_PEPER: ")
    assert len(said.splitlines()) == 5
    assert "4711" not in said
    assert re.search(r"`\S+python\S* -m app.cli keys new --id backend", said), said


@pytest.mark.parametrize("name", ["lastdigits", "venv/bin/lastdigits"])
def test_messages_spell_the_command_as_called(command: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    called = Path(name).absolute()
    called.parent.mkdir(parents=True, exist_ok=True)
    called.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(called)])
    if name == "lastdigits":
        monkeypatch.setenv("PATH", str(called.parent))
    assert f"`{name} keys new " in command("doctor", PROVIDER_API_KEY="k").err


@pytest.mark.parametrize(
    ("host", "status"), [("192.0.2.1", 69), ("a" * 64, 78)], ids=["is not of this machine yet", "is no name"]
)
def test_an_address_that_cant_be_listened_on_is_blamed_and_may_pass(host: str, status: int) -> None:
    with pytest.raises(StartError, match=f"^HOST: {host} can't be listened on") as error:
        listen(host, 0, "HOST", "PORT")
    assert error.value.status == status


@pytest.mark.parametrize("options", [("--port", "70000"), ("--host", "я..")])
def test_what_is_no_address_ends_the_simulator_with_78(options: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "app.cli", "simulator", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "--host, --port: " in done.stderr) == (78, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_application_that_fails_at_its_start_ends_with_69(tmp_path: Path, workers: str) -> None:
    broken = "import phonenumbers\nphonenumbers.PhoneMetadata.load_all = None\n"
    (tmp_path / "sitecustomize.py").write_text(broken)  # as where the machine lacks something
    status, said = _serve(tmp_path, PORT="0", SIMULATOR_PORT="0", WORKERS=workers)
    assert (status, "Application startup failed" in said) == (69, True), said


def test_a_simulators_port_that_is_in_use_ends_the_sandbox_with_69(tmp_path: Path, simulator: Simulator) -> None:
    taken = simulator.url.rpartition(":")[2]
    status, said = _serve(tmp_path, PORT="0", SIMULATOR_PORT=taken)
    assert (status, f"LASTDIGITS_SIMULATOR_PORT: {taken} can't" in said) == (69, True), said
    assert "end what listens there" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pepper", b"", "cut short"),
        ("pepper", b"\xff" * 64, "damaged"),
        ("signing-keys.json", b"{", "signing-keys.json"),
        ("sandbox-keys.json", b"[]", "damaged"),
    ],
)
def test_a_damaged_key_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None)
    assert settings.keys
    settings.keys.mkdir(parents=True)
    (settings.keys / name).write_bytes(content)
    with pytest.raises(StartError, match=said) as error:
        sandbox_keys(settings.keys / name) if "sandbox" in name else with_made_keys(settings)
    assert error.value.status == 78


def test_the_version_and_an_unknown_command(command: Command) -> None:
    assert re.fullmatch(r"lastdigits \d+\.\d+\.\d+\n", command("--version").out)
    assert command("unknown").status == 2


# ---- how it ends


def _children(pid: int) -> set[int]:
    command = ["ps", "-e", "-o", "pid=", "-o", "ppid="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = {child for child, parent in pairs if parent == pid}
    return found.union(*(_children(child) for child in found)) if found else found


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def _end(process: Any, ending: int, status: int) -> None:
    """End the service, by SIGINT as a terminal does whose Ctrl-C reaches all of the process group: no process of it stays."""
    children = _children(process.pid)
    assert len(children) >= 2
    group = [pid for pid in children if ending == signal.SIGINT and os.getpgid(pid) == os.getpgid(process.pid)]
    for pid in (process.pid, *group):
        os.kill(pid, ending)
    assert process.wait(30) == status
    until(lambda: not any(map(_alive, children)))


def test_an_old_store_is_rewritten_and_one_that_ends_ends_the_service(tmp_path: Path) -> None:
    store = tmp_path / "data/sandbox"
    with embedded_server(store):
        (base,) = store_directory(store).rglob("*.base.*")
    os.utime(base, (0, 0))
    with _sandbox(tmp_path, WORKERS="2") as (process, *_):
        until(lambda: not base.exists())
        found = subprocess.run(["pgrep", "-P", str(process.pid), "valkey"], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout), signal.SIGKILL)
        assert process.wait(30) == 69
    log = (tmp_path / "log").read_text()
    assert '"store_rewritten"' in log
    assert '"embedded_store_ended"' in log


def test_a_worker_that_is_slow_is_not_replaced(service: Service) -> None:
    pids = service.workers()
    os.kill(pids[0], signal.SIGSTOP)
    time.sleep(8)  # uvicorn's own limit is 5 s, and it may look a second or two later
    os.kill(pids[0], signal.SIGCONT)
    until(lambda: _is_ready(service.url))
    time.sleep(1)
    assert service.workers() == pids


def test_a_worker_that_dies_instead_of_answering_its_supervisor_is_replaced_at_once(service: Service) -> None:
    dead, other = service.workers()
    os.kill(dead, signal.SIGSTOP)
    time.sleep(1.5)  # it is asked meanwhile
    os.kill(dead, signal.SIGKILL)
    begun = time.monotonic()
    until(lambda: len({dead, *service.workers()} - {dead, other}) == 1)
    assert time.monotonic() - begun < WORKER_TIMEOUT / 2


def test_a_call_whose_caller_has_gone_is_stored(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    """Both workers end, and the next ones know what came of it."""
    idempotency = {"Idempotency-Key": "a-call-at-the-end-1234"}

    def hang_up() -> None:
        headers = service.headers() | idempotency
        with contextlib.suppress(httpx.TimeoutException):
            httpx.post(f"{service.url}/verify/start", json={"phone": phone}, headers=headers, timeout=0.3)

    simulator.behave(phone, delay=1)
    with serving(tmp_path, simulator.send_url) as service:
        caller = threading.Thread(target=hang_up)
        caller.start()
        until(lambda: simulator.count(phone) == 1)
        service.process.send_signal(signal.SIGTERM)
        caller.join(10)
        assert service.process.wait(30) == 0
        (placed,) = [line for line in service.lines() if line["event"] == "call"]
        assert placed["outcome"] == "placed"
        keys = service.keys
    with serving(tmp_path, simulator.send_url, keys) as service:
        answer = service.post("/verify/start", {"phone": phone}, headers=idempotency)
        assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (201, "true")
        assert service.check(answer.json()["id"], simulator.code(phone)).status_code == 200
        assert simulator.count(phone) == 1


def test_a_new_pepper_cuts_no_one_off_and_refills_no_limit(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    old, new = "pepper-of-the-tests-0123456789abcdef", "the-next-pepper-of-the-tests-9876543210"
    with serving(tmp_path, simulator.send_url, WORKERS="1", PEPPER=old) as service:
        verification = service.start(phone).json()["id"]
    with serving(tmp_path, simulator.send_url, WORKERS="1", PEPPER=new, PEPPER_PREVIOUS=old) as service:
        assert service.start(phone).json()["code"] == "limit_reached"
        assert service.post("/verify/resend", {"id": verification}).json()["limit"] == "resend_cooldown"
        assert service.post("/verify/resend", {"id": verification}, "other").json()["code"] == "verification_not_found"
        assert service.check(verification, simulator.code(phone)).status_code == 200
    assert simulator.count(phone) == 1

"""`lastdigits serve` as a process: the sandbox, addresses, exit statuses, signals, and the lives of its children."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Command
from tests.harness import ROOT, Service, Simulator, running, serving

SANDBOX = {"LASTDIGITS_PORT": "0", "LASTDIGITS_SIMULATOR_PORT": "0", "LASTDIGITS_LOG_FORMAT": "json"}


def _cli(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=plain | {"PYTHONPATH": str(ROOT)} | {f"LASTDIGITS_{name}": value for name, value in settings.items()},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def _sandbox(directory: Path, **settings: str) -> Iterator[tuple[Any, str, str]]:
    """A running sandbox: its process, what it printed, and its address. It answers."""
    given = SANDBOX | {f"LASTDIGITS_{name}": value for name, value in settings.items()}

    def banner(text: str) -> str | None:
        return text if "Paste this" in text and '"serving"' in text else None

    with running(["serve"], given, directory / "log", banner) as (process, text):
        (address,) = re.findall(r"Service +(\S+)", text)
        _await_ready(address)
        yield process, text, address


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("never ready")


# ---- the sandbox


@pytest.mark.parametrize(
    ("host", "workers", "also"),
    [("LOCALHOST", "2", None), ("::", "1", "[::1]"), ("[::1]", "1", None), ("0.0.0.0", "1", None)],
)
def test_the_sandbox_verifies_a_phone_by_pasting_what_it_prints(
    tmp_path: Path, host: str, workers: str, also: str | None
) -> None:
    with _sandbox(tmp_path, HOST=host, SIMULATOR_HOST=host, WORKERS=workers) as (_, text, address):
        assert "no phone rings, and nothing leaves this machine" in text
        assert [
            line["level"]
            for line in map(json.loads, re.findall(r"^{.*}$", text, re.MULTILINE))
            if line["event"] == "sandbox"
        ] == ["warning"]
        script = text.partition("count.\n")[2].partition("\n{")[0]
        assert '"purpose": "login", "client_ip": "203.0.113.7"' in script
        pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        started, called, approved = pasted.stdout.strip().splitlines()
        assert json.loads(started)["status"] == "pending"
        assert re.fullmatch(r"The last digits of the number that called: \d{4}", called)
        assert json.loads(approved)["status"] == "approved"
        if also:
            assert httpx.get(f"http://{also}:{address.rpartition(':')[2]}/healthz").status_code == 200, ":: takes both"


def test_a_sandbox_keeps_its_keys_and_data_and_leaves_the_live_directories_alone(tmp_path: Path) -> None:
    keys: list[list[str]] = []
    started = ""
    for _ in range(2):
        with _sandbox(tmp_path) as (process, text, address):
            keys.append(re.findall(r"[ps]k_[A-Za-z0-9_-]{43}", text)[:2])
            headers = {"Authorization": f"Bearer {keys[-1][1]}"}
            started = (
                started
                or httpx.post(f"{address}/verify/start", json={"phone": "+79161234567"}, headers=headers).json()["id"]
            )
            assert httpx.get(f"{address}/verify/{started}", headers=headers).json()["status"] == "pending"
            if len(keys) == 1:
                second = _cli("serve", cwd=tmp_path, PORT="0", SIMULATOR_PORT="0")
                assert (second.returncode, f"process {process.pid}" in second.stderr) == (69, True), second.stderr
    assert keys[0] == keys[1]
    made = tmp_path / "data" / "sandbox" / "keys"
    assert {path.name for path in made.iterdir()} == {"pepper", "sandbox-keys.json", "signing-keys.json"}
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "data", made, made.parent / "store")} == {0o700}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["sandbox"]


# ---- exit statuses


def test_invalid_settings_end_with_78_and_commands_that_can_be_pasted(tmp_path: Path) -> None:
    done = _cli(
        "serve", cwd=tmp_path, PROVIDER_API_KEY="key-4711", PEPER="x", CODE_LENGTH="9", REDIS_URL="mysql://x:4711@h"
    )
    assert done.returncode == 78
    assert done.stderr.startswith("lastdigits: invalid configuration:\n  - LASTDIGITS_PEPER: ")
    assert len(done.stderr.splitlines()) == 5
    assert "4711" not in done.stderr
    assert re.search(r"`\S+python\S* -m app.cli keys new --id backend", done.stderr), done.stderr


@pytest.mark.parametrize("name", ["lastdigits", "venv/bin/lastdigits"])
def test_messages_spell_the_command_as_it_was_called(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    called = Path(name).absolute()
    called.parent.mkdir(parents=True, exist_ok=True)
    called.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(called)])
    if name == "lastdigits":
        monkeypatch.setenv("PATH", str(called.parent))
    assert f"`{name} keys new " in command("doctor", PROVIDER_API_KEY="k").err


@pytest.mark.parametrize(
    ("settings", "status", "blamed"),
    [
        ({"HOST": "192.0.2.1"}, 69, "LASTDIGITS_HOST: 192.0.2.1 can't be listened on"),
        ({"SIMULATOR_HOST": "192.0.2.1"}, 69, "LASTDIGITS_SIMULATOR_HOST: 192.0.2.1"),
    ],
)
def test_an_address_that_cant_be_listened_on_is_blamed_and_may_pass(
    tmp_path: Path, settings: dict[str, str], status: int, blamed: str
) -> None:
    done = _cli("serve", cwd=tmp_path, **{"PORT": "0", "SIMULATOR_PORT": "0"} | settings)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert blamed in done.stderr


def test_a_port_in_use_is_blamed_and_may_pass(tmp_path: Path, simulator: Simulator) -> None:
    taken = simulator.url.rpartition(":")[2]
    for name in ("PORT", "SIMULATOR_PORT"):
        done = _cli("serve", cwd=tmp_path, **{"PORT": "0", "SIMULATOR_PORT": "0"} | {name: taken})
        assert (done.returncode, f"LASTDIGITS_{name}: {taken} can't" in done.stderr) == (69, True), done.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pepper", b"", "cut short"),
        ("pepper", b"\xff" * 64, "damaged"),
        ("signing-keys.json", b"{", "signing-keys.json"),
        ("sandbox-keys.json", b"[]", "damaged"),
    ],
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    keys = tmp_path / "data" / "sandbox" / "keys"
    keys.mkdir(parents=True)
    (keys / name).write_bytes(content)
    done = _cli("serve", cwd=tmp_path, PORT="0", SIMULATOR_PORT="0")
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (78, True, False), done.stderr


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


@pytest.mark.parametrize(
    ("ending", "status", "workers"),
    [(signal.SIGTERM, 0, "2"), (signal.SIGINT, 0, "1"), (signal.SIGKILL, -9, "1"), (signal.SIGKILL, -9, "2")],
)
def test_however_it_ends_no_process_stays_and_the_store_opens_again(
    tmp_path: Path, ending: int, status: int, workers: str
) -> None:
    with _sandbox(tmp_path, WORKERS=workers) as (process, *_):
        children = _children(process.pid)
        assert len(children) >= 2
        process.send_signal(ending)
        assert process.wait(30) == status
    deadline = time.monotonic() + 10
    while any(_alive(child) for child in children):
        assert time.monotonic() < deadline, "a child outlived the service"
        time.sleep(0.05)
    assert "Traceback" not in (tmp_path / "log").read_text()
    if ending == signal.SIGKILL:
        with _sandbox(tmp_path):
            pass


def test_ctrl_c_in_a_terminal_ends_all_without_a_traceback(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "LASTDIGITS_WORKERS": "2"} | SANDBOX,
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 30
        # A worker that is still importing is no process of ours yet: Python itself answers its Ctrl-C.
        while (tmp_path / "log").read_text().count("Application startup complete") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(5)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_ends_takes_the_service_with_it_to_be_started_again(tmp_path: Path, workers: str) -> None:
    with _sandbox(tmp_path, WORKERS=workers) as (process, *_):
        found = subprocess.run(["pgrep", "-P", str(process.pid), "valkey"], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout), signal.SIGKILL)
        assert process.wait(30) == 69
    assert '"embedded_store_ended"' in (tmp_path / "log").read_text()


def test_a_store_that_is_old_at_the_start_is_rewritten(tmp_path: Path) -> None:
    with _sandbox(tmp_path):
        pass
    (base,) = (tmp_path / "data/sandbox/store/appendonlydir").glob("*.base.*")
    os.utime(base, (0, 0))
    with _sandbox(tmp_path):
        deadline = time.monotonic() + 10
        while base.exists():
            assert time.monotonic() < deadline, "the old file stays"
            time.sleep(0.05)
    assert '"store_rewritten"' in (tmp_path / "log").read_text()


def test_a_worker_that_is_slow_is_not_replaced(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url) as service:
        pids = service.workers()
        os.kill(pids[0], signal.SIGSTOP)
        time.sleep(6.5)  # uvicorn's own limit is 5 s
        os.kill(pids[0], signal.SIGCONT)
        _await_ready(service.url)
        time.sleep(1)
        assert service.workers() == pids


def test_a_log_that_cant_be_written_costs_no_call_its_code_and_a_call_is_finished_before_the_end(
    tmp_path: Path, simulator: Simulator, phone: str, phones: Any
) -> None:
    with serving(tmp_path, simulator.send_url, WORKERS="1") as service:
        # The log's file may not grow: each write to it fails from now on.
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, 1))
        started = service.start(phone)
        assert started.status_code == 201, started.text
        assert service.check(started.json()["id"], simulator.code(phone)).status_code == 200
        slow = phones()
        simulator.behave(slow, delay=0.8)
        answers: list[httpx.Response] = []
        starting = threading.Thread(target=lambda: answers.append(service.start(slow)))
        starting.start()
        while simulator.count(slow) == 0:
            time.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        starting.join(10)
        assert answers[0].status_code == 201
        assert service.process.wait(30) == 0


def test_a_call_whose_caller_has_gone_is_stored_before_the_end(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    """Both workers end, and the next ones know what came of it."""
    request: dict[str, Any] = {"json": {"phone": phone}, "headers": {"Idempotency-Key": "a-call-at-the-end-1234"}}
    simulator.behave(phone, delay=1)
    with serving(tmp_path, simulator.send_url) as service:
        caller = threading.Thread(target=_give_up, args=(service, request))
        caller.start()
        while simulator.count(phone) == 0:
            time.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        caller.join(10)
        assert service.process.wait(30) == 0
        (placed,) = [line for line in service.lines() if line["event"] == "call"]
        assert placed["outcome"] == "placed"
        keys = service.keys
    with serving(tmp_path, simulator.send_url, keys) as service:
        answer = service.post("/verify/start", request["json"], headers=request["headers"])
        assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (201, "true")
        assert service.check(answer.json()["id"], simulator.code(phone)).status_code == 200
        assert simulator.count(phone) == 1


def _give_up(service: Service, request: dict[str, Any]) -> None:
    """Send a request, and hang up before its answer."""
    headers = service.headers() | request["headers"]
    with contextlib.suppress(httpx.TimeoutException):
        httpx.post(f"{service.url}/verify/start", json=request["json"], headers=headers, timeout=0.3)


def test_a_rotation_of_the_pepper_cuts_off_no_verification_and_refills_no_limit(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    old, new = "pepper-of-the-tests-0123456789abcdef", "the-next-pepper-of-the-tests-9876543210"
    with serving(tmp_path, simulator.send_url, WORKERS="1", PEPPER=old) as service:
        verification = service.start(phone).json()["id"]
    with serving(tmp_path, simulator.send_url, WORKERS="1", PEPPER=new, PEPPER_PREVIOUS=old) as service:
        assert service.start(phone).json()["code"] == "limit_reached"
        assert service.post("/verify/resend", {"id": verification}).json()["limit"] == "resend_cooldown"
        assert service.post("/verify/resend", {"id": verification}, "other").json()["code"] == "verification_not_found"
        assert service.check(verification, simulator.code(phone)).status_code == 200
    assert simulator.count(phone) == 1

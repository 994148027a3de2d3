"""`lastdigits serve` as a process: sandbox, signals, bad settings, the embedded store's life."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import ROOT, Service, Simulator, running, serving


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")} | {
        "PYTHONPATH": str(ROOT)
    }


def _cli(*arguments: str, cwd: Path, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=_plain() | {f"LASTDIGITS_{name}": value for name, value in settings.items()},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _banner(text: str) -> str | None:
    return text if "Paste this" in text and '"serving"' in text else None


SANDBOX = {"LASTDIGITS_PORT": "0", "LASTDIGITS_SIMULATOR_PORT": "0", "LASTDIGITS_LOG_FORMAT": "json"}


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("never ready")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_sandbox_verifies_a_phone_by_pasting_what_it_prints(tmp_path: Path, workers: str) -> None:
    with running(["serve"], SANDBOX | {"LASTDIGITS_WORKERS": workers}, tmp_path / "log", _banner) as (_, text):
        assert "no phone rings, and nothing leaves this machine" in text
        address = re.search(r"Service +(\S+)", text)
        assert address
        _await_ready(address[1])
        script = text.partition("start to end:")[2].partition("\n{")[0]
        pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        started, called, approved = pasted.stdout.strip().splitlines()
        assert json.loads(started)["status"] == "pending"
        assert re.fullmatch(r"The last digits of the number that called: \d{4}", called)
        assert json.loads(approved)["status"] == "approved"


def test_the_sandboxs_keys_and_data_survive_a_restart(tmp_path: Path) -> None:
    keys: list[list[str]] = []
    ids: list[str] = []
    for _ in range(2):
        with running(["serve"], SANDBOX, tmp_path / "log", _banner) as (_, text):
            keys.append(re.findall(r"[ps]k_[A-Za-z0-9_-]+", text)[:2])
            address = re.search(r"Service +(\S+)", text)
            assert address
            _await_ready(address[1])
            headers = {"Authorization": f"Bearer {keys[-1][1]}"}
            if not ids:
                started = httpx.post(f"{address[1]}/verify/start", json={"phone": "+79161234567"}, headers=headers)
                ids.append(started.json()["id"])
            state = httpx.get(f"{address[1]}/verify/{ids[0]}", headers=headers)
            assert state.json()["status"] == "pending"
    assert keys[0] == keys[1]
    modes = {name: (tmp_path / "data" / name).stat().st_mode & 0o777 for name in ("pepper", "sandbox-keys.json")}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_settings_that_cant_stand_are_told_in_one_list_and_exit_78(tmp_path: Path) -> None:
    done = _cli(
        "serve",
        cwd=tmp_path,
        PROVIDER_API_KEY="key-4711",
        PEPER="x",
        CODE_LENGTH="9",
        PORT="99999",
        REDIS_URL="mysql://x",
        RESEND_COOLDOWNS="60,30",
    )
    assert done.returncode == 78
    for named in (
        "PEPER",
        "PEPPER?",
        "CODE_LENGTH",
        "PORT",
        "REDIS_URL",
        "CLIENTS_FILE",
        "RESEND_COOLDOWNS",
        "keys new",
    ):
        assert named in done.stderr
    assert "key-4711" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told_with_the_mend(tmp_path: Path, service: Service) -> None:
    done = _cli("serve", cwd=tmp_path, PORT=service.url.rpartition(":")[2], SIMULATOR_PORT="0")
    assert done.returncode == 78
    assert "LASTDIGITS_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_service_owns_an_embedded_store(tmp_path: Path) -> None:
    with running(["serve"], SANDBOX, tmp_path / "log", _banner) as (process, _):
        second = _cli("serve", cwd=tmp_path, PORT="0", SIMULATOR_PORT="0")
        assert second.returncode == 78
        assert f"process {process.pid}" in second.stderr


def _children(pid: int) -> set[int]:
    listing = subprocess.run(
        ["ps", "-e", "-o", "pid=", "-o", "ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = {child for child, parent in pairs if parent == pid}
    return found.union(*(_children(child) for child in found)) if found else found


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_however_it_ends_no_process_stays_and_the_store_opens_again(
    tmp_path: Path, ending: int, status: int, workers: str
) -> None:
    settings = SANDBOX | {"LASTDIGITS_WORKERS": workers}
    with running(["serve"], settings, tmp_path / "log", _banner) as (process, text):
        address = re.search(r"Service +(\S+)", text)
        assert address
        _await_ready(address[1])
        children = _children(process.pid)
        assert len(children) >= 2
        process.send_signal(ending)
        assert process.wait(30) == status
    deadline = time.monotonic() + 10
    while any(_alive(child) for child in children):
        assert time.monotonic() < deadline, "a child outlived the service"
        time.sleep(0.05)
    assert "Traceback" not in (tmp_path / "log").read_text()
    with running(["serve"], settings, tmp_path / "log", _banner) as (_, text):
        address = re.search(r"Service +(\S+)", text)
        assert address
        _await_ready(address[1])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_in_a_terminal_ends_all_without_a_traceback(tmp_path: Path, workers: str) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            env=_plain() | SANDBOX | {"LASTDIGITS_WORKERS": workers},
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 30
        # A worker that is still importing is no process of ours yet: Python itself answers its Ctrl-C.
        while (tmp_path / "log").read_text().count("Application startup complete") < int(workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(5)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_ends_takes_the_service_with_it_to_be_started_anew(tmp_path: Path, workers: str) -> None:
    with running(["serve"], SANDBOX | {"LASTDIGITS_WORKERS": workers}, tmp_path / "log", _banner) as (process, text):
        address = re.search(r"Service +(\S+)", text)
        assert address
        _await_ready(address[1])
        os.kill(
            int(
                subprocess.run(
                    ["pgrep", "-P", str(process.pid), "valkey"], capture_output=True, text=True, check=True
                ).stdout
            ),
            9,
        )
        assert process.wait(30) == 69
    assert '"embedded_store_ended"' in (tmp_path / "log").read_text()


def test_a_pepper_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pepper").write_text("")
    done = _cli("serve", cwd=tmp_path, PORT="0", SIMULATOR_PORT="0")
    assert done.returncode == 78
    assert "cut short" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["LOCALHOST", "::1", "0.0.0.0"])
def test_the_sandbox_starts_on_any_address(tmp_path: Path, host: str) -> None:
    settings = SANDBOX | {"LASTDIGITS_HOST": host, "LASTDIGITS_SIMULATOR_HOST": host}
    with running(["serve"], settings, tmp_path / "log", _banner) as (_, text):
        address = re.search(r"Service +(\S+)", text)
        assert address
        _await_ready(address[1])
        script = text.partition("start to end:")[2].partition("\n{")[0]
        pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(pasted.stdout.strip().splitlines()[-1])["status"] == "approved", pasted


def test_a_log_that_cant_be_written_costs_no_call_its_code(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    with serving(tmp_path, simulator.send_url, WORKERS="1") as service:
        # The log's file may not grow: each write to it fails from now on.
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, 1))
        started = service.start(phone)
        assert started.status_code == 201, started.text
        assert service.check(started.json()["id"], simulator.code(phone)).status_code == 200


def test_a_call_under_way_is_finished_before_the_service_ends(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, delay=0.8)
    with serving(tmp_path, simulator.send_url, WORKERS="1") as service:
        answers: list[httpx.Response] = []
        starting = threading.Thread(target=lambda: answers.append(service.start(phone)))
        starting.start()
        while simulator.count(phone) == 0:
            time.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        starting.join(10)
        assert answers[0].status_code == 201
        assert service.process.wait(30) == 0


def test_keys_are_shown_once_and_only_their_digest_is_kept(tmp_path: Path) -> None:
    made = _cli("keys", "new", "--id", "shop", "--kind", "public", "--origin", "https://shop.example", cwd=tmp_path)
    assert made.returncode == 0
    key = made.stderr.strip().splitlines()[-1]
    assert re.fullmatch(r"pk_[A-Za-z0-9_-]{43}", key)
    assert key not in made.stdout
    (tmp_path / "clients.toml").write_text(made.stdout)
    assert _cli("keys", "check", "clients.toml", cwd=tmp_path).stdout.strip() == "clients.toml: 1 clients"
    whose = _cli("keys", "check", "clients.toml", "--key-stdin", cwd=tmp_path, stdin=key)
    assert whose.stdout.strip() == "public key of client shop"
    assert _cli("keys", "check", "clients.toml", "--key-stdin", cwd=tmp_path, stdin="pk_other").returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--id", "a b", "--kind", "secret"),
        ("--id", "web", "--kind", "public"),
        ("--id", "web", "--kind", "public", "--origin", "https://*.example"),
        ("--id", "web", "--kind", "public", "--origin", "https://shop.example/"),
        ("--id", "api", "--kind", "secret", "--origin", "https://shop.example"),
    ],
)
def test_a_key_that_would_be_unsafe_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    made = _cli("keys", "new", *arguments, cwd=tmp_path)
    assert made.returncode == 2
    assert made.stdout == ""
    assert made.stderr.startswith("lastdigits: --")


def test_the_doctor_finds_all_well_and_what_is_not(tmp_path: Path, simulator: Simulator, service: Service) -> None:
    well = _cli("doctor", cwd=tmp_path)
    assert well.returncode == 0, well.stdout + well.stderr
    assert "sandbox" in well.stdout
    given: dict[str, Any] = service.settings | {
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "PROVIDER_URL": "http://127.0.0.1:9/",
    }
    ill = _cli("doctor", cwd=tmp_path, **given)
    assert ill.returncode == 1
    assert ill.stdout.count("FAIL") == 2
    good = _cli("doctor", cwd=tmp_path, **service.settings)
    assert good.returncode == 0, good.stdout
    assert "reachable" in good.stdout


def test_codes_that_are_longer_than_the_setting_says_are_warned_of(tmp_path: Path) -> None:
    with running(["serve"], SANDBOX | {"LASTDIGITS_MAX_ATTEMPTS": "5"}, tmp_path / "log", _banner) as (_, text):
        assert "LASTDIGITS_CODE_LENGTH is 4, but codes have 5 digits from the start" in text


def test_a_rotation_of_the_pepper_cuts_off_no_verification_and_refills_no_limit(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    old, new = "pepper-of-the-tests-0123456789abcdef", "the-next-pepper-of-the-tests-9876543210"
    with serving(tmp_path, simulator.send_url, WORKERS="1", PEPPER=old) as service:
        verification = service.start(phone).json()["id"]
    with serving(tmp_path, simulator.send_url, WORKERS="1", PEPPER=new, PEPPER_PREVIOUS=old) as service:
        assert service.start(phone).json()["code"] == "limit_reached"
        assert service.post("/verify/resend", {"id": verification}).json()["code"] == "expired"
        assert service.post("/verify/resend", {"id": verification}, "other").json()["code"] == "verification_not_found"
        assert service.check(verification, simulator.code(phone)).status_code == 200
    assert simulator.count(phone) == 1

"""SIGHUP: clients and signing keys change in all workers without a restart; an invalid file changes nothing."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from structlog.testing import capture_logs

from app.api.clients import Kind, clients_entry, new_key
from app.reloading import read_again
from app.settings import load_settings
from app.verification.signing_keys import new_signing_key, parse_signing_keys, write_signing_keys
from tests.e2e.conftest import until
from tests.exposition import scrape, series
from tests.harness import MAX_START, Service, Simulator, clients_toml, environment, fresh_phone, serving


def _reload(service: Service, workers: int = 2, *, event: str = "reloaded") -> None:
    """Send SIGHUP and wait until every process that answers requests has read the files. Before a worker has started, SIGHUP ends it."""
    until(lambda: len(_events(service, "Application startup complete.")) >= len(service.workers()))
    before = len(_events(service, event))
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: len(_events(service, event)) >= before + workers)


def _events(service: Service, name: str) -> list[dict[str, object]]:
    return [line for line in service.lines() if line["event"] == name]


def _statuses(service: Service, key: str) -> set[int]:
    """What a key is answered by every worker: many connections, each a new one."""
    headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
    return {service.http.get("/verify/vrf_x", headers=headers).status_code for _ in range(20)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """Two workers, whose files the tests change."""
    with serving(tmp_path_factory.mktemp("pair"), simulator.send_url) as service:
        yield service


def test_clients_change_where_one_process_does_all(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    with serving(tmp_path, simulator.send_url, WORKERS="1") as service:
        file = service.directory / "clients.toml"
        verification = service.start(phone).json()["id"]
        fresh = new_key(Kind.SECRET)
        assert _statuses(service, fresh) == {401}
        file.write_text(file.read_text() + "\n" + clients_entry("backend", Kind.SECRET, fresh))
        _reload(service, 1)
        assert [line["files"] for line in _events(service, "reloaded")] == [["clients", "signing_keys"]]
        assert _statuses(service, fresh) == {404}
        assert _statuses(service, service.keys["backend"]) == {404}, "two keys of a client while it is rotated"

        old, service.keys["backend"] = service.keys["backend"], fresh
        file.write_text(clients_toml(service.keys))
        _reload(service, 1)
        assert _statuses(service, old) == {401}
        assert service.check(verification, simulator.code(phone)).status_code == 200


def test_signing_keys_rotate_without_a_gap(pair: Service, simulator: Simulator) -> None:
    file = pair.directory / "signing-keys.json"
    (old,) = parse_signing_keys(file.read_text())
    new = new_signing_key("EdDSA")

    def token() -> str:
        phone = fresh_phone()
        verification = pair.start(phone).json()["id"]
        return str(pair.check(verification, simulator.code(phone)).json()["token"])

    before = token()
    assert jwt.get_unverified_header(before)["kid"] == old.kid
    for keys in ((old, new), (new, old)):
        file.write_text(write_signing_keys(keys))
        _reload(pair)
        published = pair.http.get("/.well-known/jwks.json").json()["keys"]
        assert [key["kid"] for key in published] == [key.kid for key in keys]
        assert jwt.get_unverified_header(token())["kid"] == keys[0].kid
    assert pair.post("/verify/redeem", {"token": before}).status_code == 200, "tokens of the old key are still valid"
    assert new.private_jwk()["d"] not in pair.log.read_text()


def test_clients_change_in_all_workers_but_not_by_invalid_files(pair: Service, simulator: Simulator) -> None:
    old, pair.keys["backend"] = pair.keys["backend"], new_key(Kind.SECRET)
    pids = pair.workers()
    (pair.directory / "clients.toml").write_text(clients_toml(pair.keys))
    _reload(pair)
    assert (_statuses(pair, old), _statuses(pair, pair.keys["backend"])) == ({401}, {404})
    assert pair.workers() == pids, "none was restarted"
    reloaded = len(_events(pair, "reloaded"))
    files = {
        pair.directory / name: (pair.directory / name).read_text() for name in ("clients.toml", "signing-keys.json")
    }
    for file in files:
        file.write_text("broken")
    _reload(pair, 3, event="signing_keys_not_reloaded")  # the supervisor reads them too
    assert len(_events(pair, "clients_not_reloaded")) == 3
    assert len(_events(pair, "reloaded")) == reloaded, "what failed is not also reported as done"
    started = len(_events(pair, "Application startup complete."))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(_events(pair, "Application startup complete.")) >= started + 2)
    assert _statuses(pair, old) == {401}, "a key that was withdrawn stays withdrawn"
    assert _statuses(pair, pair.keys["backend"]) == {404}
    phone = fresh_phone()
    begun = pair.start(phone)
    assert begun.status_code == 201
    assert pair.check(begun.json()["id"], simulator.code(phone)).json()["token"]
    refused = {series("lastdigits_last_reload_successful", file=name): 0.0 for name in ("clients", "signing_keys")}
    assert refused.items() <= scrape(pair.url).items()
    for file, text in files.items():
        file.write_text(text)
    _reload(pair)
    assert dict.fromkeys(refused, 1.0).items() <= scrape(pair.url).items()


# ---- a terminal

IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "app.cli", "serve"])
"""


def _wait_for(terminal: int, text: bytes, count: int) -> None:
    shown = b""
    while shown.count(text) < count:
        assert select.select([terminal], [], [], MAX_START)[0], shown
        shown += os.read(terminal, 65536)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_reloads_a_service_that_has_its_terminal_and_ends_one_that_lost_it(
    tmp_path: Path, workers: int
) -> None:
    terminal, its_end = os.openpty()
    settings = {"PORT": "0", "SIMULATOR_PORT": "0", "LOG_FORMAT": "json", "WORKERS": str(workers)}
    environ = environment({f"LASTDIGITS_{name}": value for name, value in settings.items()})
    command = [sys.executable, "-c", IN_A_TERMINAL]
    process = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=its_end)
    try:
        os.close(its_end)
        _wait_for(terminal, b"Application startup complete", workers)
        process.send_signal(signal.SIGHUP)
        _wait_for(terminal, b'"reloaded"', workers)
        os.close(terminal)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


# ---- invalid files

NO_CALL_FOR_STRANGERS = clients_entry("a", Kind.PUBLIC, new_key(Kind.PUBLIC), native=True, calls="1/day")
BROKEN: dict[str, tuple[str | None, ...]] = {
    "clients": ("[[client", '[[client]]\nid = "x"\n', "", "a = " + "9" * 5000, NO_CALL_FOR_STRANGERS, None),
    "signing_keys": ('{"keys": [{"kty": ["EC"]}]}', "{", '{"keys": []}', "{}", None),
}


@pytest.mark.parametrize(("kind", "broken"), [(kind, text) for kind, texts in BROKEN.items() for text in texts])
def test_an_invalid_file_changes_nothing_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, broken: str | None
) -> None:
    (tmp_path / "clients").write_text(clients_entry("a", Kind.SECRET, new_key(Kind.SECRET)))
    (tmp_path / "signing_keys").write_text(write_signing_keys((new_signing_key(),)))
    monkeypatch.setenv("LASTDIGITS_SANDBOX", "true")
    monkeypatch.setenv("LASTDIGITS_CLIENTS_FILE", str(tmp_path / "clients"))
    monkeypatch.setenv("LASTDIGITS_SIGNING_KEYS_FILE", str(tmp_path / "signing_keys"))
    settings = load_settings(None)
    (tmp_path / kind).unlink()
    if broken is not None:
        (tmp_path / kind).write_text(broken)
    with capture_logs() as logs:
        after = read_again(settings)
    (line,) = logs
    assert (line["event"], line["log_level"]) == (f"{kind}_not_reloaded", "error")
    assert str(tmp_path / kind) in line["detail"]
    assert getattr(after, kind) is getattr(settings, kind)

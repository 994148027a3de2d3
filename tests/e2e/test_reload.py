"""SIGHUP: clients and signing keys change in all workers without a restart; a file that can't stand changes nothing."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import jwt
import pytest

from app.api.clients import Kind, clients_entry, new_key
from app.verification.signing_keys import new_signing_key, parse_signing_keys, write_signing_keys
from tests.harness import Service, Simulator, clients_toml, fresh_phone, serving


def _reload(service: Service, workers: int) -> None:
    """Send SIGHUP and wait until every process that answers requests has read the files."""
    before = len(_events(service, "reloaded"))
    os.kill(service.process.pid, signal.SIGHUP)
    _until(lambda: len(_events(service, "reloaded")) == before + workers)


def _events(service: Service, name: str) -> list[dict[str, object]]:
    return [line for line in service.lines() if line["event"] == name]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def _statuses(service: Service, key: str) -> set[int]:
    """What a key is answered by every worker: many connections, each anew."""
    headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
    return {service.http.get("/verify/vrf_x", headers=headers).status_code for _ in range(20)}


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_change_in_all_workers_and_requests_go_on(tmp_path: Path, simulator: Simulator, workers: int) -> None:
    with serving(tmp_path, simulator.send_url, WORKERS=str(workers)) as service:
        file = tmp_path / "clients.toml"
        pids = service.workers()
        phone = fresh_phone()
        verification = service.start(phone).json()["id"]
        fresh = new_key(Kind.SECRET)
        assert _statuses(service, fresh) == {401}
        file.write_text(file.read_text() + "\n" + clients_entry("backend", Kind.SECRET, fresh))
        _reload(service, workers)
        assert _statuses(service, fresh) == {404}
        assert _statuses(service, service.keys["backend"]) == {404}, "two keys of a client while it is rotated"

        old = service.keys["backend"]
        service.keys["backend"] = fresh
        file.write_text(clients_toml(service.keys))
        _reload(service, workers)
        assert _statuses(service, old) == {401}
        assert service.check(verification, simulator.code(phone)).status_code == 200, "what was begun goes on"
        assert service.workers() == pids, "nobody was restarted"


@pytest.mark.parametrize("broken", ["[[client", '[[client]]\nid = "x"\n', "", "a = " + "9" * 5000, None])
def test_a_broken_file_keeps_the_old_clients_and_says_so(
    tmp_path: Path, simulator: Simulator, broken: str | None
) -> None:
    with serving(tmp_path, simulator.send_url) as service:
        file = tmp_path / "clients.toml"
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        _reload(service, 2)
        assert _statuses(service, service.keys["backend"]) == {404}
        complaints = _events(service, "clients_not_reloaded")
        assert complaints
        assert all("clients.toml" in str(line["detail"]) and line["level"] == "error" for line in complaints)
        file.write_text(clients_toml(service.keys | {"backend": new_key(Kind.SECRET)}))
        _reload(service, 2)
        assert _statuses(service, service.keys["backend"]) == {401}


def test_a_worker_that_comes_later_knows_what_was_reloaded(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url) as service:
        old, service.keys["backend"] = service.keys["backend"], new_key(Kind.SECRET)
        (tmp_path / "clients.toml").write_text(clients_toml(service.keys))
        _reload(service, 2)
        (tmp_path / "clients.toml").write_text("broken")
        pids = service.workers()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        _until(lambda: len(set(service.workers()) - set(pids)) == 2)
        _until(lambda: _answers(service))
        assert _statuses(service, old) == {401}, "a key that was withdrawn stays withdrawn"
        assert _statuses(service, service.keys["backend"]) == {404}


def _answers(service: Service) -> bool:
    try:
        return service.http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_signing_keys_rotate_without_a_gap(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url) as service:
        file = tmp_path / "signing-keys.json"
        (old,) = parse_signing_keys(file.read_text())
        new = new_signing_key("EdDSA")

        def token() -> str:
            phone = fresh_phone()
            verification = service.start(phone).json()["id"]
            return str(service.check(verification, simulator.code(phone)).json()["token"])

        def kids() -> list[str]:
            return [key["kid"] for key in service.http.get("/.well-known/jwks.json").json()["keys"]]

        before = token()
        assert jwt.get_unverified_header(before)["kid"] == old.kid
        for keys in ((old, new), (new, old)):
            file.write_text(write_signing_keys(keys))
            _reload(service, 2)
            assert kids() == [key.kid for key in keys]
            assert jwt.get_unverified_header(token())["kid"] == keys[0].kid
        assert service.post("/verify/redeem", {"token": before}).status_code == 200, (
            "proofs of the old key are still good"
        )
        file.write_text("{}")
        _reload(service, 2)
        assert kids() == [new.kid, old.kid]
        assert all("signing-keys.json" in str(line["detail"]) for line in _events(service, "signing_keys_not_reloaded"))
        assert new.private_jwk()["d"] not in service.log.read_text()


@pytest.mark.parametrize("broken", ['{"keys": [{"kty": ["EC"]}]}', "{", '{"keys": []}'])
def test_broken_signing_keys_keep_the_old_ones_in_every_process(
    tmp_path: Path, simulator: Simulator, broken: str
) -> None:
    with serving(tmp_path, simulator.send_url) as service:
        (tmp_path / "signing-keys.json").write_text(broken)
        _reload(service, 2)
        assert len(_events(service, "signing_keys_not_reloaded")) >= 2
        phone = fresh_phone()
        begun = service.start(phone)
        assert begun.status_code == 201, "the store is there, and nobody has ended"
        assert service.check(begun.json()["id"], simulator.code(phone)).json()["token"]

"""`lastdigits doctor`: it says what it read, changes nothing, and distinguishes one kind of error from another."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from app.api.clients import Kind, clients_entry, new_key
from app.processes import StartError, kept, ownership, usable
from app.store.embedded import embedded_server, socket_of
from app.verification.signing_keys import new_signing_key, write_signing_keys
from tests.e2e.conftest import Command
from tests.harness import PROVIDER_KEY, Simulator


@pytest.fixture
def doctor(command: Command, simulator: Simulator, tmp_path: Path) -> Command:
    """Examine a deployment with a provider and an embedded store that is not running."""
    (tmp_path / "clients.toml").write_text(clients_entry("a", Kind.SECRET, new_key(Kind.SECRET)))
    live = {"PROVIDER_URL": simulator.send_url, "PROVIDER_API_KEY": PROVIDER_KEY, "CLIENTS_FILE": "clients.toml"}
    return lambda *arguments, **settings: command("doctor", *arguments, **live | settings)


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_it_says_where_settings_come_from_and_the_mode_and_writes_nothing(command: Command, tmp_path: Path) -> None:
    Path(".env").write_text("LASTDIGITS_WORKERS=2\n")
    done = command("doctor", CODE_LENGTH="5")
    assert done.status == 0, done.out + done.err
    assert "environment: LASTDIGITS_CODE_LENGTH\n" in done.out
    assert f"{tmp_path}/.env: LASTDIGITS_WORKERS\n" in done.out
    assert "SANDBOX" in done.out
    assert [path.name for path in tmp_path.iterdir()] == [".env"], "not even a directory is made"


def test_invalid_settings_are_listed_after_where_they_were_read(command: Command, tmp_path: Path) -> None:
    done = command("doctor", CODE_LENGTH="9", PROVIDER_API_KEY="key-4711")
    assert done.status == 78
    assert "environment: LASTDIGITS_CODE_LENGTH, LASTDIGITS_PROVIDER_API_KEY\n" in done.out
    assert "LASTDIGITS_CODE_LENGTH: it should be less than or equal to 6" in done.err
    assert "key-4711" not in done.out + done.err


def test_a_running_store_and_a_reachable_provider_are_good(doctor: Command, tmp_path: Path) -> None:
    with embedded_server(tmp_path / "data"):
        done = doctor()
    assert done.status == 0, done.out
    assert "real calls" in done.out
    assert "the provider can be reached" in done.out
    assert "Redis and this machine are 0.0 s apart" in done.out
    assert "spend per hour: 0 public and 0 trusted of 100" in done.out


def test_what_cant_be_reached_is_said_of_each_and_shows_no_url(doctor: Command) -> None:
    Path("keys.json").write_text(write_signing_keys((new_signing_key(),)))
    closed = _closed_port()
    own = {"SIGNING_KEYS_FILE": "keys.json", "PEPPER": "pepper-of-the-tests-0123456789abcdef"}
    away = {
        "REDIS_URL": f"redis://:pass-4711@127.0.0.1:{closed}/0",
        "PROVIDER_URL": f"http://127.0.0.1:{closed}/key-4711",
    }
    done = doctor(**own, **away, PROVIDER_PROXY=f"http://me:pw-4711@127.0.0.1:{closed}")
    assert done.status == 1
    assert done.out.count("FAIL") == 2
    assert "the proxy can't be reached" in done.out
    assert "4711" not in done.out


@pytest.fixture
def not_root(command: Command) -> Iterator[None]:
    """An empty directory in which this process may write, and may read only what is its own: not as root, which may do all."""
    command("doctor")  # what is imported later can't be read by another user, perhaps
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o777)
        os.chdir(directory)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield
        if root:
            os.seteuid(0)
        for path in Path(directory).iterdir():
            path.chmod(0o700)
        os.chdir("/")


def test_what_may_not_be_used_is_said_with_its_owner_and_no_traceback(not_root: None, command: Command) -> None:
    Path("data/sandbox").mkdir(parents=True)
    Path("data").chmod(0)
    done = command("doctor")
    assert (done.status, done.out.count("FAIL"), done.out.count("data belongs to ")) == (1, 2, 2), done
    assert "REDIS_URL" not in done.out
    refused = r"Permission denied\): .*data belongs to"
    with pytest.raises(StartError, match=refused) as error, embedded_server(Path("data/sandbox")):
        pass
    assert error.value.status == 78
    with pytest.raises(StartError, match=refused):
        kept(Path("data/sandbox/keys/pepper"), lambda: "x")
    Path(".env").write_text("LASTDIGITS_PORT=1")
    Path(".env").chmod(0)
    done = command("doctor")
    assert done.status == 78
    assert ".env: it can't be read (Permission denied): check its owner and mode" in done.err


def test_a_kept_text_ends_where_an_editor_adds_a_line_break_and_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("kept\n")
    assert kept(tmp_path / "pepper", lambda: "made") == "kept"
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    assert not usable(link)
    assert ownership(link).startswith(f"{link} belongs to ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory to another user")
def test_anothers_directory_is_not_usable_and_its_owner_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert usable(data)
    os.chown(data, 4711, 4711)
    assert not usable(data)
    assert ownership(data / "store").startswith(f"{data} belongs to user 4711, this process runs as ")


# ---- --call


def test_one_real_call_is_placed_and_its_code_is_not_shown(doctor: Command, simulator: Simulator, phone: str) -> None:
    done = doctor("--call", phone, "--yes")
    assert (done.status, simulator.count(phone)) == (0, 1), done.err
    assert done.out.startswith(f"Placed: {phone} rings now. Price: ")
    assert simulator.code(phone) not in done.out.replace(phone, "")


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [({"answer": "error", "error_code": "low_balance"}, "Refused"), ({"close": "before_read"}, "Unknown")],
)
def test_a_call_that_does_not_ring_is_said(
    doctor: Command, simulator: Simulator, phone: str, behaviour: dict[str, str], said: str
) -> None:
    simulator.behave(phone, **behaviour)
    done = doctor("--call", phone, "--yes")
    assert (done.status, done.out.partition(",")[0]) == (1, said), done


@pytest.mark.parametrize("typed", ["", "n"])
def test_a_person_is_asked_before(doctor: Command, monkeypatch: pytest.MonkeyPatch, phone: str, typed: str) -> None:
    assert "--yes" in doctor("--call", phone).err, "no one is there to ask"
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: typed)
    done = doctor("--call", phone)
    assert (done.status, done.out) == (1, "")


@pytest.mark.parametrize("typed", ["12", "+442071838750"])
def test_a_number_that_is_not_called_is_refused(doctor: Command, typed: str) -> None:
    assert doctor("--call", typed, "--yes").status == 2


def test_a_sandbox_and_a_test_number_are_not_called(command: Command, doctor: Command, phone: str) -> None:
    assert "sandbox" in command("doctor", "--call", phone, "--yes").err
    assert "TEST_NUMBERS" in doctor("--call", phone, "--yes", TEST_NUMBERS=f"{phone}=0000").err


# ---- --forget-codes


def test_samples_of_codes_are_forgotten_whether_the_store_runs_or_not(doctor: Command, tmp_path: Path) -> None:
    store = Redis(unix_socket_path=str(socket_of(tmp_path / "data")))
    with embedded_server(tmp_path / "data"), store:
        store.mset({"{lastdigits}:codes:4": "a", "{lastdigits}:codes:6": "b", "{lastdigits}:calls": "c"})
        assert doctor("--forget-codes").out.startswith("Removed 2 samples")
        store.set("{lastdigits}:codes:5", "a")
    assert doctor("--forget-codes").out.startswith("Removed 1 samples")
    with embedded_server(tmp_path / "data"), store:
        assert store.keys() == [b"{lastdigits}:calls"]

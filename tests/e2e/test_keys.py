"""`lastdigits keys`: clients' keys are shown once, signing keys never, and no step loses a file."""

import io
import json
import os
import re
from pathlib import Path

import pytest

from app.api.clients import load_clients
from app.processes import write_private
from app.verification.signing_keys import new_signing_key, parse_signing_keys, write_signing_keys
from tests.e2e.conftest import Command

PAGE = [
    "--origin", "https://shop.example", "--native", "--return-url", "https://shop.example/verified?a=b",
    "--audience", "shop", "--spend", "9.5/day", "--calls", "5/minute, 100/day",
]  # fmt: skip


def test_a_made_client_is_in_the_file_as_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("clients.toml")
    for arguments in (["--id", "shop", "--kind", "secret"], ["--id", "shop-web", "--kind", "public", *PAGE]):
        made = command("keys", "new", *arguments)
        assert made.status == 0, made.err
        key = made.err.split()[-1]
        assert re.fullmatch(r"[ps]k_[A-Za-z0-9_-]{43}", key)
        assert key not in made.out
        with file.open("a") as clients:
            clients.write(made.out)
    found = load_clients(file).find(key)
    assert found
    assert (found.id, found.audience, list(map(str, found.calls))) == ("shop-web", "shop", ["5/minute", "100/day"])
    assert (found.origins, found.native) == (frozenset({"https://shop.example"}), True)
    assert found.return_urls == {"https://shop.example/verified?a=b"}

    listed = command("keys", "list", CLIENTS_FILE=str(file.absolute()))
    head, _, page = listed.out.splitlines()
    assert head.split() == ["client", "kind", "audience", "used", "from", "own", "limits", "keys", "by", "digest"]
    limits = "5/minute calls, 100/day calls, 9.5 of money/day"
    assert page.startswith(f"shop-web  public  shop      https://shop.example apps hosted-page  {limits}")
    assert key not in listed.out
    assert command("keys", "check").out == "clients.toml: 2 clients\n"
    for given, status, answer in (
        (key, 0, "public key of client shop-web\n"),
        ("pk_other", 1, "no client of this file has that key\n"),
        ("ab" * 32, 2, ""),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(given + "\n"))
        done = command("keys", "check", "clients.toml", "--key-stdin")
        assert (done.status, done.out) == (status, answer)
    assert "digest" in done.err


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("1, audience: ", ["--kind", "secret", "--audience", "a b"]),
        ("1, id: ", ["--kind", "secret", "--id", "a b"]),
        ("1, calls: 'many' is not a limit", ["--kind", "secret", "--calls", "many"]),
        ("1, origins: ", ["--kind", "public", "--origin", "https://*.example"]),
        ("shop has a public key: list its origins", ["--kind", "public"]),
        ("shop has a secret key", ["--kind", "secret", "--origin", "https://shop.example"]),
    ],
)
def test_nothing_is_made_that_the_file_would_not_hold(command: Command, said: str, arguments: list[str]) -> None:
    made = command("keys", "new", "--id", "shop", *arguments)
    assert (made.status, made.out) == (2, "")
    assert said in made.err


@pytest.mark.parametrize("action", ["list", "check"])
def test_a_file_that_is_not_there_is_named(command: Command, action: str) -> None:
    done = command("keys", action)
    assert (done.status, done.err) == (78, "lastdigits: clients.toml can't be read: No such file or directory\n")


def test_signing_keys_are_made_and_rotated_in_three_steps(command: Command, tmp_path: Path) -> None:
    file = Path("signing-keys.json")

    def step(*arguments: str) -> list[tuple[str, ...]]:
        done = command("keys", "signing", str(file), *arguments)
        assert done.status == 0, done.err
        assert not any(key.private_jwk()["d"] in done.out + done.err for key in parse_signing_keys(file.read_text()))
        return [tuple(line.split("  ")) for line in done.out.splitlines()]

    ((old, *_),) = step()
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    given = file.stat()
    assert step() == [(old, "ES256", "signs")], "a second time it only lists"
    (_, (new, *_)) = step("--add", "--alg", "EdDSA")
    assert step() == [(old, "ES256", "signs"), (new, "EdDSA", "is published")]
    assert step("--promote") == [(new, "EdDSA", "signs"), (old, "ES256", "is published")]
    assert step("--retire") == [(new, "EdDSA", "signs")]
    now = file.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (given.st_mode, given.st_uid, given.st_gid)
    assert [path.name for path in tmp_path.iterdir()] == [file.name], "no draft is left"


def test_signing_keys_go_to_standard_output_where_no_file_can_be_written(command: Command, tmp_path: Path) -> None:
    assert len(parse_signing_keys(command("keys", "signing", "-").out)) == 1
    assert not list(tmp_path.iterdir())
    assert command("keys", "signing", "-", "--add").status == 78


ONE = write_signing_keys((new_signing_key(),))
FOUR = write_signing_keys(tuple(new_signing_key() for _ in range(4)))


@pytest.mark.parametrize(
    ("held", "arguments", "said"),
    [
        (None, ("--add",), "no such file"),
        (None, ("--promote",), "no such file"),
        (ONE, ("--promote",), "--add"),
        (FOUR, ("--add",), "4"),
        ("{}", (), "can't sign"),
        ("", ("--add",), "no key"),
        (json.dumps({"keys": [{"kty": "oct", "k": "hidden-secret"}]}), ("--add",), "oct"),
    ],
)
def test_a_step_that_is_not_possible_changes_nothing(
    command: Command, held: str | None, arguments: tuple[str, ...], said: str
) -> None:
    file = Path("keys.json")
    if held is not None:
        file.write_text(held)
    done = command("keys", "signing", file.name, *arguments)
    assert (done.status, said in done.err) == (78, True), done
    assert "hidden-secret" not in done.err
    assert (file.read_text() if file.exists() else None) == held


def test_what_cant_be_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a-directory").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "a-directory", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a-directory"]


@pytest.mark.parametrize("place", [".", "nowhere/k.json"])
def test_a_place_that_cant_be_written_is_named(command: Command, place: str) -> None:
    done = command("keys", "signing", place)
    assert done.status == 78
    assert done.err.startswith(f"lastdigits: {place}: ")

"""`lastdigits keys` as a person uses it: clients' keys are shown once, signing keys never, and no step loses a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.api.clients import load_clients
from app.verification.signing_keys import parse_signing_keys
from tests.harness import ROOT


def _keys(*arguments: str, cwd: Path, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", *arguments],
        env=plain | {"PYTHONPATH": str(ROOT)} | {f"LASTDIGITS_{name}": value for name, value in settings.items()},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_made_client_stands_in_the_file_as_it_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "clients.toml"
    page = (
        "--origin",
        "https://shop.example",
        "--native",
        "--audience",
        "shop",
        "--starts",
        "5/minute, 100/day",
        "--spend",
        "9.5/day",
    )
    for arguments in (("--id", "shop", "--kind", "secret"), ("--id", "shop-web", "--kind", "public", *page)):
        made = _keys("new", *arguments, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        key = made.stderr.split()[-1]
        assert key not in made.stdout
        file.write_text((file.read_text() if file.exists() else "") + made.stdout)
    found = load_clients(file).find(key)
    assert found
    assert (found.id, found.audience, [str(rate) for rate in found.starts]) == (
        "shop-web",
        "shop",
        ["5/minute", "100/day"],
    )
    assert (found.origins, found.native) == (frozenset({"https://shop.example"}), True)

    listed = _keys("list", cwd=tmp_path, CLIENTS_FILE=str(file))
    assert listed.returncode == 0
    assert listed.stdout.splitlines()[0].split() == [
        "client",
        "kind",
        "audience",
        "used",
        "from",
        "own",
        "limits",
        "keys",
        "by",
        "digest",
    ]
    assert (
        "shop-web  public  shop      https://shop.example apps  5/minute calls, 100/day calls, 9.5 of money/day"
        in listed.stdout
    )
    assert key not in listed.stdout
    whose = _keys("check", "clients.toml", "--key-stdin", cwd=tmp_path, stdin=key + "\n")
    assert whose.stdout.strip() == "public key of client shop-web"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--audience", 'a"b'), "--audience"),
        (("--audience", "a b"), "--audience"),
        (("--audience", "a\nb"), "--audience"),
        (("--starts", "many"), "--starts"),
        (("--starts", '5/hour"'), "--starts"),
        (("--spend", "many"), "--spend"),
    ],
)
def test_nothing_is_made_that_the_file_could_not_hold(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    made = _keys("new", "--id", "shop", "--kind", "secret", *arguments, cwd=tmp_path)
    assert (made.returncode, made.stdout) == (2, "")
    assert told in made.stderr
    assert "Traceback" not in made.stderr


@pytest.mark.parametrize("action", ["list", "check"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, action: str) -> None:
    done = _keys(action, cwd=tmp_path)
    assert done.returncode == 78
    assert "clients.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_signing_keys_are_made_and_rotated_in_three_steps(tmp_path: Path) -> None:
    def step(*arguments: str) -> list[tuple[str, ...]]:
        done = _keys("signing", "signing-keys.json", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert not any(key.private_jwk()["d"] in told for key in parse_signing_keys(file.read_text()) if key.private)
        return [tuple(line.split("  ")) for line in done.stdout.splitlines()]

    file = tmp_path / "signing-keys.json"
    ((old, *_),) = step()
    assert file.stat().st_mode & 0o777 == 0o600
    assert step() == [(old, "ES256", "signs")], "a second time it only lists"
    (_, (new, *_)) = step("--add", "--alg", "EdDSA")
    assert step() == [(old, "ES256", "signs"), (new, "EdDSA", "is published")]
    assert step("--promote") == [(new, "EdDSA", "signs"), (old, "ES256", "is published")]
    assert step("--retire") == [(new, "EdDSA", "signs")]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["signing-keys.json"], "no draft is left"


def test_signing_keys_go_to_standard_output_where_no_file_can_be_written(tmp_path: Path) -> None:
    made = _keys("signing", "-", cwd=tmp_path)
    assert len(parse_signing_keys(made.stdout)) == 1
    assert not list(tmp_path.iterdir())
    assert _keys("signing", "-", "--add", cwd=tmp_path).returncode == 78


@pytest.mark.parametrize(
    ("held", "arguments", "told"),
    [
        (None, ("--add",), "no such file"),
        (None, ("--promote",), "no such file"),
        ("{}", (), "can't sign"),
        ("{}", ("--add",), "can't sign"),
        ("", ("--add",), "no key"),
        (json.dumps({"keys": [{"kty": "oct", "k": "hidden-secret"}]}), ("--add",), "oct"),
    ],
)
def test_a_step_that_cant_be_made_changes_nothing(
    tmp_path: Path, held: str | None, arguments: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "signing-keys.json"
    if held is not None:
        file.write_text(held)
    done = _keys("signing", file.name, *arguments, cwd=tmp_path)
    assert done.returncode == 78
    assert told in done.stderr
    assert "hidden-secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (file.read_text() if file.exists() else None) == held


def test_one_key_cant_be_promoted_nor_a_fifth_added(tmp_path: Path) -> None:
    _keys("signing", "k.json", cwd=tmp_path)
    assert "--add" in _keys("signing", "k.json", "--promote", cwd=tmp_path).stderr
    for _ in range(3):
        assert _keys("signing", "k.json", "--add", cwd=tmp_path).returncode == 0
    before = (tmp_path / "k.json").read_text()
    assert _keys("signing", "k.json", "--add", cwd=tmp_path).returncode == 78
    assert (tmp_path / "k.json").read_text() == before


def test_a_directory_or_a_place_that_cant_be_written_is_told(tmp_path: Path) -> None:
    for place in (".", "nowhere/k.json"):
        done = _keys("signing", place, cwd=tmp_path)
        assert done.returncode == 78
        assert "Traceback" not in done.stderr

"""`/policy` and `lastdigits policy` say what is in force, and what it adds up to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, Service


def test_a_backend_is_told_the_limits_in_force_and_their_sum(service: Service) -> None:
    answer = service.get("/policy")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["calls_per_phone"], told["code_length"], told["calls_per_client"]) == ("5/hour, 10/day", 4, None)
    assert told["bounds"]["takeover_per_phone_and_day"] == 0.001
    assert told["bounds"]["calls_per_phone_and_day"] == 10
    assert [step["code_length"] for step in told["bounds"]["code_lengths"]] == [4, 5, 6]
    assert service.get("/policy", "limited").json()["calls_per_client"] == "3/hour, 100/day"


def _policy(cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "policy"],
        env=plain | {"PYTHONPATH": str(ROOT)} | {f"LASTDIGITS_{name}": value for name, value in settings.items()},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_person_is_told_in_words_and_a_table(tmp_path: Path) -> None:
    done = _policy(tmp_path)
    assert done.returncode == 0, done.stderr
    for told in (
        "more than 0.1 % (MAX_GUESS_PROBABILITY)",
        "any of 100: 10 %",
        "at most 5 calls in any hour and 10 in any",
        "3.50 in 24 hours",
        "20/hour",
    ):
        assert told in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 110


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"MAX_ATTEMPTS": "10", "CALLS_PER_PHONE": "200/day"}, "MAX_GUESS_PROBABILITY=0.001 can't hold"),
        ({"MAX_GUESS_PROBABILITY": "0.00005"}, "MAX_GUESS_PROBABILITY=5e-05 can't hold"),
    ],
)
def test_settings_whose_sum_breaks_the_bound_are_refused_with_the_sum(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    done = _policy(tmp_path, **settings)
    assert done.returncode == 78
    assert told in done.stderr
    assert "CALLS_PER_PHONE" in done.stderr


def test_codes_that_are_longer_from_the_start_are_warned_of(tmp_path: Path) -> None:
    done = _policy(tmp_path, MAX_ATTEMPTS="5")
    assert done.returncode == 0
    assert "codes have 5 digits from the start" in done.stderr

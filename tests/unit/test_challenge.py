"""Challenges: what is solved counts for whoever it was made for, for ten minutes, and nothing else is a solution."""

import base64
import json
import time
from typing import Any

import pytest
from altcha import solve_challenge
from altcha.v2 import Challenge, Payload
from hypothesis import given
from hypothesis import strategies as st

from app.verification.challenge import LIFE, Challenges, When

KEY = b"k" * 32
CHALLENGES = Challenges(KEY, When.ALARM)


def _solve(told: dict[str, Any]) -> str:
    challenge = Challenge.from_dict(told)
    solution = solve_challenge(challenge)
    assert solution
    return Payload(challenge, solution).to_base64()


@pytest.fixture(scope="module")
def solved() -> str:
    return _solve(CHALLENGES.make("web"))


def test_a_solution_has_a_name_of_its_own(solved: str) -> None:
    name = CHALLENGES.solved(solved, "web")
    assert name
    assert name == CHALLENGES.solved(solved, "web")
    assert name != CHALLENGES.solved(_solve(CHALLENGES.make("web")), "web")


def test_another_clients_solution_is_none(solved: str) -> None:
    assert CHALLENGES.solved(solved, "app") is None


def test_one_that_was_signed_with_another_key_is_none(solved: str) -> None:
    assert Challenges(b"o" * 32, When.ALARM).solved(solved, "web") is None


def test_an_expired_one_is_none(solved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LIFE + 2)
    assert CHALLENGES.solved(solved, "web") is None


@pytest.mark.parametrize("change", ["cost", "keyPrefix", "expiresAt", "data", "signature", "counter", "derivedKey"])
def test_a_changed_one_is_none(solved: str, change: str) -> None:
    told = json.loads(base64.b64decode(solved))
    parts = (told["challenge"]["parameters"], told["challenge"], told["solution"])
    part = next(part for part in parts if change in part)
    easier = {"cost": 1, "keyPrefix": "0", "expiresAt": 9_999_999_999, "data": {"client": "app"}, "counter": 1}
    part[change] = easier.get(change, "00" * 32)
    changed = base64.b64encode(json.dumps(told).encode()).decode()
    assert CHALLENGES.solved(changed, "web") is None
    assert CHALLENGES.solved(changed, "app") is None


@pytest.mark.parametrize("number", ["cost", "keyLength"])
def test_numbers_that_only_javascript_takes_for_the_same_are_none(solved: str, number: str) -> None:
    told = json.loads(base64.b64decode(solved))
    parameters = told["challenge"]["parameters"]
    parameters[number] = float(parameters[number])
    assert CHALLENGES.solved(base64.b64encode(json.dumps(told).encode()).decode(), "web") is None


def test_none_is_none() -> None:
    assert CHALLENGES.solved(None, "web") is None


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_nonsense_is_none(sent: str) -> None:
    assert CHALLENGES.solved(sent, "web") is None


@pytest.mark.parametrize(
    "sent", ['{"challenge": 1}', "[]", "null", '{"challenge": {"parameters": {}}, "solution": {}}', "[" * 3000]
)
def test_json_that_is_no_payload_is_none(sent: str) -> None:
    assert CHALLENGES.solved(base64.b64encode(sent.encode()).decode(), "web") is None

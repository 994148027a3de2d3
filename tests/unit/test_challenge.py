"""Challenges: what is solved counts for the client it was made for, at its level, for ten minutes, and nothing else is a solution."""

import base64
import json
import time
from typing import Any

import pytest
from altcha import solve_challenge
from altcha.v2 import Challenge, Payload
from hypothesis import example, given
from hypothesis import strategies as st

from app.challenges import make_challenges
from app.challenges.altcha import Altcha
from app.verification.challenge import LIFETIME, MAX_LEVEL, ChallengeKind

KEY = b"k" * 32
ALTCHA = Altcha(KEY)


def _solve(challenge: dict[str, Any]) -> str:
    read = Challenge.from_dict(challenge)
    solution = solve_challenge(read)
    assert solution
    return Payload(read, solution).to_base64()


def _base64(sent: bytes) -> str:
    return base64.b64encode(sent).decode()


def _work(level: int) -> int:
    """Iterations that a solver needs on average."""
    parameters = Challenge.from_dict(ALTCHA.challenge("web", level)).parameters
    return int(parameters.cost * 16 ** len(parameters.key_prefix))


@pytest.fixture(scope="module")
def solved() -> str:
    return _solve(ALTCHA.challenge("web", 0))


async def test_a_solution_has_a_name_of_its_own(solved: str) -> None:
    first = await ALTCHA.verify(solved, "web", None)
    assert first is not None
    assert len(first.name) == 24
    assert int(first.name, 16) >= 0
    assert first == await ALTCHA.verify(solved, "web", "192.0.2.1"), "sent again, it has the same name"
    second = await ALTCHA.verify(_solve(ALTCHA.challenge("web", 0)), "web", None)
    assert second is not None
    assert second.name != first.name


async def test_a_solution_written_otherwise_has_the_same_name(solved: str) -> None:
    payload = json.loads(base64.b64decode(solved))
    payload["challenge"]["provider"] = "altcha"
    payload["solution"]["time"] = 17
    payload["note"] = "more"
    respelt = _base64(json.dumps(payload, indent=1).encode())
    assert respelt != solved
    assert await ALTCHA.verify(respelt, "web", None) == await ALTCHA.verify(solved, "web", None)


def test_each_level_doubles_the_work_and_one_out_of_range_counts_as_the_nearest() -> None:
    assert [_work(level) for level in range(MAX_LEVEL + 1)] == [250 * 16**3 * 2**level for level in range(7)]
    assert (_work(99), _work(-1)) == (_work(MAX_LEVEL), _work(0))


async def test_a_solution_proves_the_level_of_its_challenge(solved: str) -> None:
    for level, solution in enumerate((solved, _solve(ALTCHA.challenge("web", 1)))):
        verified = await ALTCHA.verify(solution, "web", None)
        assert verified
        assert verified.level == level


async def test_a_solution_of_another_client_or_signed_with_another_key_is_none(solved: str) -> None:
    assert await ALTCHA.verify(solved, "app", None) is None
    assert await Altcha(b"o" * 32).verify(solved, "web", None) is None


async def test_an_expired_one_is_none(solved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LIFETIME + 2)
    assert await ALTCHA.verify(solved, "web", None) is None


@pytest.mark.parametrize(
    ("member", "value"),
    [("cost", 1), ("expiresAt", 9_999_999_999), ("data", {"client": "web", "level": MAX_LEVEL}), ("counter", 1)],
)
async def test_a_changed_one_is_none(solved: str, member: str, value: object) -> None:
    payload = json.loads(base64.b64decode(solved))
    parts = (payload["challenge"]["parameters"], payload["challenge"], payload["solution"])
    next(part for part in parts if member in part)[member] = value
    changed = _base64(json.dumps(payload).encode())
    assert await ALTCHA.verify(changed, "web", None) is None
    assert await ALTCHA.verify(changed, "app", None) is None


@pytest.mark.parametrize("number", ["cost", "keyLength", "level", "expiresAt"])
async def test_numbers_that_only_javascript_takes_for_the_same_gain_nothing(solved: str, number: str) -> None:
    payload = json.loads(base64.b64decode(solved))
    parameters = payload["challenge"]["parameters"]
    part = parameters["data"] if number == "level" else parameters
    part[number] = float(part[number])
    changed = _base64(json.dumps(payload).encode())
    verified = await ALTCHA.verify(changed, "web", None)
    assert verified in (None, await ALTCHA.verify(solved, "web", None))
    assert verified is None or type(verified.level) is int


@given(st.text(max_size=200) | st.binary(max_size=200).map(_base64))
@example(_base64(b'{"challenge": 1}'))
@example(_base64(b"[]"))
@example(_base64(b"null"))
@example(_base64(b'{"challenge": {"parameters": {}}, "solution": {}}'))
@example(_base64(b"[" * 3000))
async def test_nonsense_is_none(sent: str) -> None:
    assert await ALTCHA.verify(sent, "web", None) is None


async def test_the_settings_name_the_provider() -> None:
    assert make_challenges(ChallengeKind.ALTCHA, KEY, None, None).challenge("web", 0)["provider"] == "altcha"
    for kind in set(ChallengeKind) - {ChallengeKind.ALTCHA}:
        remote = make_challenges(kind, KEY, "site", "secret")
        assert remote.challenge("web", 3) == {"provider": kind.value, "site_key": "site"}
        await remote.close()


@pytest.mark.parametrize("kind", sorted(set(ChallengeKind) - {ChallengeKind.ALTCHA}))
@pytest.mark.parametrize(("site_key", "secret_key"), [(None, "secret-9f"), ("site", None), ("", "secret-9f")])
def test_a_remote_service_without_its_keys_is_refused(
    kind: ChallengeKind, site_key: str | None, secret_key: str | None
) -> None:
    with pytest.raises(ValueError, match="CHALLENGE_SITE_KEY and CHALLENGE_SECRET_KEY") as refused:
        make_challenges(kind, KEY, site_key, secret_key)
    assert "secret-9f" not in str(refused.value)

"""`GET /policy` and `lastdigits policy` say what is in force, what it adds up to, and what is used of it."""

from pathlib import Path

import pytest

from app.api.policy import PolicyAnswer, policy_answer
from app.cli import main
from app.cli.policy import render
from app.settings import load_settings
from app.verification.entropy import EntropyMonitor
from tests.harness import Service, fresh_phone


def test_a_backend_reads_the_limits_in_force_and_what_they_add_up_to(service: Service) -> None:
    answer = service.get("/policy")
    assert answer.status_code == 200
    policy = answer.json()
    assert (policy["calls_per_phone"], policy["code_length"], policy["calls_per_client"]) == ("5/hour, 10/day", 4, None)
    public, both = policy["bounds"]["public"], policy["bounds"]["all"]
    assert (public["takeover_per_phone_and_day"], both["takeover_per_phone_and_day"]) == (0.0005, 0.001)
    assert (public["calls_per_phone_and_hour"], public["calls_per_phone_and_day"]) == (2, 5)
    assert (both["calls_per_phone_and_hour"], both["calls_per_phone_and_day"]) == (5, 10)
    assert [step["code_length"] for step in public["code_lengths"]] == [4, 5, 6]
    assert service.get("/policy", "limited").json()["calls_per_client"] == "3/hour, 100/day"


def test_what_is_used_of_a_budget_is_shown_by_lane(service: Service) -> None:
    def used() -> tuple[float, float]:
        limits = {(each["limit"], each["period"]): each for each in service.get("/policy").json()["used"]}
        return float(limits["spend", "hour"]["public"]), float(limits["spend", "hour"]["trusted"])

    public, trusted = used()
    assert service.start(fresh_phone()).status_code == 201
    assert service.start(fresh_phone(), "app").status_code == 201
    assert list(used()) == pytest.approx([public + 0.35, trusted + 0.35])


def test_the_report_renders_what_the_route_returns(service: Service) -> None:
    said = render(PolicyAnswer.model_validate(service.get("/policy").json()), measured=True)
    assert max(map(len, said.splitlines())) <= 110
    for sentence in ("USED NOW", "public and", "spend per hour", "not biased", "suspended: nothing"):
        assert sentence in said


def test_the_report_says_what_strangers_can_use_up_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = load_settings(dotenv=None).policy
    entropy = EntropyMonitor(None, None, policy.guesses, lambda _: None)  # type: ignore[arg-type]  # nothing is measured
    said = " ".join(render(policy_answer(policy, None, entropy, None), measured=False).split())
    for sentence in (
        "It may use 50 % of every shared budget (PUBLIC_SHARE)",
        "more than 0.1 % (MAX_GUESS_PROBABILITY), strangers with no more than 0.05 %",
        "any of 100: 10 %",
        "One phone gets at most 5 calls an hour and 10 a day",
        "from strangers 2 calls an hour and 5 a day",
        "that is 285 calls an hour and 2857 a day; strangers get 142 and 1428 of them",
        "at most 20 calls an hour",
        "half of the calls that strangers may place to the phone",
        "Not known: the store does not answer.",
    ):
        assert sentence in said, said


def test_codes_that_are_longer_from_the_start_are_warned_of_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LASTDIGITS_MAX_ATTEMPTS", "5")
    assert main(["policy"]) == 0
    said = capsys.readouterr()
    assert "TWO LANES" in said.out
    assert "codes have 5 digits from the start" in said.err


def test_keys_that_this_user_may_not_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/sandbox/keys/pepper").mkdir(parents=True)  # root may read every file, but no directory
    assert main(["policy"]) == 78
    assert "data/sandbox/keys/pepper can't be read" in capsys.readouterr().err

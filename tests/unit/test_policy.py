"""The one notation of limits, and rules that are invalid."""

from dataclasses import replace

import pytest

from app.verification.limits import Rate, parse_rates
from app.verification.policy import Guard, whole_seconds
from tests.contract.conftest import POLICY


def test_limits_are_read_in_one_notation() -> None:
    assert parse_rates(" 10/day,5 / hour ") == (Rate(5, 3600), Rate(10, 86400))


def test_a_limit_reads_back_as_it_is_written() -> None:
    assert ", ".join(map(str, parse_rates("2/minute, 5/hour, 10/day"))) == "2/minute, 5/hour, 10/day"


@pytest.mark.parametrize("text", ["", "5", "5/week", "0/hour", "-1/day", "5/hour, 6/hour", "5/hour,", "five/hour"])
def test_anything_else_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(ValueError, match=r"5/hour|smaller count"):
        parse_rates(text)


@pytest.mark.parametrize(
    ("count", "share", "shared"), [(5, 0.5, 2), (10, 0.5, 5), (100, 0.29, 29), (1, 0.99, 0), (7, 1, 7), (7, 0, 0)]
)
def test_a_share_of_a_limit_is_rounded_down(count: int, share: float, shared: int) -> None:
    assert Rate(count, 3600).share(share) == Rate(shared, 3600)


@pytest.mark.parametrize(("count", "own"), [(0, 0), (1, 1), (2, 2), (3, 2), (5, 2), (6, 3), (10, 5)])
def test_one_address_has_half_of_a_limit_and_at_least_a_call_and_its_resend(count: int, own: int) -> None:
    assert Rate(count, 3600).per_address == Rate(own, 3600)


def test_the_trusted_lane_has_all_of_the_guards_counts_and_the_public_one_its_share() -> None:
    assert Guard(200, 1000, 51, 0.5, 0).floors(51) == {"public": 25, "trusted": 51}


def test_the_defaults_are_valid() -> None:
    assert POLICY.problems() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"code_length": 3}, "CODE_LENGTH"),
        ({"code_length": 7}, "CODE_LENGTH"),
        ({"ttl": 601}, "VERIFICATION_TTL"),
        ({"ttl": 5}, "VERIFICATION_TTL"),
        ({"max_attempts": 0}, "MAX_ATTEMPTS"),
        ({"max_attempts": 11}, "MAX_ATTEMPTS"),
        ({"cooldowns": (1,)}, "RESEND_COOLDOWNS"),
        ({"cooldowns": (60, 30)}, "RESEND_COOLDOWNS"),
        ({"calls_per_phone": (Rate(201, 86400),)}, "CALLS_PER_PHONE"),
        ({"calls_per_phone": (Rate(1, 86400),)}, "PUBLIC_SHARE=0.5"),
        ({"calls_total": (Rate(1, 1),)}, "PUBLIC_SHARE=0.5 of CALLS_TOTAL"),
        ({"test_numbers": {"+79990000001": "123"}}, "TEST_NUMBERS"),
    ],
)
def test_a_rule_that_is_invalid_is_named(change: dict[str, object], named: str) -> None:
    (problem,) = replace(POLICY, **change).problems()  # type: ignore[arg-type]  # one field a row
    assert problem.startswith(named)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (29999, 30)])
def test_waiting_as_long_as_it_is_said_is_never_too_early(milliseconds: int, seconds: int) -> None:
    assert whole_seconds(milliseconds) == seconds

"""The one notation of limits, and rules that can't stand."""

from dataclasses import replace

import pytest

from app.verification.policy import whole_seconds
from app.verification.rates import Rate, parse_rates
from tests.contract.conftest import POLICY


def test_limits_are_read_in_one_notation() -> None:
    assert parse_rates(" 10/day,5 / hour ") == (Rate(5, 3600), Rate(10, 86400))


def test_a_limit_reads_back_as_it_is_written() -> None:
    assert ", ".join(map(str, parse_rates("2/minute, 5/hour, 10/day"))) == "2/minute, 5/hour, 10/day"


@pytest.mark.parametrize("text", ["", "5", "5/week", "0/hour", "-1/day", "5/hour, 6/hour", "5/hour,", "five/hour"])
def test_anything_else_is_refused_with_the_mend(text: str) -> None:
    with pytest.raises(ValueError, match=r"5/hour|smaller count"):
        parse_rates(text)


def test_the_defaults_can_stand() -> None:
    assert POLICY.faults() == []


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
    ],
)
def test_a_rule_that_cant_stand_is_named(change: dict[str, object], named: str) -> None:
    (fault,) = replace(POLICY, **change).faults()  # type: ignore[arg-type]  # one field a row
    assert fault.startswith(named)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (29999, 30)])
def test_waiting_as_long_as_told_is_never_too_early(milliseconds: int, seconds: int) -> None:
    assert whole_seconds(milliseconds) == seconds

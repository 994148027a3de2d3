"""The guess budget's arithmetic, and what is said of it: rounded up, never down, and refused where it can't hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.bounds import bounds_of
from app.verification.guess_budget import GuessBudget, max_calls
from app.verification.rates import parse_rates
from tests.contract.conftest import POLICY

DEFAULT = GuessBudget.of(0.001, 3, parse_rates("5/hour, 10/day"))


def test_the_defaults_add_up() -> None:
    assert (DEFAULT.bound, DEFAULT.reserve) == (1000, 60), (
        "20 calls in the 26 hours that are counted, 3 guesses each, with six digits"
    )
    assert [DEFAULT.cost(digits) for digits in (4, 5, 6)] == [100, 10, 1]
    assert [DEFAULT.worst(digits) for digits in (4, 5, 6)] == [600, 60, 6]
    assert [DEFAULT.room(digits) for digits in (4, 5, 6)] == [940, 940, 1000]
    assert DEFAULT.first_length(4) == 4
    assert DEFAULT.fault() is None


@pytest.mark.parametrize(
    ("rates", "seconds", "calls"),
    [
        ("5/hour, 10/day", 3600, 5),
        ("5/hour, 10/day", 86400, 10),
        ("5/hour, 10/day", 93600, 20),
        ("1/minute", 3600, 60),
        ("7/day", 60, 7),
    ],
)
def test_the_most_calls_of_any_so_many_seconds(rates: str, seconds: int, calls: int) -> None:
    assert max_calls(parse_rates(rates), seconds) == calls


@given(st.floats(0.00001, 0.5), st.integers(1, 10), st.integers(1, 200))
def test_six_digits_always_fit_or_the_settings_are_refused(bound: float, attempts: int, calls: int) -> None:
    budget = GuessBudget.of(bound, attempts, parse_rates(f"{calls}/day"))
    assert budget.bound <= bound * 1_000_000 + 1e-6, "never rounded up"
    if budget.fault() is None:
        # A stranger has filled all that is not the reserve; every call of the day is still worth all its guesses.
        assert budget.room(4) + calls * attempts * budget.cost(6) <= budget.bound
    else:
        assert "MAX_GUESS_PROBABILITY" in str(budget.fault())


def test_a_bound_that_cant_hold_is_refused_with_what_to_change() -> None:
    fault = GuessBudget.of(0.001, 10, parse_rates("200/day")).fault()
    assert fault
    for named in ("MAX_GUESS_PROBABILITY=0.001", "400 calls", "CALLS_PER_PHONE", "10 guesses", "MAX_ATTEMPTS", "0.004"):
        assert named in fault
    assert replace(POLICY, guesses=GuessBudget.of(0.001, 10, parse_rates("200/day"))).faults() == [fault]


def test_the_bounds_that_are_told_are_those_in_force() -> None:
    bounds = bounds_of(POLICY)
    assert bounds.takeover == 0.001
    assert (bounds.calls_per_hour, bounds.calls_per_day) == (5, 10)
    assert [(step.code_length, step.verifications) for step in bounds.steps] == [(4, 2), (5, 10), (6, None)]
    assert bounds.takeover_of_any(100) == pytest.approx(0.1)
    assert bounds.takeover_of_any(10_000) == 1.0

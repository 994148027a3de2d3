"""The guess budget's arithmetic, and what it adds up to: rounded up, never down, and refused where it can't hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.guess_budget import GuessBudget
from app.verification.limits import max_calls, parse_rates
from app.verification.policy import bounds_of
from tests.contract.conftest import POLICY

DEFAULT = POLICY.guesses


def test_the_defaults_add_up() -> None:
    assert (DEFAULT.bound, DEFAULT.public_bound) == (1000, 500)
    assert (DEFAULT.calls, DEFAULT.public_calls) == (20, 10), "in the 26 hours that are counted"
    assert [DEFAULT.cost(digits) for digits in (4, 5, 6)] == [100, 10, 1]
    assert [DEFAULT.worst(digits) for digits in (4, 5, 6)] == [300, 30, 3]
    assert [DEFAULT.room(digits) for digits in (4, 5, 6)] == [940, 940, 1000]
    assert [DEFAULT.room(digits, public=True) for digits in (4, 5, 6)] == [470, 470, 500]
    assert (DEFAULT.first_length(4, public=False), DEFAULT.first_length(4, public=True)) == (4, 4)
    assert DEFAULT.problem() is None


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


@given(
    st.floats(0.00001, 0.5),
    st.integers(1, 10),
    st.integers(1, 200),
    st.floats(0, 1),
    st.floats(0.0000001, 0.1),
)
def test_six_digits_always_fit_in_both_lanes_or_the_settings_are_refused(
    bound: float, attempts: int, calls: int, share: float, chance: float
) -> None:
    budget = GuessBudget.of(bound, attempts, parse_rates(f"{calls}/day"), share)
    assert budget.bound <= bound * 1_000_000 + 1e-6, "never rounded up"
    assert budget.public_bound <= budget.bound * share + 1e-6
    if budget.problem() is None:
        # Strangers have filled all that is not the reserve; every call of the day is still worth all its guesses.
        assert budget.room(4) + budget.calls * budget.worst(6) <= budget.bound
        assert budget.room(4, public=True) + budget.public_calls * budget.worst(6) <= budget.public_bound
    charged = budget.charging({4: chance, 5: chance / 5, 6: chance / 20})
    assert all(charged.cost(digits) >= budget.cost(digits) for digits in (4, 5, 6)), "never less than uniform codes"
    assert all(
        charged.cost(digits) / 1e6 >= each - 1e-9 for digits, each in ((4, chance), (5, chance / 5), (6, chance / 20))
    )
    for digits in (4, 5, 6):
        assert 0 <= charged.room(digits) <= charged.bound
        assert 0 <= charged.room(digits, public=True) <= charged.public_bound
    assert charged.impossible == (charged.worst(6) > charged.bound)


def test_biased_codes_cost_what_they_are_worth() -> None:
    charged = DEFAULT.charging({4: 0.00025, 5: 0.000004, 6: 0.000001})
    assert [charged.cost(digits) for digits in (4, 5, 6)] == [250, 10, 1]
    assert (charged.first_length(4, public=False), charged.first_length(4, public=True)) == (4, 5)
    assert DEFAULT.charging({4: 0.001, 5: 0.001, 6: 0.001}).impossible


def test_a_bound_that_cant_hold_is_refused_with_what_to_change() -> None:
    budget = GuessBudget.of(0.001, 10, parse_rates("200/day"), 0.5)
    problem = budget.problem()
    assert problem
    for named in (
        "MAX_GUESS_PROBABILITY=0.001",
        "400 calls",
        "CALLS_PER_PHONE",
        "10 attempts",
        "MAX_ATTEMPTS",
        "0.004",
    ):
        assert named in problem
    assert replace(POLICY, guesses=budget).problems() == [problem]


def test_a_share_is_not_cut_by_how_it_is_computed() -> None:
    budget = GuessBudget.of(0.0002, 1, parse_rates("100/day"), 0.29)
    assert (budget.public_bound, budget.public_calls) == (58, 58), "0.29 * 200 is 57.99999999999999"


def test_the_bounds_that_are_reported_are_those_in_force() -> None:
    bounds = bounds_of(POLICY)
    assert (bounds.all.takeover, bounds.public.takeover) == (0.001, 0.0005)
    for lane, calls, steps in (
        (bounds.all, (5, 10), [(4, 3), (5, 1), (6, None)]),
        (bounds.public, (2, 5), [(4, 1), (5, 5), (6, None)]),
    ):
        assert (lane.calls_per_phone_and_hour, lane.calls_per_phone_and_day) == calls
        assert [(step.code_length, step.verifications) for step in lane.steps] == steps
    assert bounds.calls_per_address_and_hour == 3

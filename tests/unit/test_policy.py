"""The guess budget's arithmetic; what the rules add up to; and rules that are invalid or can't hold are refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.guess_budget import GuessBudget
from app.verification.limits import Rate, parse_rates
from app.verification.policy import Guard, bounds_of, whole_seconds
from tests.contract.conftest import POLICY

DEFAULT, LENGTHS = POLICY.guesses, (4, 5, 6)


def test_the_defaults_add_up() -> None:
    assert (DEFAULT.bound, DEFAULT.public_bound) == (1000, 500)
    assert (DEFAULT.calls, DEFAULT.public_calls) == (20, 10), "in the 26 hours that are counted"
    assert [DEFAULT.cost(digits) for digits in LENGTHS] == [100, 10, 1]
    assert [DEFAULT.worst(digits) for digits in LENGTHS] == [300, 30, 3]
    assert [DEFAULT.room(digits) for digits in LENGTHS] == [940, 940, 1000]
    assert [DEFAULT.room(digits, public=True) for digits in LENGTHS] == [470, 470, 500]
    assert (DEFAULT.first_length(4, public=False), DEFAULT.first_length(4, public=True)) == (4, 4)


@given(st.floats(0.00001, 0.5), st.integers(1, 10), st.integers(1, 200), st.floats(0, 1), st.floats(0.0000001, 0.1))
def test_six_digits_always_fit_in_both_lanes_or_the_settings_are_refused(
    bound: float, attempts: int, calls: int, share: float, chance: float
) -> None:
    budget = GuessBudget.of(bound, attempts, parse_rates(f"{calls}/day"), share)
    assert budget.bound <= bound * 1_000_000 + 1e-6, "never rounded up"
    assert budget.public_bound <= budget.bound * share + 1e-6
    if not budget.problems():
        # Strangers have filled all that is not the reserve; every call of the day is still worth all its guesses.
        assert budget.room(4) + budget.calls * budget.worst(6) <= budget.bound
        assert budget.room(4, public=True) + budget.public_calls * budget.worst(6) <= budget.public_bound
    chances = {4: chance, 5: chance / 5, 6: chance / 20}
    charged = budget.charging(chances)
    for digits in LENGTHS:
        assert charged.cost(digits) >= budget.cost(digits), "never less than uniform codes"
        assert charged.cost(digits) / 1e6 >= chances[digits] - 1e-9
        assert 0 <= charged.room(digits) <= charged.bound
        assert 0 <= charged.room(digits, public=True) <= charged.public_bound
    assert charged.impossible == (charged.worst(6) > charged.bound)


def test_biased_codes_cost_what_they_are_worth() -> None:
    charged = DEFAULT.charging({4: 0.00025, 5: 0.000004, 6: 0.000001})
    assert [charged.cost(digits) for digits in LENGTHS] == [250, 10, 1]
    assert (charged.first_length(4, public=False), charged.first_length(4, public=True)) == (4, 5)
    assert DEFAULT.charging({4: 0.001, 5: 0.001, 6: 0.001}).impossible


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


# ---- rules


def test_the_defaults_are_valid() -> None:
    assert POLICY.problems() == []


def test_a_bound_that_cant_hold_is_refused_with_what_to_change() -> None:
    (problem,) = replace(POLICY, guesses=GuessBudget.of(0.001, 10, parse_rates("200/day"), 0.5)).problems()
    names = ("MAX_GUESS_PROBABILITY=0.001", "400 calls", "CALLS_PER_PHONE", "10 attempts", "MAX_ATTEMPTS", "0.004")
    assert [name for name in names if name not in problem] == []


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
        ({"calls_per_phone": (Rate(1, 86400),)}, "PUBLIC_SHARE=0.5 of CALLS_PER_PHONE"),
        ({"calls_total": (Rate(1, 1),)}, "PUBLIC_SHARE=0.5 of CALLS_TOTAL"),
        ({"guard": Guard(200, 1000, 1, 0.5, 0)}, "PUBLIC_SHARE=0.5 of FRAUD_CALLS_PER_RANGE"),
        ({"guard": Guard(200, 1, 50, 0.5, 0)}, "PUBLIC_SHARE=0.5 of FRAUD_CALLS_PER_COUNTRY"),
        ({"test_numbers": {"+79990000001": "123"}}, "TEST_NUMBERS"),
    ],
)
def test_a_rule_that_is_invalid_is_named(change: dict[str, object], named: str) -> None:
    (problem,) = replace(POLICY, **change).problems()  # type: ignore[arg-type]  # one field a row
    assert problem.startswith(named)


def test_the_trusted_lane_has_all_of_the_guards_counts_and_the_public_one_its_share() -> None:
    assert Guard(200, 1000, 51, 0.5, 0).floors(51) == {"public": 25, "trusted": 51}


@pytest.mark.parametrize(("milliseconds", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (29999, 30)])
def test_waiting_as_long_as_it_is_said_is_never_too_early(milliseconds: int, seconds: int) -> None:
    assert whole_seconds(milliseconds) == seconds

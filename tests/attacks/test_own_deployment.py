"""ATTACKS.md, "Strangers against your people": each attack of the harness on a small scale, on a real server with two workers."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks import rows
from tests.attacks.own_deployment import BEHIND, QUICK, QUICK_SETTINGS, table
from tests.attacks.page import Page
from tests.attacks.rows import Attack, Row
from tests.harness import ROOT, Service, Simulator, service_with, serving

attacked = service_with(**BEHIND | QUICK_SETTINGS)


@pytest.fixture
def page(attacked: Service, simulator: Simulator) -> Page:
    return Page(attacked, simulator)


def _held(page: Page, attack: Attack, *signs: str) -> Row:
    """People got in each time, in both ways; what was promised held; and the operator's metrics show the attack."""
    row = attack(page, QUICK)
    row.look_for_signs()
    assert row.backend == row.device == [True] * QUICK.people
    assert row.held, row.facts
    assert set(signs) <= row.signs, row.signs
    return row


def test_strangers_who_use_up_their_money_leave_backends_and_devices_theirs(page: Page) -> None:
    row = _held(page, rows.money, "challenge_required", "all")
    assert row.strangers.denied["spend_cap"] > 0
    assert len(row.strangers.solved) >= row.strangers.calls / 3, "the lane was dearer before it was full"


def test_phones_that_strangers_keep_busy_are_called_for_their_owners(page: Page) -> None:
    row = _held(page, rows.unreachable, "challenge_required", "calls_per_phone")
    assert row.waited <= 30


def test_a_range_that_strangers_have_suspended_is_called_for_backends_and_devices(page: Page) -> None:
    _held(page, rows.suspended_range, "challenge_required", "range")


def test_while_codes_are_sprayed_backends_and_devices_solve_nothing(page: Page) -> None:
    _held(page, rows.spray, "challenge_required", "spray_alert")


def test_guesses_in_both_lanes_stay_under_the_bound_and_keep_no_owner_out(page: Page) -> None:
    _held(page, rows.guesses, "challenge_required")


def test_a_neighbour_behind_the_same_nat_makes_no_right_code_fail(page: Page) -> None:
    _held(page, rows.neighbour, "calls_per_ip")


def test_a_subnet_of_ipv6_does_not_count_as_256_strangers(page: Page) -> None:
    row = _held(page, rows.subnet)
    assert row.strangers.denied.keys() <= {"calls_per_ip", "challenge_required"}


def test_guesses_where_codes_come_from_ten_thousand_numbers_keep_no_owner_out_by_the_command_of_the_docs() -> None:
    """One call a phone for strangers: no other whose code could not be checked."""
    command = [sys.executable, "-m", "tests.attacks.own_deployment", "--quick", "--row", "pool"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| guesses")]
    _, addresses, calls, _, paid, backend, device, _, signs = [cell.strip() for cell in row.strip("|").split("|")]
    assert (addresses, calls, paid) == (str(4 * QUICK.people), str(QUICK.people), f"{0.35 * QUICK.people:.2f}")
    assert backend == device == f"{QUICK.people} of {QUICK.people}"
    assert "guess_budget" in signs
    assert "pool: as promised" in done.stderr
    assert "guesses, 10,000 numbers: a guess at six digits is worth 0.00012" in done.stdout


def test_where_strangers_may_use_everything_the_harness_finds_it_out(tmp_path: Path, simulator: Simulator) -> None:
    everything = {"PUBLIC_SHARE": "1", "SPEND_PER_HOUR": "2.8", "CHALLENGE": "never", "WORKERS": "1"}
    with serving(tmp_path, simulator.send_url, **BEHIND | QUICK_SETTINGS | everything) as service:
        row = rows.money(Page(service, simulator), QUICK)
    assert not row.held
    assert not all(row.backend)
    row.at_most("calls", 6, 5)
    assert "people were kept out   BROKEN" in table([row])
    assert "calls: 6 of 5   BROKEN" in table([row])

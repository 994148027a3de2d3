"""ATTACKS.md, "Strangers against your people": each attack of the harness on a small scale, on a real server with two workers."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import rows
from tests.attacks.own_deployment import POOL, QUICK, QUICK_SETTINGS, codes_from, of_service, table
from tests.attacks.rows import Scale
from tests.attacks.strangers import Deployment, Row, Strangers
from tests.harness import DEFAULTS, ROOT, Service, Simulator, serving, simulating
from tests.samples import add_to_samples
from tests.server import Server

BEHIND = DEFAULTS | QUICK_SETTINGS | {"TRUSTED_PROXIES": "127.0.0.1"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("attacked"), simulator.send_url, **BEHIND) as service:
        yield service


Run = Callable[[Callable[[Deployment, Scale], Awaitable[Row]]], Awaitable[Row]]


@pytest.fixture
def run(service: Service, simulator: Simulator) -> Run:
    """Run an attack that begins when nothing of the ones before counts."""

    async def of(attack: Callable[[Deployment, Scale], Awaitable[Row]]) -> Row:
        async with of_service(service, simulator) as at:
            await at.time(30 * 3600)
            row = await attack(at, QUICK)
            await row.look_for_signs()
            return row

    return of


def _held(row: Row, *signs: str) -> None:
    """People got in each time, in both ways; what was promised held; and the operator's metrics show the attack."""
    assert row.backend == row.device == [True] * QUICK.people
    assert row.held, row.facts
    assert set(signs) <= row.signs, row.signs


async def test_strangers_who_use_up_their_money_leave_backends_and_devices_theirs(run: Run) -> None:
    row = await run(rows.money)
    _held(row, "challenge_required", "all")
    assert row.strangers.denied["spend_cap"] > 0
    assert row.strangers.solved >= row.strangers.calls / 3, "the lane was dearer before it was full"


async def test_phones_that_strangers_keep_busy_are_called_for_their_owners(run: Run) -> None:
    row = await run(rows.unreachable)
    _held(row, "challenge_required", "calls_per_phone")
    assert row.waited <= 30


async def test_a_range_that_strangers_have_suspended_is_called_for_backends_and_devices(run: Run) -> None:
    row = await run(rows.suspended_range)
    _held(row, "challenge_required", "range")


async def test_while_codes_are_sprayed_backends_and_devices_solve_nothing(run: Run) -> None:
    _held(await run(rows.spray), "challenge_required", "spray_alert")


async def test_guesses_in_both_lanes_stay_under_the_bound_and_keep_no_owner_out(run: Run) -> None:
    _held(await run(rows.guesses), "challenge_required")


async def test_a_neighbour_behind_the_same_nat_makes_no_right_code_fail(run: Run) -> None:
    _held(await run(rows.neighbour), "calls_per_ip")


async def test_a_subnet_of_ipv6_does_not_count_as_256_strangers(run: Run) -> None:
    row = await run(rows.subnet)
    _held(row)
    assert row.strangers.denied.keys() <= {"calls_per_ip", "challenge_required"}


async def test_guesses_where_codes_come_from_ten_thousand_numbers_keep_no_owner_out(tmp_path: Path) -> None:
    with ExitStack() as stack:
        simulator = stack.enter_context(simulating(tmp_path / "simulator", "--pool", str(POOL), "--seed", "1"))
        server = Server(tmp_path)
        stack.callback(server.stop)
        await add_to_samples(server.url, codes_from(POOL))
        service = stack.enter_context(serving(tmp_path / "service", simulator.send_url, **BEHIND, REDIS_URL=server.url))
        async with of_service(service, simulator) as at:
            row = await rows.small_pool(at, QUICK)
            await row.look_for_signs()
    _held(row, "guess_budget")
    assert row.strangers.calls == QUICK.people, "one call a phone: no other whose code could not be checked"


async def test_where_strangers_may_use_everything_the_harness_finds_it_out(
    tmp_path: Path, simulator: Simulator
) -> None:
    settings: dict[str, Any] = BEHIND | {"PUBLIC_SHARE": "1", "SPEND_PER_HOUR": "2.8", "CHALLENGE": "never"}
    with serving(tmp_path, simulator.send_url, **settings) as service:
        async with of_service(service, simulator) as at:
            row = await rows.money(at, QUICK)
    assert not row.held
    assert not all(row.backend)
    assert "people were kept out   BROKEN" in table([row])


def test_what_breaks_a_promise_is_marked() -> None:
    at: Any = type("At", (), {"policy": {"expected_price": "0.35"}})
    row = Row("an attack", Strangers(at, 0), {}, backend=[True], device=[True])
    row.at_most("calls in an hour", 5, 5)
    assert row.held
    assert "BROKEN" not in table([row])
    row.at_most("calls in an hour", 6, 5)
    assert not row.held
    assert "calls in an hour: 6 of 5   BROKEN" in table([row])


def test_the_command_of_the_docs_runs_and_prints_the_table() -> None:
    command = [sys.executable, "-m", "tests.attacks.own_deployment", "--quick", "--row", "neighbour"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| a neighbour behind NAT | 1 | 2 | 0 | 0.70 | 3 of 3 | 3 of 3 |" in done.stdout
    assert "neighbour: as promised" in done.stderr

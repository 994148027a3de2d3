"""The bounds of money and of guesses through HTTP, with two workers: exact under a storm, whatever a price looks like, for any caller."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.harness import Service, Simulator, fresh_phone, service_with, wrong

BURST = 100
CAP, EXPECTED = 7.0, 0.35
TEST_NUMBER = "+79990000001"
PUMPED, RANGE = "+7958100", 50

_till = service_with(
    SPEND_PER_HOUR=str(CAP), EXPECTED_PRICE=str(EXPECTED), PROVIDER_READ_TIMEOUT="5", TEST_NUMBERS=f"{TEST_NUMBER}=0000"
)
guarded = service_with(FRAUD_MIN_CONVERSION="0.2", FRAUD_CALLS_PER_RANGE=str(RANGE))
attacked = service_with(CALLS_PER_PHONE="100/day", RESEND_COOLDOWNS="5", MAX_GUESS_PROBABILITY="0.002")


@pytest.fixture
def till(_till: Service, simulator: Simulator) -> Iterator[Service]:
    """Nothing was spent, and no price was seen."""
    _forget(_till)
    yield _till
    simulator.http.delete("/behaviour").raise_for_status()


def _forget(service: Service) -> None:
    service.later(100 * 3600)


def _lines(service: Service, event: str) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["event"] == event]


def _statuses(service: Service, phones: list[str]) -> Counter[int]:
    answers = service.at_once("/verify/start", [{"phone": phone} for phone in phones])
    return Counter(answer.status_code for answer in answers)


# ---- money


def test_a_storm_of_starts_costs_no_more_than_the_cap(till: Service, simulator: Simulator) -> None:
    before, phones = len(_lines(till, "spend_cap")), [fresh_phone() for _ in range(60)]
    answers = till.at_once("/verify/start", [{"phone": phone} for phone in phones])
    assert Counter(answer.status_code for answer in answers) == {201: 20, 503: 40}
    assert sum(simulator.count(phone) for phone in phones) == 20
    for answer in answers:
        if answer.status_code == 503:
            problem = answer.json()
            assert problem["code"] == "spend_cap"
            assert int(answer.headers["retry-after"]) == problem["retry_after"] > 3000
            assert "cap" not in problem, "whose money is at its end is the operator's business"
    logged = _lines(till, "spend_cap")[before:]
    assert [(line["level"], line["cap"]) for line in logged] == [("error", "all")] * 40
    assert till.start(TEST_NUMBER).status_code == 201, "a test number costs nothing"


def test_a_storm_in_both_lanes_leaves_the_trusted_one_its_half(till: Service, simulator: Simulator) -> None:
    phones = [fresh_phone() for _ in range(100)]
    headers = [till.headers(client) for client in ("app", "backend")] * 50
    till.at_once("/verify/start", [{"phone": phone} for phone in phones], headers=headers)
    calls = [simulator.count(phone) for phone in phones]
    assert sum(calls[::2]) <= 10
    assert sum(calls) == 20


PRICES = {
    "3,50": (3.5, "price_higher_than_expected"),
    "3.50 RUB": (3.5, "price_higher_than_expected"),
    "1.05": (1.05, "price_higher_than_expected"),
    "1e3": (EXPECTED, "price_unreadable"),
    "-1": (EXPECTED, "price_unreadable"),
    "nan": (EXPECTED, "price_unreadable"),
    "0": (EXPECTED, None),
}
"""What the provider says, what a call counts as, and what the log says of it."""


@pytest.mark.parametrize("price", PRICES, ids=str)
def test_whatever_a_price_looks_like_the_cap_holds_one_by_one_and_in_a_burst(
    till: Service, simulator: Simulator, price: str
) -> None:
    counted, event = PRICES[price]
    simulator.http.put("/behaviour", json={"price": price}).raise_for_status()
    seen = {name: len(_lines(till, name)) for name in ("price_higher_than_expected", "price_unreadable")}
    fits = int(CAP / counted + 1e-9)
    assert [till.start(fresh_phone()).status_code for _ in range(fits + 2)] == [201] * fits + [503, 503]
    _forget(till)
    assert _statuses(till, [fresh_phone() for _ in range(BURST)]) == {201: fits, 503: BURST - fits}
    grown = {name for name, count in seen.items() if len(_lines(till, name)) > count}
    assert grown == ({event} if event else set())


async def test_refused_calls_cost_nothing_and_a_killed_worker_loses_no_reservation(
    till: Service, simulator: Simulator
) -> None:
    assert [till.start(fresh_phone()).status_code for _ in range(17)] == [201] * 17
    for _ in range(4):
        refused = fresh_phone()
        simulator.behave(refused, answer="error", error_code="number_not_permitted")
        assert till.start(refused).status_code == 422
    slow = fresh_phone()
    simulator.behave(slow, delay=1.0)
    async with till.asynchronous() as http:
        starting = asyncio.ensure_future(http.post("/verify/start", json={"phone": slow}))
        while simulator.count(slow) == 0:  # noqa: ASYNC110  the simulator has no event to wait for
            await asyncio.sleep(0.02)
        for worker in till.workers():
            os.kill(worker, signal.SIGKILL)
        await asyncio.gather(starting, return_exceptions=True)
    placed = 0
    for _ in range(600):
        try:
            placed += till.start(fresh_phone()).status_code == 201
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        if placed == 2:
            break
    assert placed == 2, "twenty calls fit, and the one that no one reported back is one of them"
    assert till.start(fresh_phone()).json()["code"] == "spend_cap"


async def test_a_pumping_run_over_one_range_is_suspended_at_the_floor_and_no_other(
    guarded: Service, simulator: Simulator
) -> None:
    """150 numbers in one range whose calls are not converted, among 40 people elsewhere, four of five of whom type their codes: 50 calls reach the range."""
    answers: Counter[tuple[int, str]] = Counter()
    async with guarded.asynchronous() as http:
        queue = iter([f"{PUMPED}{number:04d}" for number in range(150)])

        async def pump() -> None:
            for phone in queue:
                answer = await http.post("/verify/start", json={"phone": phone})
                answers[answer.status_code, answer.json().get("code", "")] += 1
                if answer.status_code == 503:
                    assert 0 < int(answer.headers["retry-after"]) <= 900

        async def verify() -> None:
            for number in range(40):
                phone = fresh_phone()
                started = await http.post("/verify/start", json={"phone": phone})
                assert started.status_code == 201
                if number % 5:
                    code = await asyncio.to_thread(simulator.code, phone)
                    checked = await http.post("/verify/check", json={"id": started.json()["id"], "code": code})
                    assert checked.status_code == 200

        await asyncio.gather(*(pump() for _ in range(20)), verify())
    assert answers == {(201, ""): RANGE, (503, "destination_suspended"): 150 - RANGE}
    logged = _lines(guarded, "destination_suspended")
    assert [(line["level"], line["scope"], line["destination"]) for line in logged] == [("warning", "range", PUMPED)]
    denials = [line for line in guarded.lines() if line.get("outcome") == "destination_suspended"]
    assert denials
    assert not [line for line in (*logged, *denials) if "phone" in line], "a range and a masked phone leave 100 numbers"
    assert [entry["destination"] for entry in guarded.get("/policy").json()["suspended"]] == [PUMPED]


# ---- guesses


def test_a_new_verification_client_or_address_does_not_refill_the_budget(
    attacked: Service, simulator: Simulator, phone: str
) -> None:
    """Live verifications hold what their guesses may cost: where four digits have no room left, the next call has five."""
    begun = []
    for n in range(6):
        client = ("backend", "other")[n % 2]
        begun.append((*attacked.begin(simulator, phone, client, client_ip=f"2001:db8:{n}::1"), client))
        attacked.later(5)
    # 0.002, less the reserve for the six digits of all calls of 26 hours (200, three guesses each), is 0.0014: four times three guesses at four digits.
    assert [len(code) for _, code, _ in begun] == [4, 4, 4, 4, 5, 5]
    for verification, code, client in begun[:4]:
        for nth in (1, 2, 3):
            assert attacked.check(verification, wrong(code, nth), client).json()["code"] == "code_incorrect"
    verification, code, client = begun[4]
    assert attacked.check(verification, code, client).status_code == 200, "a right code, whatever others typed"
    verification, code, client = begun[5]
    assert attacked.check(verification, wrong(code), client).json()["attempts_left"] == 2
    assert attacked.check(verification, code, client).status_code == 200
    assert attacked.start(phone, code_length=4).json()["code_length"] == 5, "what was guessed at stays counted"


def test_canceling_refills_nothing_that_was_guessed(attacked: Service, simulator: Simulator, phone: str) -> None:
    """Each round guesses twice and cancels: a cancel gives back what was held, and no more."""
    lengths = []
    for _ in range(9):
        verification, code = attacked.begin(simulator, phone)
        lengths.append(len(code))
        for nth in (1, 2):
            assert attacked.check(verification, wrong(code, nth)).json()["code"] == "code_incorrect"
        assert attacked.post(f"/verify/{verification}/cancel").status_code == 200
        attacked.later(5)
    # 0.0002 a round: after six of them 0.0012 are spent, and 0.0003 more do not fit into 0.0014.
    assert lengths == [4] * 6 + [5] * 3

"""The money bound through HTTP, with two workers: exact under a storm of starts, told to the operator, and no business of the caller's."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.harness import Service, Simulator, fresh_phone, serving


async def _storm(service: Service, phones: list[str]) -> list[httpx.Response]:
    async with service.asynchronous() as http:
        return list(await asyncio.gather(*(http.post("/verify/start", json={"phone": phone}) for phone in phones)))


async def test_a_storm_of_starts_costs_no_more_than_the_cap(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url, SPEND_PER_HOUR="7", EXPECTED_PRICE="0.35") as service:
        phones = [fresh_phone() for _ in range(60)]
        answers = await _storm(service, phones)
        assert Counter(answer.status_code for answer in answers) == {201: 20, 503: 40}
        assert sum(simulator.count(phone) for phone in phones) == 20
        for answer in answers:
            if answer.status_code == 503:
                problem = answer.json()
                assert problem["code"] == "spend_cap"
                assert int(answer.headers["retry-after"]) == problem["retry_after"] > 3000
                assert "cap" not in problem, "whose money is at its end is the operator's business"
        told = [line for line in service.lines() if line["event"] == "spend_cap"]
        assert len(told) == 40
        assert {(line["level"], line["cap"]) for line in told} == {("error", "all")}


async def test_refused_calls_cost_nothing_and_a_killed_worker_loses_no_reservation(
    tmp_path: Path, simulator: Simulator, phones: Callable[[], str]
) -> None:
    with serving(tmp_path, simulator.send_url, SPEND_PER_HOUR="1.05", PROVIDER_READ_TIMEOUT="5") as service:
        for _ in range(4):
            refused = phones()
            simulator.behave(refused, answer="error", error_code="number_not_permitted")
            assert service.start(refused).status_code == 422
        slow = phones()
        simulator.behave(slow, delay=1.0)
        async with service.asynchronous() as http:
            starting = asyncio.ensure_future(http.post("/verify/start", json={"phone": slow}))
            await asyncio.sleep(0.4)
            for worker in service.workers():
                os.kill(worker, signal.SIGKILL)
            await asyncio.gather(starting, return_exceptions=True)
        placed = 0
        for _ in range(60):
            try:
                placed += service.start(phones()).status_code == 201
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            if placed == 2:
                break
        assert placed == 2, "three calls fit, and the one that nobody reported back is one of them"
        assert service.start(phones()).json()["code"] == "spend_cap"


def test_the_answers_price_counts_not_the_expected_one(tmp_path: Path, simulator: Simulator) -> None:
    """The simulator charges 0.35 a call: ten fit under 3.50, though each reserves 1.00."""
    with serving(tmp_path, simulator.send_url, SPEND_PER_HOUR="4.2", EXPECTED_PRICE="1.00", WORKERS="1") as service:
        statuses = [service.start(fresh_phone()).status_code for _ in range(12)]
        assert statuses == [201] * 10 + [503] * 2, "at ten calls 3.50 are spent, and 1.00 more do not fit"


def test_a_test_number_costs_nothing(tmp_path: Path, simulator: Simulator) -> None:
    with serving(
        tmp_path, simulator.send_url, SPEND_PER_HOUR="0", TEST_NUMBERS="+79990000001=0000", WORKERS="1"
    ) as service:
        assert service.start(fresh_phone()).json()["code"] == "spend_cap"
        assert service.start("+79990000001").status_code == 201

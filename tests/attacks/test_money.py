"""The money bound through HTTP, with two workers: exact under a storm of starts, and whatever a price looks like."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.harness import Service, Simulator, fresh_phone, serving
from tests.server import Server

BURST = 100
CAP, EXPECTED = 7.0, 0.35
TEST_NUMBER = "+79990000001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("till-store"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def _till(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, server: Server) -> Iterator[Service]:
    settings = {"SPEND_PER_HOUR": str(CAP), "EXPECTED_PRICE": str(EXPECTED), "TEST_NUMBERS": f"{TEST_NUMBER}=0000"}
    directory = tmp_path_factory.mktemp("till")
    with serving(directory, simulator.send_url, REDIS_URL=server.url, PROVIDER_READ_TIMEOUT="5", **settings) as service:
        yield service


@pytest.fixture
def till(_till: Service, server: Server, simulator: Simulator) -> Iterator[Service]:
    """Nothing was spent, and no price was seen."""
    server.command("FLUSHALL")
    yield _till
    simulator.http.delete("/behaviour").raise_for_status()


def _charge(simulator: Simulator, price: Any) -> None:
    simulator.http.put("/behaviour", json={"price": price}).raise_for_status()


async def _storm(service: Service, phones: list[str]) -> list[httpx.Response]:
    async with service.asynchronous() as http:
        return list(await asyncio.gather(*(http.post("/verify/start", json={"phone": phone}) for phone in phones)))


def _lines(service: Service, event: str) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["event"] == event]


async def test_a_storm_of_starts_costs_no_more_than_the_cap(till: Service, simulator: Simulator) -> None:
    before, phones = len(_lines(till, "spend_cap")), [fresh_phone() for _ in range(60)]
    answers = await _storm(till, phones)
    assert Counter(answer.status_code for answer in answers) == {201: 20, 503: 40}
    assert sum(simulator.count(phone) for phone in phones) == 20
    for answer in answers:
        if answer.status_code == 503:
            problem = answer.json()
            assert problem["code"] == "spend_cap"
            assert int(answer.headers["retry-after"]) == problem["retry_after"] > 3000
            assert "cap" not in problem, "whose money is at its end is the operator's business"
    logged = _lines(till, "spend_cap")[before:]
    assert len(logged) == 40
    assert {(line["level"], line["cap"]) for line in logged} == {("error", "all")}
    assert till.start(TEST_NUMBER).status_code == 201, "a test number costs nothing"


async def test_a_storm_in_both_lanes_leaves_the_trusted_one_its_half(till: Service, simulator: Simulator) -> None:
    phones = {client: [fresh_phone() for _ in range(50)] for client in ("app", "backend")}
    async with till.asynchronous("app") as page, till.asynchronous("backend") as backend:
        requests = [
            http.post("/verify/start", json={"phone": phone})
            for pair in zip(phones["app"], phones["backend"], strict=True)
            for http, phone in zip((page, backend), pair, strict=True)
        ]
        await asyncio.gather(*requests)
    placed = {client: sum(simulator.count(phone) for phone in those) for client, those in phones.items()}
    assert placed["app"] <= 10
    assert sum(placed.values()) == 20


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
async def test_whatever_a_price_looks_like_the_cap_holds_one_by_one_and_in_a_burst(
    till: Service, simulator: Simulator, server: Server, price: Any
) -> None:
    counted, event = PRICES[price]
    _charge(simulator, price)
    seen = {name: len(_lines(till, name)) for name in ("price_higher_than_expected", "price_unreadable")}
    fits = int(CAP / counted + 1e-9)
    statuses = [(await asyncio.to_thread(till.start, fresh_phone())).status_code for _ in range(fits + 2)]
    assert statuses == [201] * fits + [503, 503]
    server.command("FLUSHALL")
    answers = await _storm(till, [fresh_phone() for _ in range(BURST)])
    assert Counter(answer.status_code for answer in answers) == {201: fits, 503: BURST - fits}
    grown = {name for name, count in seen.items() if len(_lines(till, name)) > count}
    assert grown == ({event} if event else set())


def test_a_price_that_is_lower_than_expected_counts_as_it_is(till: Service, simulator: Simulator) -> None:
    """Each call reserves 0.35 and settles at 0.20: 6.65 are spent after 33, and 0.35 more fit."""
    _charge(simulator, "0.20")
    statuses = [till.start(fresh_phone()).status_code for _ in range(36)]
    assert statuses == [201] * 34 + [503] * 2


async def test_refused_calls_cost_nothing_and_a_killed_worker_loses_no_reservation(
    till: Service, simulator: Simulator, phones: Callable[[], str]
) -> None:
    for _ in range(17):
        assert till.start(phones()).status_code == 201
    for _ in range(4):
        refused = phones()
        simulator.behave(refused, answer="error", error_code="number_not_permitted")
        assert till.start(refused).status_code == 422
    slow = phones()
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
            placed += till.start(phones()).status_code == 201
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        if placed == 2:
            break
    assert placed == 2, "twenty calls fit, and the one that no one reported back is one of them"
    assert till.start(phones()).json()["code"] == "spend_cap"

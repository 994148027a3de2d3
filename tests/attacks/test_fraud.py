"""Calls that somebody is paid for, and one guess at each of many, through HTTP with two workers."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.harness import Service, Simulator, fresh_phone, passing_time, serving, wait_out_the_cooldown, wrong

PUMPED = "+7958100"
RANGE, COUNTRY, SPRAY = 50, 120, 20


@pytest.fixture(scope="module")
def _guarded(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    settings = {
        "FRAUD_MIN_CONVERSION": "0.2",
        "FRAUD_CALLS_PER_RANGE": str(RANGE),
        "FRAUD_CALLS_PER_COUNTRY": str(COUNTRY),
        "SPRAY_ALERT": str(SPRAY),
        "RESEND_COOLDOWNS": "5",
    }
    with serving(tmp_path_factory.mktemp("guarded"), simulator.send_url, **settings) as service:
        yield service


@pytest.fixture
def guarded(_guarded: Service) -> Service:
    """Nothing that was called before counts."""

    async def forget() -> None:
        async with passing_time(_guarded) as time:
            await time(8 * 3600)

    asyncio.run(forget())
    return _guarded


async def _start(http: httpx.AsyncClient, phone: str) -> httpx.Response:
    return await http.post("/verify/start", json={"phone": phone})


async def _honest(http: httpx.AsyncClient, simulator: Simulator, phones: list[str]) -> Counter[int]:
    """People who are called and type their codes, four of five."""
    statuses: Counter[int] = Counter()
    for number, phone in enumerate(phones):
        started = await _start(http, phone)
        statuses[started.status_code] += 1
        if started.status_code == 201 and number % 5:
            code = await asyncio.to_thread(simulator.code, phone)
            checked = await http.post("/verify/check", json={"id": started.json()["id"], "code": code})
            assert checked.status_code == 200
    return statuses


async def test_a_pumping_run_over_one_range_is_suspended_at_the_floor_and_no_other(
    guarded: Service, simulator: Simulator
) -> None:
    """150 numbers in one range whose calls are not converted, among 40 people elsewhere: 50 calls reach the range."""
    pumped = [f"{PUMPED}{number:04d}" for number in range(150)]
    people = [fresh_phone() for _ in range(40)]
    answers: Counter[tuple[int, str]] = Counter()
    async with guarded.asynchronous() as http:
        queue = iter(pumped)

        async def pump() -> None:
            for phone in queue:
                answer = await _start(http, phone)
                answers[answer.status_code, answer.json().get("code", "")] += 1
                if answer.status_code == 503:
                    assert 0 < int(answer.headers["retry-after"]) <= 900

        *_, honest = await asyncio.gather(*(pump() for _ in range(20)), _honest(http, simulator, people))
    assert answers == {(201, ""): RANGE, (503, "destination_suspended"): 150 - RANGE}
    assert honest == {201: 40}
    logged = [line for line in guarded.lines() if line["event"] == "destination_suspended"]
    assert [(line["level"], line["scope"], line["destination"]) for line in logged] == [("warning", "range", PUMPED)]
    denials = [line for line in guarded.lines() if line.get("outcome") == "destination_suspended"]
    assert denials
    assert not [line for line in (*logged, *denials) if "phone" in line], (
        "a range and a masked phone leave a hundred numbers"
    )
    assert [entry["destination"] for entry in guarded.get("/policy").json()["suspended"]] == [PUMPED]


async def test_pumping_over_many_ranges_is_suspended_at_the_countrys_floor(
    guarded: Service, simulator: Simulator
) -> None:
    async with guarded.asynchronous() as http:
        phones = [f"+7958{number % 1000:03d}{number:04d}" for number in range(160)]
        answers = await asyncio.gather(*(_start(http, phone) for phone in phones))
    assert Counter(answer.status_code for answer in answers) == {201: COUNTRY, 503: 160 - COUNTRY}
    assert sum(simulator.count(phone) for phone in phones) == COUNTRY
    assert [entry["destination"] for entry in guarded.get("/policy").json()["suspended"]] == ["RU"]


async def test_one_guess_sprayed_over_many_verifications_raises_the_alert(
    guarded: Service, simulator: Simulator
) -> None:
    assert guarded.get("/policy").json()["spray_alert_until"] is None
    async with guarded.asynchronous() as http:
        await _honest(http, simulator, [fresh_phone() for _ in range(10)])
        phones = [f"+7958{number:03d}0000" for number in range(100, 140)]
        started = await asyncio.gather(*(_start(http, phone) for phone in phones))
        guesses = [
            {"id": answer.json()["id"], "code": wrong(simulator.code(phone))}
            for phone, answer in zip(phones, started, strict=True)
        ]
        answers = await asyncio.gather(*(http.post("/verify/check", json=guess) for guess in guesses))
    assert {answer.status_code for answer in answers} == {422}
    alerts = [line for line in guarded.lines() if line["event"] == "spray_alert"]
    assert [line["level"] for line in alerts] == ["error"], "once, not with each guess"
    assert guarded.get("/policy").json()["spray_alert_until"]


def test_a_stranger_with_one_address_cannot_use_up_a_phones_calls(
    guarded: Service, simulator: Simulator, phone: str
) -> None:
    outcomes = []
    for _ in range(4):
        outcomes.append(guarded.start(phone, client_ip="203.0.113.66"))
        asyncio.run(wait_out_the_cooldown(guarded, outcomes[0].json()["id"], 5))
    assert [answer.status_code for answer in outcomes] == [201, 201, 429, 429]
    assert outcomes[2].json()["limit"] == "calls_per_phone_and_ip"
    assert '"calls_per_phone_and_ip/hour";r=0;t=' in outcomes[2].headers["ratelimit"]
    owner = guarded.start(phone, client_ip="198.51.100.7")
    assert owner.status_code == 201
    assert guarded.check(owner.json()["id"], simulator.code(phone)).status_code == 200

"""Calls that somebody is paid for, and one guess at each of many, through HTTP with two workers."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx

from tests.harness import Simulator, fresh_phone, serving, wait_out_the_cooldown, wrong

PUMPED = "+7958100"


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


async def test_a_pumping_run_over_one_range_is_cut_off_at_the_floor_and_nobody_else_is(
    tmp_path: Path, simulator: Simulator
) -> None:
    """5,000 numbers in one range that nobody confirms, among 200 people elsewhere: 50 calls reach the range."""
    with serving(tmp_path, simulator.send_url, FRAUD_MIN_CONVERSION="0.2") as service:
        pumped = [f"{PUMPED}{number:04d}" for number in range(5000)]
        people = [fresh_phone() for _ in range(200)]
        answers: Counter[tuple[int, str]] = Counter()
        async with service.asynchronous() as http:
            queue = iter(pumped)

            async def pump() -> None:
                for phone in queue:
                    answer = await _start(http, phone)
                    answers[answer.status_code, answer.json().get("code", "")] += 1
                    if answer.status_code == 503:
                        assert 0 < int(answer.headers["retry-after"]) <= 900

            *_, honest = await asyncio.gather(*(pump() for _ in range(20)), _honest(http, simulator, people))
        assert answers == {(201, ""): 50, (503, "destination_suspended"): 4950}
        assert honest == {201: 200}
        told = [line for line in service.lines() if line["event"] == "destination_suspended"]
        assert [(line["level"], line["scope"], line["destination"]) for line in told] == [("warning", "range", PUMPED)]
        assert [entry["destination"] for entry in service.get("/policy").json()["suspended"]] == [PUMPED]


async def test_pumping_over_many_ranges_is_cut_off_at_the_countrys_floor(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url, FRAUD_MIN_CONVERSION="0.2", FRAUD_CALLS_PER_COUNTRY="120") as service:
        async with service.asynchronous() as http:
            phones = [f"+7958{number % 1000:03d}{number:04d}" for number in range(400)]
            answers = await asyncio.gather(*(_start(http, phone) for phone in phones))
        assert Counter(answer.status_code for answer in answers) == {201: 120, 503: 280}
        assert [entry["destination"] for entry in service.get("/policy").json()["suspended"]] == ["RU"]


async def test_one_guess_sprayed_over_many_verifications_raises_the_alarm(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url, SPRAY_ALERT="100") as service:
        assert service.get("/policy").json()["spray_alert_until"] is None
        async with service.asynchronous() as http:
            await _honest(http, simulator, [fresh_phone() for _ in range(50)])
            phones = [fresh_phone() for _ in range(160)]
            started = await asyncio.gather(*(_start(http, phone) for phone in phones))
            guesses = [
                {"id": answer.json()["id"], "code": wrong(simulator.code(phone))}
                for phone, answer in zip(phones, started, strict=True)
            ]
            answers = await asyncio.gather(*(http.post("/verify/check", json=guess) for guess in guesses))
        assert {answer.status_code for answer in answers} == {422}
        alarms = [line for line in service.lines() if line["event"] == "spray_alert"]
        assert [line["level"] for line in alarms] == ["error"], "once, not with each guess"
        assert service.get("/policy").json()["spray_alert_until"]


def test_a_stranger_with_one_address_cannot_use_up_a_phones_calls(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    with serving(tmp_path, simulator.send_url, RESEND_COOLDOWNS="5", WORKERS="1") as service:
        outcomes = []
        for _ in range(4):
            outcomes.append(service.start(phone, client_ip="203.0.113.66"))
            asyncio.run(wait_out_the_cooldown(service, outcomes[0].json()["id"], 5))
        assert [answer.status_code for answer in outcomes] == [201, 201, 429, 429]
        assert outcomes[2].json()["limit"] == "calls_per_phone_and_ip"
        assert '"calls_per_phone_and_ip/hour";r=0;t=' in outcomes[2].headers["ratelimit"]
        owner = service.start(phone, client_ip="198.51.100.7")
        assert owner.status_code == 201
        assert service.check(owner.json()["id"], simulator.code(phone)).status_code == 200

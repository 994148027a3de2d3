"""Races: ATTACKS.md, "Races". Two worker processes, a real server, fifty requests in flight."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from tests.harness import Service, Simulator, wait_out_the_cooldown, wrong

IN_FLIGHT = 50


async def _at_once(*requests: Any) -> list[httpx.Response]:
    return list(await asyncio.gather(*requests))


def _codes(answers: list[httpx.Response]) -> Counter[str]:
    return Counter(answer.json().get("code", answer.json().get("status")) for answer in answers)


def _started(service: Service, simulator: Simulator, phone: str) -> tuple[str, str]:
    answer = service.start(phone)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], simulator.code(phone)


async def test_no_more_wrong_guesses_are_evaluated_than_allowed(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification, code = _started(service, simulator, phone)
    async with service.asynchronous() as http:
        guesses = [{"id": verification, "code": wrong(code, nth)} for nth in range(1, IN_FLIGHT + 1)]
        answers = await _at_once(*(http.post("/verify/check", json=guess) for guess in guesses))
    assert _codes(answers) == {"code_incorrect": 3, "attempts_exhausted": IN_FLIGHT - 3}
    assert sorted(a.json()["attempts_left"] for a in answers if a.status_code == 422) == [0, 1, 2]
    assert service.check(verification, code).json()["code"] == "attempts_exhausted"


async def test_a_right_guess_among_wrong_ones_never_stretches_the_bound(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification, code = _started(service, simulator, phone)
    async with service.asynchronous() as http:
        guesses = [wrong(code, nth) for nth in range(1, IN_FLIGHT)] + [code]
        answers = await _at_once(*(http.post("/verify/check", json={"id": verification, "code": g}) for g in guesses))
    seen = _codes(answers)
    assert seen["code_incorrect"] <= 3
    assert seen["approved"] <= 1
    assert seen["approved"] == 1 or seen["code_incorrect"] == 3


async def test_many_right_guesses_are_one_approval(service: Service, simulator: Simulator, phone: str) -> None:
    verification, code = _started(service, simulator, phone)
    async with service.asynchronous() as http:
        answers = await _at_once(
            *(http.post("/verify/check", json={"id": verification, "code": code}) for _ in range(IN_FLIGHT))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1, "one approval, returned many times"
    lines = [line for line in service.lines() if line["event"] == "check" and line.get("id") == verification[:12]]
    assert sum(1 for line in lines if line["outcome"] == "approved" and not line.get("repeated")) == 1


async def test_many_starts_of_one_phone_place_one_call(service: Service, simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, delay=0.3)
    async with service.asynchronous() as http:
        answers = await _at_once(*(http.post("/verify/start", json={"phone": phone}) for _ in range(IN_FLIGHT)))
    seen = Counter(answer.status_code for answer in answers)
    assert seen[201] == 1
    assert seen[409] + seen[429] == IN_FLIGHT - 1
    assert all(answer.json()["retry_after"] >= 1 for answer in answers if answer.status_code != 201)
    assert simulator.count(phone) == 1


async def test_many_clients_and_spellings_of_one_phone_place_one_call(
    service: Service, simulator: Simulator, phone: str
) -> None:
    digits = phone[2:]
    spellings = [
        phone,
        f"8{digits}",
        f"+7 ({digits[:3]}) {digits[3:6]}-{digits[6:8]}-{digits[8:]}",
        f"007{digits}",
        f"7{digits}",
        digits,
        "".join(chr(0x660 + int(d)) for d in "7" + digits),
        f"+7\u200b{digits[:5]}\u2060{digits[5:]}",
        f"８{digits}",
        f"tel:{phone}",
    ]
    async with service.asynchronous("backend") as one, service.asynchronous("other") as two:
        answers = await _at_once(
            *(
                (one, two)[n % 2].post("/verify/start", json={"phone": spellings[n % len(spellings)]})
                for n in range(IN_FLIGHT)
            )
        )
    assert Counter(answer.status_code for answer in answers)[201] == 1, [
        a.text for a in answers if a.status_code == 422
    ]
    assert {answer.status_code for answer in answers} <= {201, 409, 429}
    assert simulator.count(phone) == 1


async def test_many_resends_place_one_call(service: Service, simulator: Simulator, phone: str) -> None:
    verification, _ = _started(service, simulator, phone)
    await wait_out_the_cooldown(service, verification)
    async with service.asynchronous() as http:
        answers = await _at_once(*(http.post("/verify/resend", json={"id": verification}) for _ in range(IN_FLIGHT)))
    assert Counter(answer.status_code for answer in answers)[200] == 1
    assert simulator.count(phone) == 2


async def test_a_resend_during_checks_keeps_one_attempt_counter_and_a_ttl(
    service: Service, simulator: Simulator, phones: Callable[[], str]
) -> None:
    phone = phones()
    verification, first = _started(service, simulator, phone)
    await wait_out_the_cooldown(service, verification)
    simulator.behave(phone, delay=0.2)
    async with service.asynchronous() as http:
        resend = asyncio.ensure_future(http.post("/verify/resend", json={"id": verification}))
        guesses = await _at_once(
            *(http.post("/verify/check", json={"id": verification, "code": wrong(first, nth)}) for nth in range(1, 3))
        )
        assert (await resend).status_code == 200
    assert _codes(guesses) == {"code_incorrect": 2}
    state = service.get(f"/verify/{verification}").json()
    assert state["attempts_left"] == 1
    assert state["calls"] == 2
    # The first call may arrive late: its code counts too, and on the last attempt.
    assert service.check(verification, first).status_code == 200


def test_the_right_code_on_the_last_attempt_is_approved(service: Service, simulator: Simulator, phone: str) -> None:
    verification, code = _started(service, simulator, phone)
    assert [service.check(verification, wrong(code, nth)).status_code for nth in (1, 2)] == [422, 422]
    answer = service.check(verification, code)
    assert (answer.status_code, answer.json()["status"]) == (200, "approved")


async def test_a_flood_of_readiness_questions_takes_nothing_from_verifications(
    service: Service, simulator: Simulator, phones: Callable[[], str]
) -> None:
    async with service.asynchronous() as http, httpx.AsyncClient(base_url=service.url, timeout=30) as stranger:
        flood = [asyncio.ensure_future(stranger.get("/readyz")) for _ in range(150)]
        started = await _at_once(*(http.post("/verify/start", json={"phone": phones()}) for _ in range(25)))
        asked = await _at_once(*flood)
    assert {answer.status_code for answer in started} == {201}
    assert {answer.status_code for answer in asked} == {200}

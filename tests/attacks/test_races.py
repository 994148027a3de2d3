"""Races: ATTACKS.md, "Races". Two worker processes, a real server, fifty requests in flight."""

import asyncio
from collections import Counter

import httpx

from tests.harness import Service, Simulator, fresh_phone, wrong

IN_FLIGHT = 50


def _codes(answers: list[httpx.Response]) -> Counter[str]:
    return Counter(answer.json().get("code", answer.json().get("status")) for answer in answers)


def test_no_more_wrong_guesses_are_evaluated_than_allowed(service: Service, simulator: Simulator) -> None:
    verification, code = service.begin(simulator)
    guesses = [{"id": verification, "code": wrong(code, nth)} for nth in range(1, IN_FLIGHT + 1)]
    answers = service.at_once("/verify/check", guesses)
    assert _codes(answers) == {"code_incorrect": 3, "attempts_exhausted": IN_FLIGHT - 3}
    assert sorted(a.json()["attempts_left"] for a in answers if a.status_code == 422) == [0, 1, 2]
    assert service.check(verification, code).json()["code"] == "attempts_exhausted"


def test_a_right_guess_among_wrong_ones_never_stretches_the_bound(service: Service, simulator: Simulator) -> None:
    verification, code = service.begin(simulator)
    guesses = [wrong(code, nth) for nth in range(1, IN_FLIGHT)] + [code]
    seen = _codes(service.at_once("/verify/check", [{"id": verification, "code": guess} for guess in guesses]))
    assert seen["code_incorrect"] <= 3
    assert seen["approved"] == 1 or (seen["approved"], seen["code_incorrect"]) == (0, 3)


def test_many_right_guesses_are_one_approval(service: Service, simulator: Simulator) -> None:
    verification, code = service.begin(simulator)
    answers = service.at_once("/verify/check", [{"id": verification, "code": code}] * IN_FLIGHT)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1, "one approval, returned many times"
    lines = [line for line in service.lines() if line["event"] == "check" and line.get("id") == verification[:12]]
    assert sum(1 for line in lines if line["outcome"] == "approved" and not line.get("repeated")) == 1


def test_many_clients_and_spellings_of_one_phone_place_one_call(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.3)
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
    bodies = [{"phone": spellings[n % 10], "client_ip": f"203.0.113.{n}"} for n in range(IN_FLIGHT)]
    clients = [service.headers(("backend", "other")[n % 2]) for n in range(IN_FLIGHT)]
    answers = service.at_once("/verify/start", bodies, headers=clients)
    seen = Counter(answer.status_code for answer in answers)
    assert seen[201] == 1
    assert seen[409] + seen[429] == IN_FLIGHT - 1, [answer.text for answer in answers if answer.status_code == 422]
    assert all(answer.json()["retry_after"] >= 1 for answer in answers if answer.status_code != 201)
    assert simulator.count(phone) == 1


def test_many_resends_place_one_call(service: Service, simulator: Simulator, phone: str) -> None:
    verification, _ = service.begin(simulator, phone)
    service.later(30)
    answers = service.at_once("/verify/resend", [{"id": verification}] * IN_FLIGHT)
    assert Counter(answer.status_code for answer in answers)[200] == 1
    assert simulator.count(phone) == 2


async def test_a_resend_during_checks_keeps_one_attempt_counter(
    service: Service, simulator: Simulator, phone: str
) -> None:
    verification, first = service.begin(simulator, phone)
    await asyncio.to_thread(service.later, 30)
    simulator.behave(phone, delay=0.2)
    async with service.asynchronous() as http:
        resend = asyncio.ensure_future(http.post("/verify/resend", json={"id": verification}))
        guesses = [{"id": verification, "code": wrong(first, nth)} for nth in (1, 2)]
        answers = await asyncio.gather(*(http.post("/verify/check", json=guess) for guess in guesses))
        assert (await resend).status_code == 200
    assert _codes(answers) == {"code_incorrect": 2}
    state = service.get(f"/verify/{verification}").json()
    assert (state["attempts_left"], state["calls"]) == (1, 2)
    assert service.check(verification, first).status_code == 200, "the first call may arrive late: its code counts too"


def test_the_right_code_on_the_last_attempt_is_approved(service: Service, simulator: Simulator) -> None:
    verification, code = service.begin(simulator)
    assert [service.check(verification, wrong(code, nth)).status_code for nth in (1, 2)] == [422, 422]
    answer = service.check(verification, code)
    assert (answer.status_code, answer.json()["status"]) == (200, "approved")


async def test_a_flood_of_readiness_questions_takes_nothing_from_verifications(service: Service) -> None:
    async with service.asynchronous() as http, httpx.AsyncClient(base_url=service.url, timeout=30) as stranger:
        flood = [asyncio.ensure_future(stranger.get("/readyz")) for _ in range(150)]
        starts = [http.post("/verify/start", json={"phone": fresh_phone()}) for _ in range(25)]
        assert {answer.status_code for answer in await asyncio.gather(*starts)} == {201}
        assert {answer.status_code for answer in await asyncio.gather(*flood)} == {200}

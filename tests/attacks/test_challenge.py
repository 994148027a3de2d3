"""Challenges through HTTP with two workers: asked for while somebody guesses at many phones, of public clients only, and solved once each."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from altcha import solve_challenge
from altcha.v2 import Challenge, Payload

from tests.harness import Service, Simulator, fresh_phone, serving, wrong

SHOP = {"Origin": "https://shop.example"}


def _solve(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["code"]) == (428, "challenge_required"), answer.text
    challenge = Challenge.from_dict(answer.json()["challenge"])
    solution = solve_challenge(challenge)
    assert solution
    return Payload(challenge, solution).to_base64()


def _page(service: Service, phone: str, client: str = "web", **members: Any) -> httpx.Response:
    headers = SHOP if client == "web" else {}
    return service.post("/verify/start", {"phone": phone, **members}, client, headers=headers)


def _spray(service: Service, simulator: Simulator, verifications: int) -> None:
    for _ in range(verifications):
        phone = fresh_phone()
        begun = service.start(phone).json()["id"]
        assert service.check(begun, wrong(simulator.code(phone))).status_code == 422


def test_while_codes_are_sprayed_a_page_must_solve_a_challenge_for_each_call(
    tmp_path: Path, simulator: Simulator
) -> None:
    with serving(tmp_path, simulator.send_url, SPRAY_ALERT="10", TEST_NUMBERS="+79990000001=0000") as service:
        assert _page(service, fresh_phone()).status_code == 201, "no alarm, no challenge"
        _spray(service, simulator, 11)
        phone = fresh_phone()
        asked = _page(service, phone)
        assert simulator.count(phone) == 0, "nobody was called for it"
        assert asked.headers["access-control-allow-origin"] == SHOP["Origin"]
        solution = _solve(asked)
        assert _page(service, phone, "app", challenge=solution).status_code == 428, "it is another client's"
        assert _page(service, phone, challenge=solution[:-8]).status_code == 428
        begun = _page(service, phone, challenge=solution)
        assert begun.status_code == 201
        assert _page(service, fresh_phone(), challenge=solution).status_code == 428, "one solution is one call"
        code = simulator.code(phone)
        checked = service.post("/verify/check", {"id": begun.json()["id"], "code": code}, "web", headers=SHOP)
        assert checked.status_code == 200
        assert service.start(fresh_phone()).status_code == 201, "a backend knows its users itself"
        assert _page(service, "+79990000001").status_code == 201, "a test number is never called"


async def test_one_solution_sent_many_times_at_once_is_one_call(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url, CHALLENGE="always", CALLS_PER_IP="999/hour") as service:
        solution = await asyncio.to_thread(_solve, _page(service, fresh_phone()))
        phones = [fresh_phone() for _ in range(40)]
        async with service.asynchronous("web") as http:
            bodies = [{"phone": phone, "challenge": solution} for phone in phones]
            answers = await asyncio.gather(*(http.post("/verify/start", json=body, headers=SHOP) for body in bodies))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 428: 39}
        assert sum(simulator.count(phone) for phone in phones) == 1


def test_a_solution_that_a_denied_start_brought_still_counts(tmp_path: Path, simulator: Simulator, phone: str) -> None:
    with serving(tmp_path, simulator.send_url, CHALLENGE="always", WORKERS="1") as service:
        first = _page(service, phone, challenge=_solve(_page(service, phone)))
        assert first.status_code == 201
        solution = _solve(_page(service, phone))
        assert _page(service, phone, challenge=solution).json()["code"] == "limit_reached"
        assert _page(service, fresh_phone(), challenge=solution).status_code == 201


def test_who_wants_no_challenges_has_none(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url, CHALLENGE="never", SPRAY_ALERT="3", WORKERS="1") as service:
        _spray(service, simulator, 5)
        assert service.get("/policy").json()["spray_alert_until"]
        assert _page(service, fresh_phone()).status_code == 201


def test_a_request_that_is_sent_again_with_another_solution_is_the_same_request(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    with serving(tmp_path, simulator.send_url, CHALLENGE="always", WORKERS="1") as service:
        solutions = [_solve(_page(service, phone)) for _ in range(2)]
        headers = SHOP | {"Idempotency-Key": "0f6b1c2e-8f5d-4c0b-9a52-2f1f5a9a1f11"}
        answers = [
            service.post("/verify/start", {"phone": phone, "challenge": solution}, "web", headers=headers)
            for solution in solutions
        ]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[1].headers["idempotency-replayed"] == "true"
        assert answers[0].content == answers[1].content
        assert simulator.count(phone) == 1

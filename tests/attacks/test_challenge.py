"""Challenges through HTTP with two workers: asked for while codes are sprayed over many phones, of public clients only, and solved once each."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.attacks.page import SHOP, TEST_NUMBER
from tests.attacks.strangers import level_of, solution_of
from tests.harness import Service, Simulator, fresh_phone, serving, wrong


@pytest.fixture(scope="module")
def dear(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A service that always challenges strangers."""
    settings = {"CHALLENGE": "always", "CALLS_PER_IP": "999/hour", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path_factory.mktemp("dear"), simulator.send_url, **settings) as service:
        yield service


def _solve(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["code"]) == (428, "challenge_required"), answer.text
    return asyncio.run(solution_of(answer))


def _page(service: Service, phone: str, client: str = "web", **members: Any) -> httpx.Response:
    """From a network of its own: the work grows with a network's calls."""
    site = {"X-Forwarded-For": f"2001:db8:{secrets.randbelow(65536):x}::1"}
    return service.post(
        "/verify/start", {"phone": phone, **members}, client, headers=site | (SHOP if client == "web" else {})
    )


def _spray(service: Service, simulator: Simulator, verifications: int) -> None:
    for _ in range(verifications):
        phone = fresh_phone()
        begun = service.start(phone).json()["id"]
        assert service.check(begun, wrong(simulator.code(phone))).status_code == 422


def test_while_codes_are_sprayed_a_page_must_solve_a_challenge_for_each_call(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator
) -> None:
    settings = {
        "SPRAY_ALERT": "10",
        "TEST_NUMBERS": f"{TEST_NUMBER}=0000",
        "TRUSTED_PROXIES": "127.0.0.1",
        "WORKERS": "1",
    }
    with serving(tmp_path_factory.mktemp("sprayed"), simulator.send_url, **settings) as service:
        assert _page(service, fresh_phone()).status_code == 201, "no alert, no challenge"
        _spray(service, simulator, 11)
        phone = fresh_phone()
        asked = _page(service, phone)
        assert simulator.count(phone) == 0, "it was not called for it"
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
        assert _page(service, phone, device=checked.json()["device"]).status_code == 201, "so does a known device"
        assert _page(service, TEST_NUMBER).status_code == 201, "a test number is never called"


async def test_one_solution_sent_many_times_at_once_is_one_call(dear: Service, simulator: Simulator) -> None:
    solution = await asyncio.to_thread(_solve, _page(dear, fresh_phone()))
    phones = [fresh_phone() for _ in range(40)]
    async with dear.asynchronous("web") as http:
        bodies = [{"phone": phone, "challenge": solution} for phone in phones]
        sites = [SHOP | {"X-Forwarded-For": f"2001:db8:{number:x}::7"} for number in range(40)]
        answers = await asyncio.gather(
            *(http.post("/verify/start", json=body, headers=site) for body, site in zip(bodies, sites, strict=True))
        )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 428: 39}
    assert sum(simulator.count(phone) for phone in phones) == 1


def test_a_solution_that_a_denied_start_brought_still_counts(dear: Service, phone: str) -> None:
    assert dear.start(phone).status_code == 201
    solution = _solve(_page(dear, phone))
    assert _page(dear, phone, challenge=solution).json()["code"] == "limit_reached"
    assert _page(dear, fresh_phone(), challenge=solution).status_code == 201


def test_an_easy_solution_is_none_where_a_harder_one_is_required(dear: Service, phone: str) -> None:
    """The work grows with each call to the same phone that led to no approval; a solution for another phone can't be brought here."""
    easy = [_solve(_page(dear, fresh_phone())) for _ in range(2)]
    assert _page(dear, phone, challenge=easy.pop()).status_code == 201
    asked = _page(dear, phone, challenge=easy[0])
    assert (asked.status_code, level_of(asked)) == (428, 1)
    assert _page(dear, fresh_phone(), challenge=easy[0]).status_code == 201, "and it is not used up"


def test_without_challenges_a_sprayed_page_has_none(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator
) -> None:
    settings = {"CHALLENGE": "never", "SPRAY_ALERT": "3", "WORKERS": "1"}
    with serving(tmp_path_factory.mktemp("never"), simulator.send_url, **settings) as service:
        _spray(service, simulator, 5)
        assert service.get("/policy").json()["spray_alert_until"]
        assert service.post("/verify/start", {"phone": fresh_phone()}, "app").status_code == 201


def test_a_request_that_is_sent_again_with_another_solution_is_the_same_request(
    dear: Service, simulator: Simulator, phone: str
) -> None:
    solutions = [_solve(_page(dear, phone)) for _ in range(2)]
    headers = SHOP | {"Idempotency-Key": secrets.token_hex(16)}
    answers = [
        dear.post("/verify/start", {"phone": phone, "challenge": solution}, "web", headers=headers)
        for solution in solutions
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert answers[0].content == answers[1].content
    assert simulator.count(phone) == 1

"""Challenges through HTTP with two workers: asked for while codes are sprayed over many phones, of public clients only, and solved once each."""

import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.attacks.page import SHOP, TEST_NUMBER, solution_of
from tests.harness import Service, Simulator, fresh_phone, service_with, serving, wrong

dear = service_with(CHALLENGE="always", CALLS_PER_IP="999/hour", TRUSTED_PROXIES="127.0.0.1")


def _network() -> dict[str, str]:
    """A network of its own: the work grows with a network's calls."""
    return SHOP | {"X-Forwarded-For": f"2001:db8:{secrets.randbelow(65536):x}::1"}


def _page(service: Service, phone: str, client: str = "web", **members: Any) -> httpx.Response:
    return service.start(phone, client, _network(), **members)


def test_while_codes_are_sprayed_a_page_must_solve_a_challenge_for_each_call(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    """One guess at each of many phones raises a global alert."""
    settings = {"SPRAY_ALERT": "10", "TEST_NUMBERS": f"{TEST_NUMBER}=0000", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path, simulator.send_url, **settings) as service:
        assert _page(service, fresh_phone()).status_code == 201, "no alert, no challenge"
        for _ in range(15):
            begun, code = service.begin(simulator)
            assert service.check(begun, wrong(code)).status_code == 422
        alerts = [line["level"] for line in service.lines() if line["event"] == "spray_alert"]
        assert alerts == ["error"], "once, not with each guess"
        assert service.get("/policy").json()["spray_alert_until"]
        asked = _page(service, phone)
        assert simulator.count(phone) == 0, "it was not called for it"
        assert asked.headers["access-control-allow-origin"] == SHOP["Origin"]
        solution = solution_of(asked)
        assert service.start(phone, "app", challenge=solution).status_code == 428, "it is another client's"
        assert _page(service, phone, challenge=solution[:-8]).status_code == 428
        begun = _page(service, phone, challenge=solution).json()["id"]
        assert _page(service, fresh_phone(), challenge=solution).status_code == 428, "one solution is one call"
        body = {"id": begun, "code": simulator.code(phone)}
        checked = service.post("/verify/check", body, "web", headers=SHOP)
        assert checked.status_code == 200
        assert service.start(fresh_phone()).status_code == 201, "a backend knows its users itself"
        assert _page(service, phone, device=checked.json()["device"]).status_code == 201, "so does a known device"
        assert _page(service, TEST_NUMBER).status_code == 201, "a test number is never called"


def test_one_solution_sent_many_times_at_once_is_one_call(dear: Service, simulator: Simulator) -> None:
    solution = solution_of(_page(dear, fresh_phone()))
    phones = [fresh_phone() for _ in range(40)]
    bodies = [{"phone": phone, "challenge": solution} for phone in phones]
    answers = dear.at_once("/verify/start", bodies, "web", [_network() for _ in phones])
    assert Counter(answer.status_code for answer in answers) == {201: 1, 428: 39}
    assert sum(simulator.count(phone) for phone in phones) == 1


def test_a_request_that_is_sent_again_with_another_solution_is_the_same_request(
    dear: Service, simulator: Simulator, phone: str
) -> None:
    solutions = [solution_of(_page(dear, phone)) for _ in range(2)]
    headers = _network() | {"Idempotency-Key": secrets.token_hex(16)}
    first, again = (dear.start(phone, "web", headers, challenge=solution) for solution in solutions)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert simulator.count(phone) == 1

"""Test numbers: never called, a fixed code, counted apart, marked in the token, and impossible to add over HTTP."""

import httpx
import jwt
import pytest

from tests.harness import Service, Simulator, fresh_phone, serving
from tests.integration.conftest import FOREIGN, FOUR, SIX


@pytest.mark.parametrize(("phone", "code"), [(FOUR, "0000"), (SIX, "123456"), (FOREIGN, "4321")])
def test_a_test_number_is_verified_with_its_code_and_never_called(
    small: Service, simulator: Simulator, phone: str, code: str
) -> None:
    started = small.start(phone, code_length=5, purpose="login")
    assert (started.status_code, started.json()["code_length"]) == (201, len(code))
    verification = started.json()["id"]
    assert small.check(verification, "9" * len(code)).json()["attempts_left"] == 2
    resent = small.post("/verify/resend", {"id": verification})
    assert (resent.status_code, resent.json()["id"]) == (200, verification)
    approved = small.check(verification, code)
    assert approved.status_code == 200
    claims = jwt.decode(approved.json()["token"], options={"verify_signature": False})
    assert (claims["test"], claims["phone_number"]) == (True, phone)
    assert small.get(f"/verify/{verification}").json()["test"] is True
    redeemed = small.post("/verify/redeem", {"token": approved.json()["token"]})
    assert (redeemed.status_code, redeemed.json()["test"]) == (200, True)
    assert simulator.count(phone) == 0


def test_every_spelling_of_it_is_the_test_number(small: Service, simulator: Simulator) -> None:
    for spelling in ("8 (999) 000-00-01", "007 999 000 00 01", "+7 999 000-00-01", "9990000001"):
        assert small.check(small.start(spelling).json()["id"], "0000").status_code == 200
    assert simulator.count(FOUR) == 0


def test_attempts_are_counted_and_the_code_is_no_other_numbers(
    small: Service, simulator: Simulator, phone: str
) -> None:
    verification = small.start(FOUR).json()["id"]
    for _ in range(3):
        assert small.check(verification, "9999").status_code == 422
    assert small.check(verification, "0000").json()["code"] == "attempts_exhausted"
    simulator.behave(phone, digits="7305")
    assert small.check(small.start(phone).json()["id"], "0000").json()["code"] == "code_incorrect"


def test_it_has_no_cooldown_and_takes_nothing_from_its_address(small: Service) -> None:
    def start(phone: str) -> httpx.Response:
        return small.post("/verify/start", {"phone": phone}, "app", headers={"X-Forwarded-For": "203.0.113.4"})

    assert [start(FOUR).status_code for _ in range(8)] == [201] * 8
    assert [start(fresh_phone()).status_code for _ in range(3)] == [201] * 3
    assert start(fresh_phone()).json()["limit"] == "calls_per_ip"
    assert start(FOUR).status_code == 201, "nor does its address's limit stop it"


def test_its_requests_are_executed_once_too_and_the_log_marks_them(small: Service) -> None:
    headers = {"Idempotency-Key": f"review-{fresh_phone()}", "X-Request-Id": "reviewed-1"}
    first, again = (small.post("/verify/start", {"phone": FOUR}, headers=headers) for _ in range(2))
    assert again.content == first.content
    line, *_ = [line for line in small.lines() if line.get("request_id") == "reviewed-1"]
    assert (line["event"], line["test"]) == ("start", True)


def test_one_that_is_a_test_number_no_more_takes_no_calls_for_what_was_begun(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator
) -> None:
    directory = tmp_path_factory.mktemp("retired")
    phone = fresh_phone()
    with serving(directory, simulator.send_url, TEST_NUMBERS=f"{phone}=0000", WORKERS="1") as service:
        verification = service.start(phone).json()["id"]
        keys = service.keys
    with serving(directory, simulator.send_url, keys, WORKERS="1") as service:
        assert service.post("/verify/resend", {"id": verification}).json()["code"] == "expired"
        assert service.start(phone).status_code == 201
        assert simulator.count(phone) == 1

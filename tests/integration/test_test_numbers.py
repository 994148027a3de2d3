"""Test numbers: never called, a fixed code, counted apart, marked in the token, and impossible to add over HTTP."""

from collections.abc import Iterator

import jwt
import pytest

from tests.harness import Service, Simulator, fresh_phone, serving

FOUR, SIX, FOREIGN = "+79990000001", "+79990000002", "+12015550123"


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    """A production service that store reviewers use."""
    numbers = f"{FOUR}=0000, {SIX}=123456,{FOREIGN}=4321"
    with serving(
        tmp_path_factory.mktemp("reviewed"), simulator.send_url, TEST_NUMBERS=numbers, CALLS_PER_IP="3/hour"
    ) as service:
        yield service


@pytest.mark.parametrize(("phone", "code"), [(FOUR, "0000"), (SIX, "123456"), (FOREIGN, "4321")])
def test_a_test_number_is_verified_with_its_code_and_never_called(
    reviewed: Service, simulator: Simulator, phone: str, code: str
) -> None:
    started = reviewed.start(phone, code_length=5, purpose="login")
    assert (started.status_code, started.json()["code_length"]) == (201, len(code))
    verification = started.json()["id"]
    assert reviewed.check(verification, "9" * len(code)).json()["attempts_left"] == 2
    approved = reviewed.check(verification, code)
    assert approved.status_code == 200
    claims = jwt.decode(approved.json()["token"], options={"verify_signature": False})
    assert (claims["test"], claims["phone_number"]) == (True, phone)
    assert reviewed.get(f"/verify/{verification}").json()["test"] is True
    redeemed = reviewed.post("/verify/redeem", {"token": approved.json()["token"]})
    assert (redeemed.status_code, redeemed.json()["test"]) == (200, True)
    assert simulator.count(phone) == 0


def test_every_spelling_of_it_is_the_test_number(reviewed: Service, simulator: Simulator) -> None:
    for spelling in ("8 (999) 000-00-01", "007 999 000 00 01", "+7 999 000-00-01", "9990000001"):
        assert reviewed.check(reviewed.start(spelling).json()["id"], "0000").status_code == 200
    assert simulator.count(FOUR) == 0


def test_attempts_are_counted_and_the_code_is_no_other_numbers(
    reviewed: Service, simulator: Simulator, phone: str
) -> None:
    verification = reviewed.start(FOUR).json()["id"]
    for _ in range(3):
        assert reviewed.check(verification, "9999").status_code == 422
    assert reviewed.check(verification, "0000").json()["code"] == "attempts_exhausted"
    simulator.behave(phone, digits="7305")
    assert reviewed.check(reviewed.start(phone).json()["id"], "0000").json()["code"] == "code_incorrect"


def test_it_has_no_cooldown_and_takes_nothing_from_its_address(reviewed: Service, simulator: Simulator) -> None:
    for _ in range(8):
        assert reviewed.start(FOUR, "app").status_code == 201
    for _ in range(3):
        assert reviewed.start(fresh_phone(), "app").status_code == 201
    assert reviewed.start(fresh_phone(), "app").json()["limit"] == "calls_per_ip"
    assert reviewed.start(FOUR, "app").status_code == 201, "nor does its address's limit stop it"


def test_it_is_resent_without_a_call(reviewed: Service, simulator: Simulator) -> None:
    verification = reviewed.start(FOUR).json()["id"]
    resent = reviewed.post("/verify/resend", {"id": verification})
    assert (resent.status_code, resent.json()["id"]) == (200, verification)
    assert reviewed.check(verification, "0000").status_code == 200
    assert simulator.count(FOUR) == 0


def test_its_requests_are_carried_out_once_too(reviewed: Service) -> None:
    headers = {"Idempotency-Key": f"review-{fresh_phone()}"}
    first, again = (reviewed.post("/verify/start", {"phone": FOUR}, headers=headers) for _ in range(2))
    assert again.content == first.content


def test_the_log_marks_it(reviewed: Service) -> None:
    answer = reviewed.post("/verify/start", {"phone": FOUR}, headers={"X-Request-Id": "reviewed-1"})
    assert answer.status_code == 201
    (line,) = [line for line in reviewed.lines() if line.get("request_id") == "reviewed-1"]
    assert (line["event"], line["test"]) == ("start", True)


def test_no_request_makes_a_number_a_test_number(reviewed: Service, simulator: Simulator, phone: str) -> None:
    for extra in ({"test": True}, {"code": "0000"}, {"test_numbers": {phone: "0000"}}):
        assert reviewed.start(phone, **extra).status_code == 422
    assert reviewed.start(phone, purpose="test").status_code == 201
    assert simulator.count(phone) == 1


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

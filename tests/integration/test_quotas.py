"""`RateLimit-Policy` and `RateLimit`: what limits a request, and what is left of the caller's own."""

import re
from collections.abc import Callable

from tests.harness import Service

OF_PHONE = '"calls_per_phone/hour";q=5;w=3600, "calls_per_phone/day";q=10;w=86400'
OF_ADDRESS = (
    '"calls_per_phone_and_ip/hour";q=2;w=3600, "calls_per_phone_and_ip/day";q=5;w=86400, '
    '"calls_per_ip/hour";q=3;w=3600, "calls_per_ip/day";q=5;w=86400'
)


def test_a_start_has_its_limits_and_what_is_left_of_the_callers_own(small: Service, phones: Callable[[], str]) -> None:
    for left in (2, 1, 0):
        answer = small.start(phones(), client_ip="203.0.113.1")
        assert answer.headers["ratelimit-policy"] == f"{OF_PHONE}, {OF_ADDRESS}"
        # The tightest; what is left of a phone's is for no one to know.
        shown = re.fullmatch(r'"calls_per_ip/hour";r=(\d);t=(\d+)', answer.headers["ratelimit"])
        assert shown, answer.headers["ratelimit"]
        assert int(shown[1]) == left
        assert 3600 <= int(shown[2]) <= 3900
    denied = small.start(phones(), client_ip="203.0.113.1")
    assert denied.status_code == 429
    assert denied.headers["ratelimit"] == f'"calls_per_ip/hour";r=0;t={denied.json()["retry_after"]}'


def test_a_client_is_shown_what_is_left_of_its_own_limits(small: Service, phones: Callable[[], str]) -> None:
    answer = small.start(phones(), "limited")
    assert '"calls_per_client/hour";r=2;t=' in answer.headers["ratelimit"]
    own = '"calls_per_client/hour";q=3;w=3600, "calls_per_client/day";q=100;w=86400'
    assert answer.headers["ratelimit-policy"] == f"{OF_PHONE}, {own}", "no address was named"


def test_the_public_lane_sees_its_share_of_a_phones_calls(small: Service, phones: Callable[[], str]) -> None:
    answer = small.post("/verify/start", {"phone": phones()}, "app", headers={"X-Forwarded-For": "203.0.113.3"})
    policy = answer.headers["ratelimit-policy"].split(", ")
    assert {'"calls_per_phone/hour";q=2;w=3600', '"calls_per_phone_and_ip/hour";q=2;w=3600'} < set(policy)


def test_a_check_and_a_request_that_is_wrong_in_itself_count_against_nothing(small: Service, phone: str) -> None:
    verification = small.start(phone).json()["id"]
    check = small.post("/verify/check", {"id": verification, "code": "1", "client_ip": "203.0.113.2"})
    for answer in (check, small.post("/verify/start", {"phone": 7})):
        assert answer.status_code == 422
        assert "ratelimit-policy" not in answer.headers

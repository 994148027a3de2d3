"""`RateLimit-Policy` and `RateLimit`: what limits a request, and what is left of the caller's own."""

import re
from collections.abc import Callable

import httpx

from tests.harness import Service

_ITEM = re.compile(r'"([a-z_]+(?:/[a-z]+)?)"((?:;[a-z]+=\d+)+)')


def _items(answer: httpx.Response, name: str) -> dict[str, dict[str, int]]:
    """A structured field (RFC 9651): a list of strings with whole-numbered parameters, and nothing else."""
    value = answer.headers[name]
    found = [match for member in value.split(", ") if (match := _ITEM.fullmatch(member))]
    assert len(found) == value.count(", ") + 1, value
    parameters = ((match[1], [part.split("=") for part in match[2].split(";")[1:]]) for match in found)
    return {limit: {key: int(number) for key, number in parts} for limit, parts in parameters}


def test_a_start_has_its_limits_and_what_is_left_of_the_callers_own(small: Service, phones: Callable[[], str]) -> None:
    for left in (2, 1, 0):
        answer = small.start(phones(), client_ip="203.0.113.1")
        assert _items(answer, "ratelimit-policy") == {
            "calls_per_phone/hour": {"q": 5, "w": 3600},
            "calls_per_phone/day": {"q": 10, "w": 86400},
            "calls_per_phone_and_ip/hour": {"q": 2, "w": 3600},
            "calls_per_phone_and_ip/day": {"q": 5, "w": 86400},
            "calls_per_ip/hour": {"q": 3, "w": 3600},
            "calls_per_ip/day": {"q": 5, "w": 86400},
        }
        shown = _items(answer, "ratelimit")
        assert set(shown) == {"calls_per_ip/hour"}, "the tightest; what is left of a phone's is for no one to know"
        assert 3600 <= shown["calls_per_ip/hour"]["t"] <= 3900
        assert shown["calls_per_ip/hour"]["r"] == left
    denied = small.start(phones(), client_ip="203.0.113.1")
    assert denied.status_code == 429
    assert _items(denied, "ratelimit") == {"calls_per_ip/hour": {"r": 0, "t": denied.json()["retry_after"]}}


def test_a_client_is_shown_what_is_left_of_its_own_limits(small: Service, phones: Callable[[], str]) -> None:
    answer = small.start(phones(), "limited")
    assert _items(answer, "ratelimit")["calls_per_client/hour"]["r"] == 2
    policy = _items(answer, "ratelimit-policy")
    assert policy["calls_per_client/day"] == {"q": 100, "w": 86400}
    assert not [name for name in policy if name.startswith("calls_per_ip")], "no address was named"


def test_the_public_lane_sees_its_share_of_a_phones_calls(small: Service, phones: Callable[[], str]) -> None:
    page = {"X-Forwarded-For": "203.0.113.3"}
    policy = _items(small.post("/verify/start", {"phone": phones()}, "app", headers=page), "ratelimit-policy")
    assert policy["calls_per_phone/hour"] == {"q": 2, "w": 3600}
    assert policy["calls_per_phone_and_ip/hour"] == {"q": 2, "w": 3600}, "a call and its resend"


def test_a_check_and_a_request_that_is_wrong_in_itself_count_against_nothing(small: Service, phone: str) -> None:
    verification = small.start(phone).json()["id"]
    check = small.post("/verify/check", {"id": verification, "code": "1", "client_ip": "203.0.113.2"})
    for answer in (check, small.post("/verify/start", {"phone": 7})):
        assert answer.status_code == 422
        assert "ratelimit-policy" not in answer.headers

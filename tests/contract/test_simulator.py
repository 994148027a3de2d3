"""The simulator: as strict as the provider's document, misbehaving as its clients have met it, and counting exactly."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.harness import PROVIDER_KEY, Simulator

PATH = "/api/call-password/send/"
KEY = {"Authorization": PROVIDER_KEY}
LOGIN = {"login": "user", "password": "provider-password-1"}


@pytest.fixture(autouse=True)
def _as_documented_again(simulator: Simulator) -> Iterator[None]:
    yield
    simulator.http.delete("/behaviour")


def _send(simulator: Simulator, body: object, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = simulator.http.post(PATH, json=body, headers=KEY if headers is None else headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_it_answers_as_documented(simulator: Simulator, phone: str) -> None:
    answer = _send(simulator, {"number": phone[1:], "capacity": "4"})
    assert set(answer) == {"result", "id", "number", "price", "code"}
    assert all(isinstance(value, str) for value in answer.values())
    assert (answer["result"], answer["number"], answer["price"], len(answer["code"])) == ("ok", phone[1:], "0.35", 4)


@pytest.mark.parametrize("capacity", ["4", "5", "6"])
def test_the_code_is_the_end_of_the_number_that_called(simulator: Simulator, phone: str, capacity: str) -> None:
    answer = _send(simulator, {"number": phone[1:], "capacity": capacity})
    (call,) = simulator.calls(phone)
    assert call["from"].endswith(answer["code"])
    assert len(answer["code"]) == int(capacity)
    assert (call["code"], call["id"], call["capacity"]) == (answer["code"], answer["id"], capacity)


@pytest.mark.parametrize(
    ("headers", "security"), [(KEY, None), ({}, {"apiKey": PROVIDER_KEY}), ({}, LOGIN)], ids=["header", "body", "login"]
)
def test_all_three_ways_to_authorise_are_taken(
    simulator: Simulator, phone: str, headers: dict[str, str], security: object
) -> None:
    body = {"number": phone[1:], "capacity": "4"} | ({"security": security} if security else {})
    assert _send(simulator, body, headers)["result"] == "ok"


@pytest.mark.parametrize(
    ("headers", "security"),
    [
        ({}, None),
        ({"Authorization": "wrong"}, None),
        ({"Authorization": f"Bearer {PROVIDER_KEY}"}, None),
        (KEY, {"apiKey": PROVIDER_KEY}),
        (KEY, {}),
        ({}, {"apiKey": "wrong"}),
        ({}, {"login": "user", "password": "wrong"}),
        ({}, {"login": "user"}),
        ({}, {**LOGIN, "apiKey": PROVIDER_KEY}),
        ({}, "apiKey"),
    ],
)
def test_bad_or_doubled_credentials_are_refused(
    simulator: Simulator, phone: str, headers: dict[str, str], security: object
) -> None:
    body = {"number": phone[1:], "capacity": "4"} | ({} if security is None else {"security": security})
    assert _send(simulator, body, headers) == {"result": "error", "error_code": "authorisation_failed"}
    assert simulator.count(phone) == 0


@pytest.mark.parametrize(
    ("change", "error_code"),
    [
        ({"number": None}, "number_is_empty"),
        ({"number": ""}, "number_is_empty"),
        ({"number": "+79161234567"}, "number_not_valid"),
        ({"number": "7 916"}, "number_not_valid"),
        ({"number": "123"}, "number_not_valid"),
        ({"number": 79161234567}, "number_not_valid"),
        ({"capacity": 4}, "unknown_request"),
        ({"capacity": "3"}, "unknown_request"),
        ({"capacity": "7"}, "unknown_request"),
        ({"capacity": None}, "unknown_request"),
        ({"code": "0000"}, "unknown_request"),
    ],
)
def test_requests_are_judged_as_strictly_as_the_document_reads(
    simulator: Simulator, change: dict[str, Any], error_code: str
) -> None:
    body = {"number": "79160000000", "capacity": "4"} | change
    assert _send(simulator, body) == {"result": "error", "error_code": error_code}


def test_only_json_posts_are_understood(simulator: Simulator) -> None:
    assert simulator.http.get(PATH).status_code == 405
    for content, media_type in ((b"{", "application/json"), (b"[]", "application/json"), (b"number=7", "text/plain")):
        answer = simulator.http.post(PATH, content=content, headers={**KEY, "Content-Type": media_type})
        assert answer.json()["error_code"] == "unknown_request"


@pytest.mark.parametrize(
    ("behaviour", "change"),
    [
        ({"code": "number", "digits": "0042"}, {"code": 42}),
        ({"code": "short", "digits": "1234"}, {"code": "234"}),
        ({"code": "long", "digits": "1234"}, {"code": "12340"}),
        ({"code": "letters"}, {"code": "abcd"}),
        ({"code": "missing"}, {"code": None}),
        ({"price": "number"}, {"price": 0.35}),
        ({"price": "absent"}, {"price": None}),
        ({"price": "1.20"}, {"price": "1.20"}),
        ({"number": "other"}, {"number": "70000000000"}),
        ({"number": "absent"}, {"number": None}),
    ],
)
def test_every_shape_that_clients_have_met(
    simulator: Simulator, phone: str, behaviour: dict[str, Any], change: dict[str, Any]
) -> None:
    simulator.behave(phone, **behaviour)
    answer = _send(simulator, {"number": phone[1:], "capacity": "4"})
    assert {name: answer.get(name) for name in change} == change
    assert simulator.count(phone) == 1


def test_an_id_may_be_a_number(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, id="number")
    assert isinstance(_send(simulator, {"number": phone[1:], "capacity": "4"})["id"], int)


@pytest.mark.parametrize(("answer", "status"), [("html", 502), ("empty", 200), ("not_json", 500), ("truncated", 200)])
def test_bodies_that_are_no_json(simulator: Simulator, phone: str, answer: str, status: int) -> None:
    simulator.behave(phone, answer=answer, status=status)
    got = simulator.http.post(PATH, json={"number": phone[1:], "capacity": "4"}, headers=KEY)
    assert got.status_code == status
    with pytest.raises(json.JSONDecodeError):
        got.json()


def test_an_error_places_no_call(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, answer="error", error_code="Недостаточно средств")
    assert _send(simulator, {"number": phone[1:], "capacity": "4"}) == {
        "result": "error",
        "error_code": "Недостаточно средств",
    }
    assert simulator.count(phone) == 0


@pytest.mark.parametrize(("close", "count"), [("before_read", 0), ("after_read", 1)])
def test_the_connection_is_closed_without_an_answer(simulator: Simulator, phone: str, close: str, count: int) -> None:
    simulator.behave(phone, close=close)
    with pytest.raises(httpx.RemoteProtocolError):
        simulator.http.post(PATH, json={"number": phone[1:], "capacity": "4"}, headers=KEY)
    assert simulator.count(phone) == count


def test_asked_of_all_numbers_the_connection_closes_before_the_body_is_sent(simulator: Simulator) -> None:
    simulator.http.put("/behaviour", json={"close": "before_read", "times": 1})
    address = urlsplit(simulator.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 5) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n".encode()
        )
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_it_hangs_past_a_read_timeout_and_counts_the_call(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, hang=True)
    with pytest.raises(httpx.ReadTimeout):
        simulator.http.post(PATH, json={"number": phone[1:], "capacity": "4"}, headers=KEY, timeout=0.2)
    assert simulator.count(phone) == 1


def test_it_delays(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, delay=0.2)
    began = time.monotonic()
    _send(simulator, {"number": phone[1:], "capacity": "4"})
    assert time.monotonic() - began >= 0.2


def test_a_behaviour_may_last_for_so_many_requests(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, answer="error", times=2)
    results = [_send(simulator, {"number": phone[1:], "capacity": "4"})["result"] for _ in range(3)]
    assert results == ["error", "error", "ok"]


def test_a_behaviour_for_all_gives_way_to_one_for_a_number_and_is_cleared(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"answer": "error"})
    simulator.behave(phone, answer="ok")
    assert _send(simulator, {"number": phone[1:], "capacity": "4"})["result"] == "ok"
    assert _send(simulator, {"number": "79160000001", "capacity": "4"})["result"] == "error"
    assert simulator.http.get("/behaviour").json()["default"]["answer"] == "error"
    assert simulator.http.delete("/behaviour").status_code == 204
    assert _send(simulator, {"number": "79160000001", "capacity": "4"})["result"] == "ok"


@pytest.mark.parametrize(
    "body", [b"{", b'{"answer": "maybe"}', b'{"delays": 1}', b'{"delay": -1}', b'{"hang": true, "close": "after_read"}']
)
def test_a_behaviour_that_cant_be_is_refused_with_the_mend(simulator: Simulator, phone: str, body: bytes) -> None:
    answer = simulator.http.put(f"/behaviour/{phone[1:]}", content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"]


def test_special_numbers_misbehave_by_themselves(simulator: Simulator) -> None:
    assert _send(simulator, {"number": "79990000005", "capacity": "4"})["error_code"] == "number_in_spam_list"
    assert _send(simulator, {"number": "79990000021", "capacity": "4"})["code"] == 7
    assert _send(simulator, {"number": "79990009999", "capacity": "4"})["result"] == "ok"


def test_calls_are_listed_newest_first_and_can_be_few(simulator: Simulator, phone: str) -> None:
    sent = [_send(simulator, {"number": phone[1:], "capacity": "4"})["id"] for _ in range(3)]
    assert [call["id"] for call in simulator.calls(phone)] == sent[::-1]
    listed = simulator.http.get("/calls", params={"number": phone[1:], "limit": "2"}).json()
    assert (listed["count"], [call["id"] for call in listed["calls"]]) == (3, sent[:0:-1])
    assert len(simulator.http.get("/calls", params={"limit": "1"}).json()["calls"]) == 1


def test_its_page_loads_nothing_from_elsewhere(simulator: Simulator) -> None:
    page = simulator.http.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    assert simulator.http.get("/page.js").headers["content-type"].startswith("text/javascript")
    assert simulator.http.get("/page.css").status_code == 200

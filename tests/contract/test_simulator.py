"""The simulator: as strict as the provider's document, misbehaving as clients have met it, and counting exactly."""

import base64
import hashlib
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.simulator import SimulatorCredentials, calls
from app.simulator.behaviour import SPECIAL
from tests.harness import PROVIDER_KEY, ROOT, Simulator

PATH = "/api/call-password/send/"
KEY = {"Authorization": PROVIDER_KEY}
LOGIN = {"login": "user", "password": "provider-password-1"}
OTHER_NUMBER = "79160000001"


@pytest.fixture(autouse=True)
def _as_documented_again(simulator: Simulator) -> Iterator[None]:
    yield
    simulator.http.delete("/behaviour")


def _send(simulator: Simulator, body: object, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = simulator.http.post(PATH, json=body, headers=KEY if headers is None else headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def _call(simulator: Simulator, phone: str, capacity: str = "4") -> dict[str, Any]:
    return _send(simulator, {"number": phone.lstrip("+"), "capacity": capacity})


# ---- as documented


@pytest.mark.parametrize("capacity", ["4", "5", "6"])
@pytest.mark.parametrize(
    "way", [(KEY, {}), ({}, {"apiKey": PROVIDER_KEY}), ({}, LOGIN)], ids=["header", "body", "login"]
)
def test_it_answers_as_documented_with_the_end_of_the_calling_number(
    simulator: Simulator, phone: str, capacity: str, way: tuple[dict[str, str], dict[str, str]]
) -> None:
    headers, security = way
    body = {"number": phone[1:], "capacity": capacity} | ({"security": security} if security else {})
    answer = _send(simulator, body, headers)
    (call,) = simulator.calls(phone)
    code = call["from"][-int(capacity) :]
    assert answer == {"result": "ok", "id": call["id"], "number": phone[1:], "price": "0.35", "code": code}
    assert (call["code"], call["capacity"]) == (code, capacity)


BAD_NUMBERS = ("+79161234567", "7 916", "123", 79161234567, "1" * 16, "79161234567\n", "٧٩١٦١٢٣٤٥٦٧")
BAD_SECURITY = (
    {"apiKey": "wrong"},
    LOGIN | {"password": "wrong"},
    {"login": "user"},
    LOGIN | {"apiKey": PROVIDER_KEY},
    "apiKey",
)
REFUSED: dict[str, list[tuple[dict[str, str], Any]]] = {
    "number_is_empty": [(KEY, {"number": number}) for number in (None, "")],
    "number_not_valid": [(KEY, {"number": number}) for number in BAD_NUMBERS],
    "unknown_request": [(KEY, {"code": "0000"}), *((KEY, {"capacity": capacity}) for capacity in (4, "3", "7", None))],
    "authorisation_failed": [
        ({}, {}),
        *(({"Authorization": key}, {}) for key in ("wrong", f"Bearer {PROVIDER_KEY}")),
        *(({}, {"security": security}) for security in BAD_SECURITY),
        *((KEY, {"security": security}) for security in ({"apiKey": PROVIDER_KEY}, {})),
    ],
}


@pytest.mark.parametrize("error_code", REFUSED)
def test_it_is_as_strict_as_the_document(simulator: Simulator, phone: str, error_code: str) -> None:
    for headers, change in REFUSED[error_code]:
        body = {"number": phone[1:], "capacity": "4"} | change
        assert _send(simulator, body, headers) == {"result": "error", "error_code": error_code}
    assert simulator.count(phone) == 0


def test_it_understands_only_json_posts(simulator: Simulator) -> None:
    assert simulator.http.get(PATH).status_code == 405
    good = b'{"number": "79160000000", "capacity": "4"}'
    bad = [(content, "application/json") for content in (b"{", b"[]", b"[" * 60_000, good.decode().encode("utf-16"))]
    for content, media_type in (*bad, (good, "text/plain"), (good, "")):
        answer = simulator.http.post(PATH, content=content, headers={**KEY, "Content-Type": media_type})
        assert (answer.status_code, answer.json()["error_code"]) == (200, "unknown_request")
    declared = {**KEY, "Content-Type": "application/json; charset=utf-8"}
    assert simulator.http.post(PATH, content=good, headers=declared).json()["result"] == "ok"


# ---- misbehaving

SHAPES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"code": "number", "digits": "0042"}, {"code": 42}),
    ({"code": "short", "digits": "1234"}, {"code": "234"}),
    ({"code": "long", "digits": "1234"}, {"code": "12340"}),
    ({"code": "letters"}, {"code": "abcd"}),
    ({"code": "missing"}, {"code": None}),
    ({"digits": "000042"}, {"code": "0042"}),
    ({"number": "other"}, {"number": "70000000000"}),
    ({"number": "absent"}, {"number": None}),
    ({"id": "absent"}, {"id": None}),
    ({"id": "79160000065 code 8941"}, {"id": "79160000065 code 8941"}),
    ({"price": "number"}, {"price": 0.35}),
    ({"price": "absent"}, {"price": None}),
    ({"price": "string"}, {"price": "0.35"}),
    *[({"price": price}, {"price": price}) for price in ("3,50", "₽\u00a03,50", "1e3", 0, -0.5, True, [1], {"sum": 1})],
]


@pytest.mark.parametrize(("behaviour", "change"), SHAPES, ids=str)
def test_it_answers_in_every_shape_and_counts_the_call(
    simulator: Simulator, phone: str, behaviour: dict[str, Any], change: dict[str, Any]
) -> None:
    simulator.behave(phone, **behaviour)
    answer = _call(simulator, phone)
    assert {name: answer.get(name) for name in change} == change
    assert simulator.count(phone) == 1


def test_an_id_may_be_a_number_and_a_price_nan(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, id="number", price="nan")
    answer = _call(simulator, phone)
    assert isinstance(answer["id"], int)
    assert answer["price"] != answer["price"]


BODIES: list[tuple[dict[str, Any], str, int]] = [
    ({"answer": "html", "status": 502}, "<html><body><h1>502 Bad Gateway</h1></body></html>", 1),
    ({"answer": "html", "status": 502, "places_call": False}, "<html>", 0),
    ({"answer": "empty", "status": 200}, "", 1),
    ({"answer": "not_json", "status": 500}, "OK", 1),
    ({"answer": "truncated", "status": 200}, '{"result": "ok"', 1),
    ({"answer": "error", "error_code": "Недостаточно средств", "status": 200}, "Недостаточно средств", 0),
    ({"answer": "error", "status": 200, "places_call": True}, "unknown_request", 1),
]


@pytest.mark.parametrize(("behaviour", "words", "count"), BODIES, ids=str)
def test_it_answers_with_every_body_and_errors_count_no_call_unless_asked_to(
    simulator: Simulator, phone: str, behaviour: dict[str, Any], words: str, count: int
) -> None:
    simulator.behave(phone, **behaviour)
    got = simulator.http.post(PATH, json={"number": phone[1:], "capacity": "4"}, headers=KEY)
    assert got.status_code == behaviour["status"]
    assert words in got.text
    assert got.text.endswith("}") == (behaviour["answer"] == "error"), "whole JSON, or none"
    assert simulator.count(phone) == count


@contextmanager
def _sent_raw(simulator: Simulator, phone: str, *, body: bool = True) -> Iterator[socket.socket]:
    """A connection on which a valid request, or its head, was sent byte for byte."""
    address = urlsplit(simulator.url)
    content = json.dumps({"number": phone.lstrip("+"), "capacity": "4"})
    declared = f"Content-Type: application/json\r\nContent-Length: {len(content)}"
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {PROVIDER_KEY}\r\n{declared}\r\n\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), 5) as connection:
        connection.sendall((head + content * body).encode())
        yield connection


def _ends(connection: socket.socket) -> bool:
    """Whether the connection ends without a byte, closed or reset."""
    with suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


@pytest.mark.parametrize(
    ("behaviour", "count"),
    [({"close": "before_read"}, 0), ({"close": "after_read"}, 1), ({"close": "before_read", "places_call": True}, 1)],
)
def test_a_connection_is_closed_without_a_byte(
    simulator: Simulator, phone: str, behaviour: dict[str, Any], count: int
) -> None:
    simulator.behave(phone, **behaviour)
    with _sent_raw(simulator, phone) as connection:
        assert _ends(connection)
    assert simulator.count(phone) == count


def test_a_close_for_all_numbers_comes_before_the_body_is_sent(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"close": "before_read", "times": 1})
    with _sent_raw(simulator, phone, body=False) as connection:
        assert _ends(connection)
    assert simulator.http.get("/behaviour").json()["default"]["close"] is None


def test_a_close_for_all_numbers_spares_one_with_its_own_behaviour(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"close": "before_read"})
    simulator.behave(phone, answer="ok")
    assert _call(simulator, phone)["result"] == "ok"
    with _sent_raw(simulator, OTHER_NUMBER) as connection:
        assert _ends(connection)


def test_a_hanging_connection_stays_open_without_a_byte_and_counts_the_call(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, hang=True)
    with _sent_raw(simulator, phone) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert simulator.count(phone) == 1


def test_it_delays(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, delay=0.05)
    began = time.monotonic()
    _call(simulator, phone)
    assert time.monotonic() - began >= 0.05


# ---- behaviours set over HTTP


def test_a_behaviour_lasts_for_so_many_requests_and_shows_how_many_are_left(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, answer="error", times=2)
    assert _call(simulator, phone)["result"] == "error"
    assert simulator.http.get("/behaviour").json()["numbers"][phone[1:]]["times"] == 1
    assert [_call(simulator, phone)["result"] for _ in range(2)] == ["error", "ok"]


def test_a_numbers_own_behaviour_goes_before_the_one_for_all_and_each_is_cleared_alone(
    simulator: Simulator, phone: str
) -> None:
    simulator.http.put("/behaviour", json={"answer": "error"})
    simulator.behave(phone, answer="ok")
    assert [_call(simulator, number)["result"] for number in (phone, OTHER_NUMBER)] == ["ok", "error"]
    assert simulator.http.get("/behaviour").json()["default"]["answer"] == "error"
    assert simulator.http.delete(f"/behaviour/{phone[1:]}").status_code == 204
    assert _call(simulator, phone)["result"] == "error"
    assert simulator.http.delete("/behaviour").status_code == 204
    assert _call(simulator, phone)["result"] == "ok"


INVALID = [b"{", b'{"answer": "maybe"}', b'{"delay": -1}', b'{"hang": true, "close": "after_read"}']
INVALID += [b'{"status": 204}', b'{"price": NaN}', b'{"price": [1e999]}', b'{"id": 1}']


@pytest.mark.parametrize("body", INVALID)
def test_an_invalid_behaviour_is_refused_with_what_to_write(simulator: Simulator, phone: str, body: bytes) -> None:
    answer = simulator.http.put(f"/behaviour/{phone[1:]}", content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"]


def test_an_unknown_member_is_answered_with_the_known_ones(simulator: Simulator) -> None:
    (error,) = simulator.http.put("/behaviour", json={"delays": 1}).json()["errors"]
    assert error["field"] == "delays"
    assert "delay, hang, close" in error["message"]


def test_a_number_that_no_call_can_have_is_refused_and_not_counted_as_0(simulator: Simulator) -> None:
    listings = ["/calls/+79161234567", "/calls?number=%2B79161234567", "/calls?number=", "/calls?limit=few"]
    asked = [
        *(("GET", path) for path in listings),
        *((method, "/behaviour/+79161234567") for method in ("PUT", "DELETE")),
    ]
    for method, path in asked:
        answer = simulator.http.request(method, path, json={})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] in {"number", "limit"}


def test_special_numbers_misbehave_without_a_request(simulator: Simulator) -> None:
    assert _call(simulator, "79990000005")["error_code"] == "number_in_spam_list"
    assert _call(simulator, "79990000021")["code"] == 7
    assert _call(simulator, "79990009999")["result"] == "ok"


def test_every_special_number_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8").partition("## Numbers that misbehave")[2]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `+7 999 000-00-")]
    listed = {end for row in rows for end in re.findall(r"(\d\d)`", row)}
    assert {f"799900000{end}" for end in listed} == set(SPECIAL)


# ---- what it shows


def test_calls_are_listed_newest_first_and_can_be_few(simulator: Simulator, phone: str) -> None:
    sent = [_call(simulator, phone)["id"] for _ in range(3)]
    assert [call["id"] for call in simulator.calls(phone)] == sent[::-1]
    listed = simulator.http.get("/calls", params={"number": phone[1:], "limit": "2"}).json()
    assert (listed["count"], [call["id"] for call in listed["calls"]]) == (3, sent[:0:-1])
    assert len(simulator.http.get("/calls", params={"limit": "1"}).json()["calls"]) == 1


def test_its_page_loads_nothing_from_elsewhere_and_runs_only_its_own_script(simulator: Simulator) -> None:
    page = simulator.http.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(
        r"https?://|<link (?!rel=\"icon\" href=\"data:,\")|\ssrc=|@import|\son\w+=|\sstyle=", page.text
    )
    for element in ("style", "script"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy


# ---- the pool, and what is kept


def _drawn(pool: int, seed: int | None, number: int = 60) -> list[str]:
    source = calls.Calls(pool, seed)
    return [source.calling_number(None) for _ in range(number)]


def test_calling_numbers_come_from_the_pool_and_repeat_with_its_seed() -> None:
    assert _drawn(3, 1) == _drawn(3, 1) != _drawn(3, 2)
    assert _drawn(3, None) != _drawn(3, None)
    assert len(set(_drawn(3, None))) == 3


def test_a_small_pool_makes_as_many_codes_as_it_has_numbers_and_all_as_likely() -> None:
    numbers = Counter(_drawn(50, 1, 10_000))
    assert len(numbers) == len({number[-4:] for number in numbers}) == 50
    assert all(120 <= times <= 290 for times in numbers.values()), "200 each, within six standard deviations"


def test_up_to_ten_thousand_calling_numbers_end_in_different_four_digits() -> None:
    numbers = set(_drawn(10_000, 1, 20_000))
    assert len({number[-4:] for number in numbers}) == len(numbers) > 5000


@pytest.mark.parametrize("pool", [-1, 0, 10_000_001])
def test_an_invalid_pool_is_refused(pool: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 10000000"):
        calls.Calls(pool)


def test_the_oldest_calls_are_dropped_and_their_count_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "KEPT_CALLS", 2)
    kept = calls.Calls(pool=5)
    placed = [kept.new("79160000000", 4) for _ in range(5)]
    for call in placed:
        kept.place(call)
    assert list(kept.newest()) == placed[:2:-1]
    assert kept.count("79160000000") == kept.count() == 5


def test_numbers_over_the_bound_have_no_count_rather_than_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "KEPT_NUMBERS", 2)
    counted = calls.Calls(pool=5)
    for number in ("79160000001", "79160000002"):
        counted.place(counted.new(number, 4))
    assert counted.count("79160000003") == 0
    for number in ("79160000003", "79160000001"):
        counted.place(counted.new(number, 4))
    assert (counted.count("79160000001"), counted.count("79160000003"), counted.count()) == (2, None, 4)
    counted.forget()
    assert (counted.count("79160000003"), counted.count()) == (0, 0)


def test_credentials_are_never_shown() -> None:
    assert "secret" not in repr(SimulatorCredentials("secret-key", "user", "secret-password"))

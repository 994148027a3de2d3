"""The simulator: as strict as the provider's document, misbehaving as its clients have met it, and counting exactly."""

import asyncio
import base64
import hashlib
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import FrozenInstanceError
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.simulator import SimulatorCredentials, create_simulator
from app.simulator.behaviour import SPECIAL, SPECIAL_PREFIX
from app.simulator.calls import Calls, new_call
from tests.harness import PROVIDER_KEY, ROOT, Simulator

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
        ({"number": "1234567890123456"}, "number_not_valid"),
        ({"number": "79161234567\n"}, "number_not_valid"),
        ({"number": "٧٩١٦١٢٣٤٥٦٧"}, "number_not_valid"),
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
    good = b'{"number": "79160000000", "capacity": "4"}'
    for content, media_type in (
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"[" * 60_000, "application/json"),
        (good.decode().encode("utf-16"), "application/json"),
        (b"number=7", "text/plain"),
        (good, "text/plain"),
        (good, ""),
    ):
        answer = simulator.http.post(PATH, content=content, headers={**KEY, "Content-Type": media_type})
        assert (answer.status_code, answer.json()["error_code"]) == (200, "unknown_request")
    declared = {**KEY, "Content-Type": "application/json; charset=utf-8"}
    assert simulator.http.post(PATH, content=good, headers=declared).json()["result"] == "ok"


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
        ({"price": "string"}, {"price": "0.35"}),
        ({"price": 2}, {"price": 2}),
        ({"price": -0.5}, {"price": -0.5}),
        ({"digits": "000042"}, {"code": "0042"}),
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
    assert simulator.http.get("/behaviour").json()["default"]["close"] is None


@contextmanager
def _sent_raw(simulator: Simulator, phone: str) -> Iterator[socket.socket]:
    """A connection on which a good request was sent, byte by byte as it goes over the wire."""
    address = urlsplit(simulator.url)
    body = json.dumps({"number": phone[1:], "capacity": "4"})
    declared = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {PROVIDER_KEY}\r\n{declared}\r\n\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), 5) as connection:
        connection.sendall((head + body).encode())
        yield connection


@pytest.mark.parametrize("close", ["before_read", "after_read"])
def test_a_closed_connection_ends_without_a_byte(simulator: Simulator, phone: str, close: str) -> None:
    simulator.behave(phone, close=close)
    with _sent_raw(simulator, phone) as connection:
        assert connection.recv(1) == b""


def test_a_hanging_connection_stays_open_without_a_byte(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, hang=True)
    with _sent_raw(simulator, phone) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert simulator.count(phone) == 1


async def test_a_hang_ends_when_the_client_leaves() -> None:
    body = json.dumps({"number": "79990000014", "capacity": "4"}).encode()
    received = iter([{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}])
    headers = [(b"content-type", b"application/json"), (b"authorization", b"sandbox")]
    sent: list[Any] = []

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers}
        await create_simulator(SimulatorCredentials())(scope, receive, send)
    assert sent == []
    assert next(received, None) is None


def test_a_truncated_answer_is_whole_to_http_and_half_to_json(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, answer="truncated")
    with _sent_raw(simulator, phone) as connection:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        head, _, body = received.partition(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        ]
        while len(body) < length:
            body += connection.recv(4096)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert body.startswith(b'{"result": "ok"')
    assert not body.endswith(b"}")


@pytest.mark.parametrize(
    ("behaviour", "count"),
    [
        ({"answer": "error", "places_call": True}, 1),
        ({"answer": "html", "status": 502, "places_call": False}, 0),
        ({"answer": "html", "status": 502}, 1),
    ],
)
def test_whether_a_call_counts_can_be_said(
    simulator: Simulator, phone: str, behaviour: dict[str, Any], count: int
) -> None:
    simulator.behave(phone, **behaviour)
    simulator.http.post(PATH, json={"number": phone[1:], "capacity": "4"}, headers=KEY)
    assert simulator.count(phone) == count


def test_a_number_of_its_own_behaviour_escapes_a_close_for_all(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"close": "before_read"})
    simulator.behave(phone, answer="ok")
    assert _send(simulator, {"number": phone[1:], "capacity": "4"})["result"] == "ok"
    with pytest.raises(httpx.TransportError):
        _send(simulator, {"number": "79160000001", "capacity": "4"})


def test_a_close_for_all_can_count_the_call(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"close": "before_read", "places_call": True, "times": 1})
    with pytest.raises(httpx.TransportError):
        _send(simulator, {"number": phone[1:], "capacity": "4"})
    assert simulator.count(phone) == 1


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


def test_what_is_left_of_a_behaviour_is_told(simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, price="absent", times=2)
    _send(simulator, {"number": phone[1:], "capacity": "4"})
    assert simulator.http.get("/behaviour").json()["numbers"][phone[1:]]["times"] == 1


def test_one_numbers_behaviour_is_cleared_alone(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"answer": "error"})
    simulator.behave(phone, answer="ok")
    assert simulator.http.delete(f"/behaviour/{phone[1:]}").status_code == 204
    assert _send(simulator, {"number": phone[1:], "capacity": "4"})["result"] == "error"


def test_a_behaviour_for_all_gives_way_to_one_for_a_number_and_is_cleared(simulator: Simulator, phone: str) -> None:
    simulator.http.put("/behaviour", json={"answer": "error"})
    simulator.behave(phone, answer="ok")
    assert _send(simulator, {"number": phone[1:], "capacity": "4"})["result"] == "ok"
    assert _send(simulator, {"number": "79160000001", "capacity": "4"})["result"] == "error"
    assert simulator.http.get("/behaviour").json()["default"]["answer"] == "error"
    assert simulator.http.delete("/behaviour").status_code == 204
    assert _send(simulator, {"number": "79160000001", "capacity": "4"})["result"] == "ok"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"answer": "maybe"}',
        b'{"delays": 1}',
        b'{"delay": -1}',
        b'{"hang": true, "close": "after_read"}',
        b'{"status": 204}',
        b'{"price": true}',
    ],
)
def test_a_behaviour_that_cant_be_is_refused_with_the_mend(simulator: Simulator, phone: str, body: bytes) -> None:
    answer = simulator.http.put(f"/behaviour/{phone[1:]}", content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"]


def test_an_unknown_member_is_answered_with_the_known_ones(simulator: Simulator) -> None:
    (error,) = simulator.http.put("/behaviour", json={"delays": 1}).json()["errors"]
    assert error["field"] == "delays"
    assert "delay, hang, close" in error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/behaviour/+79161234567"),
        ("DELETE", "/behaviour/+79161234567"),
        ("GET", "/calls/+79161234567"),
        ("GET", "/calls?number=%2B79161234567"),
        ("GET", "/calls?number="),
        ("GET", "/calls?limit=few"),
    ],
)
def test_a_number_that_no_call_could_have_is_refused_rather_than_never_found(
    simulator: Simulator, method: str, path: str
) -> None:
    answer = simulator.http.request(method, path, json={})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in {"number", "limit"}


def test_special_numbers_misbehave_by_themselves(simulator: Simulator) -> None:
    assert _send(simulator, {"number": "79990000005", "capacity": "4"})["error_code"] == "number_in_spam_list"
    assert _send(simulator, {"number": "79990000021", "capacity": "4"})["code"] == 7
    assert _send(simulator, {"number": "79990009999", "capacity": "4"})["result"] == "ok"
    assert _send(simulator, {"number": "799900000005", "capacity": "4"})["result"] == "ok"


def test_every_special_number_is_documented_and_none_else() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8").partition("## Numbers that misbehave")[2]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `+7")]
    listed = {end for row in rows for end in re.findall(r"(\d\d)`", row)}
    assert SPECIAL_PREFIX == "7999000"
    assert {f"00{end}" for end in listed} == set(SPECIAL)


def test_calls_are_listed_newest_first_and_can_be_few(simulator: Simulator, phone: str) -> None:
    sent = [_send(simulator, {"number": phone[1:], "capacity": "4"})["id"] for _ in range(3)]
    assert [call["id"] for call in simulator.calls(phone)] == sent[::-1]
    listed = simulator.http.get("/calls", params={"number": phone[1:], "limit": "2"}).json()
    assert (listed["count"], [call["id"] for call in listed["calls"]]) == (3, sent[:0:-1])
    assert len(simulator.http.get("/calls", params={"limit": "1"}).json()["calls"]) == 1


def test_its_page_loads_nothing_from_elsewhere(simulator: Simulator) -> None:
    page = simulator.http.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(
        r"https?://|<link (?!rel=\"icon\" href=\"data:,\")|\ssrc=|@import|\son\w+=|\sstyle=", page.text
    )


def test_its_policy_names_the_one_style_and_the_one_script(simulator: Simulator) -> None:
    page = simulator.http.get("/")
    for element in ("style", "script"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in page.headers["content-security-policy"]


# ---- the pool, and what is kept


def test_calling_numbers_come_from_the_pool_and_repeat_with_its_seed() -> None:
    def draw(seed: int | None) -> list[str]:
        calls = Calls(pool=3, seed=seed)
        return [new_call(calls, "79160000000", "4", None).calling for _ in range(60)]

    assert draw(1) == draw(1) != draw(2)
    assert draw(None) != draw(None)
    assert len(set(draw(None))) == 3


@pytest.mark.parametrize("pool", [1, 50, 10_000])
def test_up_to_ten_thousand_calling_numbers_end_in_different_digits(pool: int) -> None:
    calls = Calls(pool=pool, seed=1)
    assert len({number[-4:] for number in calls._pool}) == pool
    assert all(len(number) == 11 for number in calls._pool)


@pytest.mark.parametrize("capacity", ["4", "5", "6"])
def test_a_small_pool_makes_as_many_codes_as_it_has_numbers_and_all_as_likely(capacity: str) -> None:
    calls = Calls(pool=50, seed=1)
    drawn = Counter(new_call(calls, "79160000000", capacity, None).code for _ in range(10_000))
    assert set(drawn) == {number[-int(capacity) :] for number in calls._pool}
    assert len(drawn) == 50
    assert all(120 <= times <= 290 for times in drawn.values()), "200 each, within six standard deviations"


@pytest.mark.parametrize("pool", [-1, 0, 10_000_001])
def test_a_pool_that_cant_be_is_refused(pool: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 10000000"):
        create_simulator(SimulatorCredentials(), pool=pool)


def test_the_oldest_calls_go_and_their_count_stays() -> None:
    calls = Calls(pool=5, kept_calls=2)
    placed = [new_call(calls, "79160000000", "4", None) for _ in range(5)]
    for call in placed:
        calls.place(call)
    assert list(calls.newest()) == placed[:2:-1]
    assert calls.count("79160000000") == calls.count() == 5


def test_numbers_beyond_the_bound_have_no_count_rather_than_a_wrong_one() -> None:
    calls = Calls(pool=5, kept_numbers=2)
    for number in ("79160000001", "79160000002"):
        calls.place(new_call(calls, number, "4", None))
    assert calls.count("79160000003") == 0
    for number in ("79160000003", "79160000001"):
        calls.place(new_call(calls, number, "4", None))
    assert (calls.count("79160000001"), calls.count("79160000003"), calls.count()) == (2, None, 4)
    calls.forget()
    assert (calls.count("79160000003"), calls.count()) == (0, 0)


def test_credentials_are_frozen_and_never_shown() -> None:
    credentials = SimulatorCredentials("secret-key", "user", "secret-password")
    assert "secret" not in repr(credentials)
    with pytest.raises(FrozenInstanceError):
        credentials.login = "other"  # type: ignore[misc]  # the fault is the point

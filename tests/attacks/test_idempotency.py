"""Idempotency keys through HTTP, with two workers: a retry, a double click, a killed worker and a hung-up client never call twice."""

import asyncio
import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import Service, Simulator, fresh_phone, serving, until


def _key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _whole(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer that the first one's twin must share."""
    matter = ("content-type", "cache-control", "retry-after", "vary")
    return answer.status_code, answer.content, {name: answer.headers[name] for name in matter if name in answer.headers}


def test_a_start_sent_again_is_answered_byte_for_byte_and_calls_once(
    service: Service, simulator: Simulator, phone: str
) -> None:
    headers = _key()
    assert service.start("12345", "backend", headers, purpose="login").status_code == 422, "it leaves nothing"
    first = service.start(phone, "backend", headers, purpose="login")
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    service.check(first.json()["id"], simulator.code(phone))
    quoted = {"Idempotency-Key": f'"{headers["Idempotency-Key"]}"'}
    for same in (headers, quoted) * 3:
        again = service.start(phone, "backend", same, purpose="login", code_length=None)  # null is absent
        assert _whole(again) == _whole(first)
        assert again.headers["idempotency-replayed"] == "true"
        (line,) = [line for line in service.lines() if line.get("request_id") == again.headers["x-request-id"]]
        assert (line["id"], line["outcome"], line["replayed"]) == (first.json()["id"][:12], "placed", True)
    assert simulator.count(phone) == 1


def test_a_key_belongs_to_its_client_body_and_route(service: Service, simulator: Simulator, phone: str) -> None:
    headers, other = _key(), fresh_phone()
    verification = service.start(phone, "backend", headers).json()["id"]
    for answer in (
        service.start(other, "backend", headers),
        service.start(phone, "backend", headers, purpose="login"),
        service.start(phone, "backend", headers, code_length=5),
        service.start(phone.replace("+7", "8"), "backend", headers),
        service.post("/verify/resend", {"id": verification}, headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert verification not in answer.text
    assert (simulator.count(phone), simulator.count(other)) == (1, 0)
    assert service.start(other, "other", headers).status_code == 201


def test_a_request_in_flight_is_answered_so_over_workers(service: Service, simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, delay=0.5)
    headers = _key()
    answers = service.at_once("/verify/start", [{"phone": phone}] * 50, headers=[headers] * 50)
    assert sorted({answer.status_code for answer in answers}) == [201, 409]
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_key_in_use"
            assert answer.headers["retry-after"] == "1"
    assert simulator.count(phone) == 1
    again = service.start(phone, "backend", headers)
    assert again.content == next(answer.content for answer in answers if answer.status_code == 201)


def test_a_client_that_hung_up_finds_its_answer_under_its_key(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.5)
    headers = _key()
    with pytest.raises(httpx.ReadTimeout):
        service.post("/verify/start", {"phone": phone}, headers=headers, timeout=0.2)
    until(lambda: service.start(phone, "backend", headers).status_code != 409, 5)
    answer = service.start(phone, "backend", headers)
    assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (201, "true")
    assert service.check(answer.json()["id"], simulator.code(phone)).status_code == 200
    assert simulator.count(phone) == 1


INVALID = ["", '""', "a b", '"unclosed', "ключ", "x" * 256, '"a"b"', "a\tb", ("one", "two")]


@pytest.mark.parametrize("sent", INVALID, ids=repr)
def test_an_invalid_key_is_refused(service: Service, simulator: Simulator, phone: str, sent: Any) -> None:
    keys = sent if isinstance(sent, tuple) else (sent,)
    headers = [(b"Authorization", service.headers()["Authorization"].encode())]
    headers += [(b"Idempotency-Key", key.encode()) for key in keys]
    answer = service.http.post("/verify/start", json={"phone": phone}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")
    assert simulator.count(phone) == 0


def test_users_of_one_page_cant_hit_upon_each_others_keys(service: Service, phone: str) -> None:
    short = service.start(phone, "app", {"Idempotency-Key": "order-1"})
    assert (short.status_code, short.json()["code"]) == (400, "idempotency_key_invalid")
    assert "16" in short.json()["detail"]
    assert service.start(phone, "app", _key()).status_code == 201
    assert service.start(fresh_phone(), "backend", {"Idempotency-Key": f"order-{phone}"[:15]}).status_code == 201


async def test_starts_sent_twice_call_once_each_though_workers_are_killed(tmp_path: Path, simulator: Simulator) -> None:
    with serving(tmp_path, simulator.send_url, PROVIDER_POOL_TIMEOUT="20", PROVIDER_READ_TIMEOUT="5") as service:
        await _send_twice(service, simulator)


async def _send_twice(service: Service, simulator: Simulator) -> None:
    requests = [(fresh_phone(), _key()) for _ in range(60)]
    for phone, _ in requests:
        simulator.behave(phone, delay=0.3)  # so that a worker has calls under way whenever it is killed
    # One may have taken all connections: so one after the other is killed when calls were placed, and each is replaced meanwhile.
    done, killed = 0, service.workers()
    victims = list(killed)
    in_flight = asyncio.Semaphore(50)

    async def send(http: httpx.AsyncClient, phone: str, headers: dict[str, str]) -> int | None:
        nonlocal done
        async with in_flight:
            with suppress(httpx.TransportError):
                answer = await http.post("/verify/start", json={"phone": phone}, headers=headers)
                done += answer.status_code == 201
                if answer.status_code == 201 and done in {5, 12}:
                    os.kill(victims.pop(), signal.SIGKILL)
                return answer.status_code
        return None

    async with service.asynchronous() as http:
        sent = await asyncio.gather(*(send(http, *request) for request in requests for _ in range(2)))
        assert sent.count(None) > 0, "a killed worker took requests with it"
        assert sent.count(201) >= 5, "the others went on meanwhile"
        assert set(sent) <= {201, 409, None}
        assert max(simulator.count(phone) for phone, _ in requests) == 1

    # Who lost an answer asks again, with the same key, until it gets what became of the request.
    async with service.asynchronous() as http:
        retried = await asyncio.gather(*(send(http, *request) for request in requests))
    assert set(retried) <= {201, 409}
    assert not set(killed) & set(service.workers())
    assert max(simulator.count(phone) for phone, _ in requests) == 1

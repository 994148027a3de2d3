"""ATTACKS.md, "Storage": a 503 that says when to try again, no call that was not recorded, and recovery by itself."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import httpx
import pytest

from app.store.connection import connect
from app.store.pipelines import Pipelines
from tests.harness import Service, Simulator, wrong
from tests.server import Server


def unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "store_unavailable"
    assert int(answer.headers["retry-after"]) >= 1


def readiness(service: Service, status: int) -> httpx.Response:
    """What /readyz answers once it answers so; it keeps what it found for a moment."""
    deadline = time.monotonic() + 10
    while (answer := service.http.get("/readyz")).status_code != status:
        assert time.monotonic() < deadline, f"/readyz still answers {answer.status_code}"
        time.sleep(0.05)
    return answer


async def configure(server: Server, setting: str, value: str) -> None:
    async with connect(server.url, 2) as client:
        await client.config_set(setting, value)


@pytest.mark.parametrize("state", ["down", "frozen"])
def test_without_a_store_nothing_is_called_or_approved_and_it_recovers(
    on_own_server: Service, own_server: Server, simulator: Simulator, phones: Callable[[], str], state: str
) -> None:
    phone, other = phones(), phones()
    verification = on_own_server.start(phone).json()["id"]
    code = simulator.code(phone)
    (own_server.stop if state == "down" else own_server.freeze)()
    try:
        unavailable(on_own_server.start(other))
        unavailable(on_own_server.check(verification, code))
        unavailable(on_own_server.post("/verify/resend", {"id": verification}))
        unavailable(on_own_server.get(f"/verify/{verification}"))
        assert readiness(on_own_server, 503).json()["code"] == "not_ready"
        assert on_own_server.http.get("/healthz").status_code == 200
        assert simulator.count(other) == 0
        assert verification not in on_own_server.log.read_text("utf-8"), "a whole id is the right to guess its code"
    finally:
        (own_server.start if state == "down" else own_server.thaw)()
    readiness(on_own_server, 200)
    if state == "down":
        assert on_own_server.check(verification, code).status_code == 404, "it restarted empty: nothing opens"
    else:
        assert on_own_server.check(verification, code).status_code == 200
    assert on_own_server.start(phones()).status_code == 201


def test_a_short_stop_of_the_store_while_the_phone_rings_does_not_lose_the_code(
    on_own_server: Service, own_server: Server, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.5)

    async def run() -> str:
        async with on_own_server.asynchronous() as http:
            starting = asyncio.ensure_future(http.post("/verify/start", json={"phone": phone}))
            while simulator.count(phone) == 0:
                assert not starting.done(), (await starting).text
                await asyncio.sleep(0.02)
            own_server.freeze()
            await asyncio.sleep(0.8)
            own_server.thaw()
            answer = await starting
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])

    verification = asyncio.run(run())
    assert on_own_server.check(verification, simulator.code(phone)).status_code == 200
    assert simulator.count(phone) == 1


async def test_a_restarted_server_fails_no_request_by_connections_of_before(own_server: Server) -> None:
    async with connect(own_server.url, 2.0) as client, aclosing(Pipelines(client, 2.0)) as pipelines:
        await asyncio.gather(*(pipelines.run("ECHO", "before") for _ in range(200)))
        own_server.stop()
        own_server.start()
        await asyncio.sleep(0.05)  # nothing here stood still while the server was away
        assert await asyncio.gather(*(pipelines.run("ECHO", "after") for _ in range(200))) == [b"after"] * 200


def test_a_flushed_script_cache_is_not_noticed(
    on_own_server: Service, own_server: Server, simulator: Simulator, phone: str
) -> None:
    async def flush() -> None:
        async with connect(own_server.url, 2) as client:
            await client.script_flush()

    asyncio.run(flush())
    verification = on_own_server.start(phone).json()["id"]
    asyncio.run(flush())
    code = simulator.code(phone)
    assert on_own_server.check(verification, wrong(code)).status_code == 422
    assert on_own_server.check(verification, code).status_code == 200


def test_a_full_server_places_no_call_and_readiness_says_so(
    on_own_server: Service, own_server: Server, simulator: Simulator, phones: Callable[[], str]
) -> None:
    known, phone = phones(), phones()
    verification = on_own_server.start(known).json()["id"]
    asyncio.run(configure(own_server, "maxmemory", "1"))
    try:
        unavailable(on_own_server.start(phone))
        assert simulator.count(phone) == 0
        assert on_own_server.check(verification, simulator.code(known)).status_code == 200, (
            "a person waits: that still works"
        )
        assert "memory of Redis is full" in readiness(on_own_server, 503).json()["problems"][0]
    finally:
        asyncio.run(configure(own_server, "maxmemory", "0"))
    readiness(on_own_server, 200)
    assert on_own_server.start(phone).status_code == 201

"""Storage faults: ATTACKS.md, "Storage". A 503 that says when to try again, no call that was not recorded, and recovery by itself."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import httpx
import pytest

from app.store.coalesce import Coalescer
from app.store.connection import connect
from tests.faults.conftest import Server
from tests.harness import Service, Simulator, wrong


def _unavailable(answer: object) -> None:
    assert answer.status_code == 503, answer.text  # type: ignore[attr-defined]
    assert answer.json()["code"] == "store_unavailable"  # type: ignore[attr-defined]
    assert int(answer.headers["retry-after"]) >= 1  # type: ignore[attr-defined]


def _readiness(service: Service, status: int) -> httpx.Response:
    """What /readyz answers once it answers so; it keeps what it found for a moment."""
    deadline = time.monotonic() + 10
    while (answer := service.http.get("/readyz")).status_code != status:
        assert time.monotonic() < deadline, f"/readyz still answers {answer.status_code}"
        time.sleep(0.05)
    return answer


def _ready_again(service: Service) -> None:
    _readiness(service, 200)


@pytest.mark.parametrize("fault", ["down", "frozen"])
def test_without_a_store_nothing_is_called_or_approved_and_it_recovers(
    on_own_server: Service, own_server: Server, simulator: Simulator, phones: Callable[[], str], fault: str
) -> None:
    phone, other = phones(), phones()
    verification = on_own_server.start(phone).json()["id"]
    code = simulator.code(phone)
    (own_server.stop if fault == "down" else own_server.freeze)()
    try:
        _unavailable(on_own_server.start(other))
        _unavailable(on_own_server.check(verification, code))
        _unavailable(on_own_server.post("/verify/resend", {"id": verification}))
        _unavailable(on_own_server.get(f"/verify/{verification}"))
        assert _readiness(on_own_server, 503).json()["code"] == "not_ready"
        assert on_own_server.http.get("/healthz").status_code == 200
        assert simulator.count(other) == 0
        assert verification not in on_own_server.log.read_text("utf-8"), "whoever has a whole id may guess its code"
    finally:
        (own_server.start if fault == "down" else own_server.thaw)()
    _ready_again(on_own_server)
    if fault == "down":
        assert on_own_server.check(verification, code).status_code == 404, "it restarted empty: nothing opens"
    else:
        assert on_own_server.check(verification, code).status_code == 200
    assert on_own_server.start(phones()).status_code == 201


def test_a_start_that_was_frozen_out_is_not_called_later(
    on_own_server: Service, own_server: Server, simulator: Simulator, phone: str
) -> None:
    own_server.freeze()
    try:
        _unavailable(on_own_server.start(phone))
    finally:
        own_server.thaw()
    _ready_again(on_own_server)
    # The script may have run when the server thawed: then the reservation stands, and no second call goes out before it lapses.
    again = on_own_server.start(phone)
    assert again.status_code in {201, 409}
    assert simulator.count(phone) == (1 if again.status_code == 201 else 0)


def test_a_blink_of_the_store_while_the_phone_rings_does_not_lose_the_code(
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
    async with connect(own_server.url, 2.0) as client, aclosing(Coalescer(client)) as coalescer:
        await asyncio.gather(*(coalescer.run("PING") for _ in range(200)))
        own_server.stop()
        own_server.start()
        await asyncio.sleep(0.05)  # nothing here stood still while the server was away
        assert await asyncio.gather(*(coalescer.run("PING") for _ in range(200))) == [b"PONG"] * 200


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


@pytest.mark.parametrize(
    ("setting", "value", "restored"), [("maxmemory", "1", "0"), ("maxmemory-policy", "allkeys-lru", "noeviction")]
)
def test_a_full_or_forgetful_server_is_told_at_readiness_or_refused(
    on_own_server: Service,
    own_server: Server,
    simulator: Simulator,
    phone: str,
    setting: str,
    value: str,
    restored: str,
) -> None:
    async def configure(to: str) -> None:
        async with connect(own_server.url, 2) as client:
            await client.config_set(setting, to)

    asyncio.run(configure(value))
    try:
        if setting == "maxmemory":
            _unavailable(on_own_server.start(phone))
            assert simulator.count(phone) == 0
        else:
            assert "noeviction" in _readiness(on_own_server, 503).json()["problems"][0]
    finally:
        asyncio.run(configure(restored))
    _ready_again(on_own_server)
    assert on_own_server.start(phone).status_code == 201

"""ATTACKS.md, "Truth of an answer", with two workers: what was answered as undone is not done later, and a call that may ring is never called undone."""

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from app.store.connection import connect
from tests.faults.test_storage import configure, readiness, unavailable
from tests.harness import Service, Simulator, names_of, ref_of, serving, wrong
from tests.server import Server

STARTS, CHECKS = 40, 10


async def test_a_store_that_stops_and_goes_on_runs_nothing_of_what_was_answered_as_unavailable(
    on_own_server: Service, own_server: Server, simulator: Simulator, phones: Callable[[], str]
) -> None:
    known = [phones() for _ in range(CHECKS)]
    begun = [on_own_server.start(phone).json()["id"] for phone in known]
    codes = [simulator.code(phone) for phone in known]
    checks = [
        {"id": id_, "code": code if number % 2 else wrong(code)}
        for number, (id_, code) in enumerate(zip(begun, codes, strict=True))
    ]
    starts = [({"phone": phones()}, {"Idempotency-Key": secrets.token_hex(12)}) for _ in range(STARTS)]
    async with on_own_server.asynchronous() as http:
        own_server.freeze()
        try:
            answers = await asyncio.gather(
                *(http.post("/verify/start", json=body, headers=key) for body, key in starts),
                *(http.post("/verify/check", json=body) for body in checks),
            )
        finally:
            own_server.thaw()
        for answer in answers:
            unavailable(answer)
        await asyncio.to_thread(readiness, on_own_server, 200)
        states = [on_own_server.get(f"/verify/{id_}").json() for id_ in begun]
        assert [(state["status"], state["attempts_left"]) for state in states] == [("pending", 3)] * CHECKS
        assert sum(simulator.count(body["phone"]) for body, _ in starts) == 0
        # What could be run late has been run, or has found that it is too late: the server processes commands in their order.
        again = await asyncio.gather(*(http.post("/verify/start", json=body, headers=key) for body, key in starts))
    assert {answer.status_code for answer in again} == {201}, "the same key works, and no reservation is in the way"
    assert [simulator.count(body["phone"]) for body, _ in starts] == [1] * STARTS
    assert [on_own_server.check(id_, code).status_code for id_, code in zip(begun, codes, strict=True)] == [
        200
    ] * CHECKS


async def test_a_store_that_fails_while_the_phone_rings_is_an_unknown_call_and_no_outage(
    on_own_server: Service, own_server: Server, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.3)
    async with on_own_server.asynchronous() as http:
        starting = asyncio.ensure_future(http.post("/verify/start", json={"phone": phone}))
        while simulator.count(phone) == 0:  # noqa: ASYNC110  the simulator has no event to wait for
            await asyncio.sleep(0.02)
        own_server.freeze()
        try:
            answer = await starting
        finally:
            own_server.thaw()
        assert (answer.status_code, answer.json()["code"]) == (504, "call_unknown")
        assert answer.json()["retry_after"] >= 30, "the phone may ring: no one should ask again at once"
        await asyncio.to_thread(readiness, on_own_server, 200)
        again = await http.post("/verify/start", json={"phone": phone})
    assert again.json()["code"] in {"call_in_progress", "limit_reached"}
    assert simulator.count(phone) == 1


async def _memory_is_short(server: Server) -> None:
    """Fill a small server, so that whatever is written next drives out what lives shortest: our records."""
    async with connect(server.url, 2) as client:
        used = (await client.info("memory"))["used_memory"]
        await client.config_set("maxmemory", used + 2_000_000)
        await _fill(client)


async def _fill(client: Any) -> None:
    """Some megabytes of others, which live for days."""
    for number in range(3000):
        await client.set(f"others:{number}", "x" * 1000, px=10**9)


async def test_an_evicting_store_places_no_call_and_readiness_says_so(
    on_own_server: Service, own_server: Server, simulator: Simulator, phone: str
) -> None:
    def noticed() -> int:
        return sum("noeviction" in str(line.get("problems")) for line in on_own_server.lines())

    before, deadline = noticed(), time.monotonic() + 30
    await configure(own_server, "maxmemory-policy", "volatile-ttl")
    try:
        while noticed() < before + 2:
            assert time.monotonic() < deadline, "a worker does not see it"
            await asyncio.sleep(0.1)
        await _memory_is_short(own_server)
        assert "noeviction" in on_own_server.http.get("/readyz").json()["problems"][0]
        async with on_own_server.asynchronous() as racers:
            answers = await asyncio.gather(*(racers.post("/verify/start", json={"phone": phone}) for _ in range(40)))
        for answer in answers:
            unavailable(answer)
        assert simulator.count(phone) == 0
    finally:
        await configure(own_server, "maxmemory-policy", "noeviction")
        await configure(own_server, "maxmemory", "0")
    deadline = time.monotonic() + 30
    while on_own_server.start(phone).status_code != 201:
        assert time.monotonic() < deadline, "it does not recover"
        await asyncio.sleep(0.2)
    assert simulator.count(phone) == 1


async def test_a_store_that_begins_to_evict_forgets_no_cooldown_that_a_call_follows(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    """One worker, so that the look of /readyz is the look of the one that places calls."""
    server = Server(tmp_path)
    try:
        with serving(tmp_path / "service", simulator.send_url, REDIS_URL=server.url, WORKERS="1") as service:
            begun: httpx.Response = service.start(phone)
            await configure(server, "maxmemory-policy", "volatile-ttl")
            await asyncio.to_thread(readiness, service, 503)
            await _memory_is_short(server)
            async with connect(server.url, 2) as client:
                record = names_of(service).verification(ref_of(service, begun.json()["id"]))["phone"]
                for _ in range(20):  # it drives out the shortest-lived of a random few
                    if not await client.exists(record):
                        break
                    await _fill(client)
                assert not await client.exists(record), "the record of its call was driven out"
            for _ in range(11):
                unavailable(service.start(phone))
            assert simulator.count(phone) == 1
    finally:
        server.stop()

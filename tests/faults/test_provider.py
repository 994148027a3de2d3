"""ATTACKS.md, "Provider", through HTTP. Never a false success, never a second call, never a hanging verification."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.api.clients import Kind, clients_entry, new_key
from app.main import provider_of
from app.settings import load_settings
from app.store.connection import connect
from app.telemetry.observers import LogObserver
from app.verification.call import CallOutcome, Placed
from app.verification.ports import CallEnded
from tests.harness import PROVIDER_KEY, Service, Simulator, serving

UNKNOWN = [
    {"answer": "html", "status": 502},
    {"answer": "html"},
    {"answer": "empty"},
    {"answer": "truncated"},
    {"answer": "ok", "status": 500},
    {"code": "short"},
    {"code": "long"},
    {"code": "letters"},
    {"code": "missing"},
    {"close": "after_read"},
    {"hang": True},
]


@pytest.mark.parametrize("behaviour", UNKNOWN, ids=str)
def test_an_unknown_call_is_answered_so_never_redialled_and_leaves_nothing_pending(
    service: Service, simulator: Simulator, phone: str, behaviour: dict[str, Any]
) -> None:
    simulator.behave(phone, **behaviour)
    answer = service.start(phone)
    assert answer.status_code == 504, answer.text
    problem = answer.json()
    assert problem["code"] == "call_unknown"
    assert 1 <= problem["retry_after"] <= 30
    assert service.get(f"/verify/{problem['id']}").json()["status"] == "failed"
    assert service.check(problem["id"], "0000").json()["code"] == "failed"
    again = service.start(phone)
    assert again.json()["code"] == "limit_reached", "the call may have rung: it counts"
    assert simulator.count(phone) <= 1


@pytest.mark.parametrize(
    ("error_code", "status", "code"),
    [
        ("number_is_empty", 422, "phone_refused"),
        ("number_not_valid", 422, "phone_refused"),
        ("number_not_permitted", 422, "destination_not_permitted"),
        ("number_in_spam_list", 429, "phone_called_too_often"),
        ("authorisation_failed", 503, "call_not_placed"),
        ("user_disabled", 503, "call_not_placed"),
        ("not_enough_money", 503, "call_not_placed"),
        ("unknown_request", 503, "call_not_placed"),
        ("code_not_valid", 503, "call_not_placed"),
        ("ani_phone_not_valid", 503, "call_not_placed"),
        ("Недостаточно средств на счёте", 503, "call_not_placed"),
    ],
)
def test_a_refusal_is_answered_by_who_can_fix_it_and_costs_nothing(
    service: Service, simulator: Simulator, phone: str, error_code: str, status: int, code: str
) -> None:
    simulator.behave(phone, answer="error", error_code=error_code, times=1)
    answer = service.start(phone)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert error_code not in answer.text
    assert service.get(f"/verify/{answer.json()['id']}").json()["status"] == "failed"
    assert simulator.count(phone) == 0
    assert service.start(phone).status_code == 201, "a refused call takes no place in any limit"


def test_a_connection_that_was_never_made_is_tried_once_more_and_costs_nothing(tmp_path: Path, phone: str) -> None:
    with serving(tmp_path, "http://127.0.0.1:9/api/call-password/send/", WORKERS="1") as service:
        for _ in range(2):
            answer = service.start(phone)
            assert (answer.status_code, answer.json()["code"]) == (503, "call_not_placed")
        (line, *_) = [line for line in service.lines() if line["event"] == "call"]
        assert line["reason"] == "unreachable"


Called = Callable[..., Awaitable[CallOutcome]]


@pytest.fixture
def called(tmp_path: Path, simulator: Simulator, phone: str, monkeypatch: pytest.MonkeyPatch) -> Called:
    """What becomes of a call by the provider that settings name."""
    (tmp_path / "clients.toml").write_text(clients_entry("backend", Kind.SECRET, new_key(Kind.SECRET)), "utf-8")
    monkeypatch.chdir(tmp_path)

    async def call(**settings: str) -> CallOutcome:
        for name, value in (settings | {"PROVIDER_URL": simulator.send_url, "CLIENTS_FILE": "clients.toml"}).items():
            monkeypatch.setenv(f"LASTDIGITS_{name}", value)
        async with provider_of(load_settings(None).provider) as provider:
            return await provider.place(phone, 4)

    return call


async def test_wrong_credentials_are_the_operators_to_fix_and_are_shown_to_no_one(called: Called) -> None:
    outcome = await called(PROVIDER_API_KEY="wrong-key-8c1e")
    with capture_logs() as lines:
        LogObserver()(CallEnded("vrf_1", "+79161234567", outcome, 0.1, 3500))
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("call", "error")
    assert (line["reason"], line["responsibility"]) == ("credentials", "operator")
    assert "wrong-key" not in str(line) + repr(outcome)


@pytest.mark.parametrize(
    "given",
    [
        {"PROVIDER_API_KEY": PROVIDER_KEY, "PROVIDER_AUTH": "header"},
        {"PROVIDER_API_KEY": PROVIDER_KEY, "PROVIDER_AUTH": "body"},
        {"PROVIDER_LOGIN": "user", "PROVIDER_PASSWORD": "provider-password-1"},
    ],
    ids=["header", "body", "login"],
)
async def test_all_three_ways_to_authorise_place_calls(
    called: Called, simulator: Simulator, phone: str, given: dict[str, str]
) -> None:
    outcome = await called(**given)
    assert isinstance(outcome, Placed)
    assert outcome.code == simulator.code(phone)


async def test_a_slow_provider_does_not_slow_checks(service: Service, simulator: Simulator, phones: Any) -> None:
    checked, slow = phones(), [phones() for _ in range(30)]
    verification = service.start(checked).json()["id"]
    for phone in slow:
        simulator.behave(phone, delay=1.5)
    async with service.asynchronous() as http:
        starts = [asyncio.ensure_future(http.post("/verify/start", json={"phone": phone})) for phone in slow]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        answer = await http.post("/verify/check", json={"id": verification, "code": simulator.code(checked)})
        assert answer.status_code == 200
        assert not any(start.done() for start in starts), (
            f"the check waited {time.monotonic() - began:.1f} s for the calls"
        )
        assert {(await start).status_code for start in starts} == {201}


async def test_a_caller_that_hangs_up_loses_no_code_and_gets_no_second_call(
    service: Service, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=0.5)
    async with service.asynchronous() as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/verify/start", json={"phone": phone}, timeout=0.2)
        await asyncio.sleep(0.8)
        again = await http.post("/verify/start", json={"phone": phone})
    assert again.json()["code"] == "limit_reached"
    assert simulator.count(phone) == 1
    placed = [
        line for line in service.lines() if line["event"] == "start" and line.get("phone", "").endswith(phone[-2:])
    ]
    assert placed[-2]["outcome"] == "placed"


async def test_killed_while_a_phone_rings_it_is_not_called_again_and_nothing_stays(
    tmp_path: Path, simulator: Simulator, phone: str
) -> None:
    simulator.behave(phone, delay=1.0)
    with serving(tmp_path, simulator.send_url) as service:
        async with service.asynchronous() as http:
            starting = asyncio.ensure_future(http.post("/verify/start", json={"phone": phone}))
            while simulator.count(phone) == 0:  # noqa: ASYNC110  the simulator has no event to wait for
                await asyncio.sleep(0.02)
            workers = service.workers()
            assert len(workers) == 2
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await starting
        deadline = time.monotonic() + 20
        answer = None
        while answer is None:
            try:
                answer = service.start(phone)
            except httpx.TransportError:
                assert time.monotonic() < deadline, "no new worker came"
        assert (answer.status_code, answer.json()["code"]) == (409, "call_in_progress")
        assert simulator.count(phone) == 1
        async with connect(service.settings["REDIS_URL"], 2) as client:
            ttls = {key: await client.pttl(key) async for key in client.scan_iter()}
        assert ttls
        assert all(0 < ttl <= 26 * 3_600_000 for ttl in ttls.values()), "a day, and a slice of two hours"
        verifications = [ttl for key, ttl in ttls.items() if b":verification:" in key]
        assert verifications
        assert max(verifications) <= 30_000, "a verification without a code lapses"

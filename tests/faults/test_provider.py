"""ATTACKS.md, "Provider", through HTTP. Never a false success, never a second call, never a hanging verification."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.clients import Kind, clients_entry, new_key
from app.main import provider_of
from app.settings import load_settings
from app.store.connection import connect
from app.verification.model import Refusal
from app.verification.ports import Placed, Refused
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


REFUSED = [
    ("number_not_valid", 422, "phone_refused", "not_a_number", "caller"),
    ("number_not_permitted", 422, "destination_not_permitted", "not_permitted", "caller"),
    ("number_in_spam_list", 429, "phone_called_too_often", "called_too_often", "caller"),
    ("authorisation_failed", 503, "call_not_placed", "credentials", "operator"),
    ("not_enough_money", 503, "call_not_placed", "balance", "operator"),
    ("unknown_request", 503, "call_not_placed", "malformed", "us"),
    ("Недостаточно средств на счёте", 503, "call_not_placed", "other", "provider"),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0])
def test_a_refusal_is_answered_by_who_can_fix_it_and_costs_nothing(
    service: Service, simulator: Simulator, phone: str, row: tuple[str, int, str, str, str]
) -> None:
    error_code, status, code, reason, responsibility = row
    simulator.behave(phone, answer="error", error_code=error_code, times=1)
    answer = service.start(phone)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert error_code not in answer.text
    line = [line for line in service.lines() if line["event"] == "call"][-1]
    assert (line["reason"], line["responsibility"]) == (reason, responsibility)
    assert service.get(f"/verify/{answer.json()['id']}").json()["status"] == "failed"
    assert simulator.count(phone) == 0
    assert service.start(phone).status_code == 201, "a refused call takes no place in any limit"


@pytest.mark.parametrize(
    "given",
    [
        {"PROVIDER_API_KEY": PROVIDER_KEY, "PROVIDER_AUTH": "header"},
        {"PROVIDER_API_KEY": PROVIDER_KEY, "PROVIDER_AUTH": "body"},
        {"PROVIDER_LOGIN": "user", "PROVIDER_PASSWORD": "provider-password-1"},
        {"PROVIDER_API_KEY": "wrong-key-8c1e"},
    ],
    ids=["header", "body", "login", "wrong"],
)
async def test_all_three_ways_to_authorise_place_calls(
    simulator: Simulator, phone: str, given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clients.toml").write_text(clients_entry("backend", Kind.SECRET, new_key(Kind.SECRET)), "utf-8")
    monkeypatch.chdir(tmp_path)
    for name, value in (given | {"PROVIDER_URL": simulator.send_url, "CLIENTS_FILE": "clients.toml"}).items():
        monkeypatch.setenv(f"LASTDIGITS_{name}", value)
    async with provider_of(load_settings(None).provider) as provider:
        outcome = await provider.place(phone, 4)
    if "wrong-key-8c1e" in given.values():
        assert outcome == Refused(Refusal.CREDENTIALS, "authorisation_failed")
    else:
        assert isinstance(outcome, Placed)
        assert outcome.code == simulator.code(phone)


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

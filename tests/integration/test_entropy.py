"""Pools of calling numbers, through HTTP: what the service makes of codes that recur. Ten minutes pass on the clock of whoever writes the sample."""

import asyncio
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.redis_store import RedisStore
from app.verification.draws import Draws
from app.verification.ids import IdCodec
from app.verification.policy import MAX_LIFETIME
from tests.contract.conftest import POLICY
from tests.exposition import read
from tests.harness import Service, Simulator, fresh_phone, serving, simulating, wait_out_the_ladder, wrong


async def _call_many(service: Service, calls: int) -> None:
    async with service.asynchronous() as http:
        gate = asyncio.Semaphore(30)

        async def call() -> None:
            async with gate:
                answer = await http.post("/verify/start", json={"phone": fresh_phone()})
                assert answer.status_code == 201

        await asyncio.gather(*(call() for _ in range(calls)))


async def _ten_minutes_later(service: Service, codes: list[str]) -> None:
    """What each worker does with the codes it was given, once they count no more."""
    now = [0.0]
    async with connect(service.settings["REDIS_URL"], 5) as client, aclosing(Coalescer(client)) as coalescer:
        store = RedisStore(coalescer, POLICY)
        codec = IdCodec(service.settings["PEPPER"].encode())
        draws = Draws(store, codec, POLICY.guesses, lambda _: None, lambda: now[0])
        for code in codes:
            draws.note(code)
        now[0] += MAX_LIFETIME
        await draws.measure()


def _after(tmp_path: Path, stack: ExitStack, pool: int, calls: int, **settings: str) -> tuple[Service, Simulator]:
    """A service that has been through so many calls from a pool, and was started anew ten minutes later."""
    simulator = stack.enter_context(simulating(tmp_path / "simulator", "--pool", str(pool), "--seed", "1"))
    with serving(tmp_path, simulator.send_url, **settings) as before:
        asyncio.run(_call_many(before, calls))
        told: list[dict[str, Any]] = simulator.http.get("/calls", params={"limit": calls}).json()["calls"]
        codes = [str(call["code"]) for call in told]
        assert len(codes) == calls
        asyncio.run(_ten_minutes_later(before, codes))
    return stack.enter_context(serving(tmp_path, simulator.send_url, before.keys, **settings)), simulator


def _drawn(service: Service, digits: int) -> dict[str, Any]:
    (told,) = [odds for odds in service.get("/policy").json()["codes_drawn"] if odds["code_length"] == digits]
    return dict(told)


def test_from_fifty_numbers_nobody_is_called_and_the_operator_is_told_why(tmp_path: Path) -> None:
    """One guess in fifty is right: twenty times what MAX_GUESS_PROBABILITY allows for a whole day."""
    with ExitStack() as stack:
        service, simulator = _after(tmp_path, stack, pool=50, calls=250)
        odds = _drawn(service, 4)
        assert odds["uneven"]
        assert odds["chance"] == pytest.approx(0.02, rel=0.25)
        assert odds["min_entropy_low"] <= 5.64 <= odds["min_entropy_high"]
        phone = fresh_phone()
        refused = service.start(phone)
        assert (refused.status_code, refused.json()["code"]) == (503, "codes_predictable")
        assert int(refused.headers["retry-after"]) == refused.json()["retry_after"] > 0
        assert simulator.count(phone) == 0
        errors = [line for line in service.lines() if line["event"] == "codes_uneven"]
        assert {line["level"] for line in errors} == {"error"}
        assert "MAX_GUESS_PROBABILITY" in errors[0]["detail"]
        metrics = read(service.http.get("/metrics").text)
        (bits,) = [
            value
            for (name, labels), value in metrics.items()
            if name == "lastdigits_code_min_entropy" and ("code_length", "4") in labels
        ]
        assert bits == pytest.approx(odds["min_entropy"], abs=0.01)


def test_where_one_code_fits_under_the_bound_and_two_do_not_nobody_is_called_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        service, simulator = _after(
            tmp_path, stack, pool=50, calls=250, MAX_GUESS_PROBABILITY="0.03", RESEND_COOLDOWNS="5"
        )
        phone = fresh_phone()
        begun = service.start(phone).json()
        asyncio.run(wait_out_the_ladder(service, begun["id"], 5))
        again = service.post("/verify/resend", {"id": begun["id"]})
        assert (again.status_code, again.json()["code"]) == (503, "codes_predictable")
        assert simulator.count(phone) == 1
        assert service.check(begun["id"], simulator.code(phone)).status_code == 200, "and the first code still counts"


def test_from_five_hundred_numbers_guesses_cost_what_they_are_worth(tmp_path: Path) -> None:
    """A bound of 0.01 leaves room for four guesses of 0.002 and some: codes have six digits from the start, and the fifth guess is not compared."""
    with ExitStack() as stack:
        service, simulator = _after(
            tmp_path, stack, pool=500, calls=1500, MAX_GUESS_PROBABILITY="0.01", RESEND_COOLDOWNS="5"
        )
        odds = _drawn(service, 4)
        assert odds["chance"] == pytest.approx(0.002, rel=0.15)
        assert odds["min_entropy_low"] <= 8.97 <= odds["min_entropy_high"]
        phone = fresh_phone()
        begun = service.start(phone).json()
        assert begun["code_length"] == 6
        code = simulator.code(phone)
        answers = [service.check(begun["id"], wrong(code, nth)).json()["code"] for nth in (1, 2, 3)]
        assert answers == ["code_incorrect"] * 3
        asyncio.run(wait_out_the_ladder(service, begun["id"], 5))
        again = service.start(phone).json()
        last = [service.check(again["id"], wrong(simulator.code(phone), nth)) for nth in (1, 2)]
        assert [answer.json()["code"] for answer in last] == ["code_incorrect", "limit_reached"]
        assert last[1].json()["limit"] == "guess_budget"
        owner = fresh_phone()
        verification = service.start(owner).json()["id"]
        assert service.check(verification, simulator.code(owner)).status_code == 200


def test_ten_thousand_numbers_with_different_ends_change_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        service, simulator = _after(tmp_path, stack, pool=10_000, calls=1500)
        odds = _drawn(service, 4)
        assert (odds["uneven"], odds["chance"], odds["codes"]) == (False, 0.0001, 1500)
        phone = fresh_phone()
        begun = service.start(phone).json()
        assert begun["code_length"] == 4
        assert service.check(begun["id"], simulator.code(phone)).status_code == 200

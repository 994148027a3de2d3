"""Pools of calling numbers, through HTTP: what the service does where codes recur. Ten minutes pass on the clock that the test sets."""

import asyncio
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.redis_store import RedisStore
from app.simulator.calls import Calls
from app.verification.entropy import EntropyMonitor
from app.verification.ids import IdCodec
from app.verification.policy import MAX_LIFETIME
from tests.contract.conftest import POLICY
from tests.exposition import read
from tests.harness import Service, Simulator, fresh_phone, serving, simulating, wait_out_the_cooldown, wrong


async def _ten_minutes_later(service: Service, codes: list[str]) -> None:
    """What a worker does with the codes of its calls, when they count no more."""
    now = [0.0]
    async with connect(service.settings["REDIS_URL"], 5) as client, aclosing(Coalescer(client)) as coalescer:
        store, codec = RedisStore(coalescer, POLICY), IdCodec(service.settings["PEPPER"].encode())
        entropy = EntropyMonitor(store, codec, POLICY.guesses, lambda _: None, lambda: now[0])
        for code in codes:
            entropy.note(code)
        now[0] += MAX_LIFETIME
        await entropy.measure()


def _after(tmp_path: Path, stack: ExitStack, pool: int, calls: int, **settings: str) -> tuple[Service, Simulator]:
    """A service that starts with the sample of so many calls from a pool."""
    simulator = stack.enter_context(simulating(tmp_path / "simulator", "--pool", str(pool), "--seed", "1"))
    numbers = Calls(pool, 1)
    with serving(tmp_path, simulator.send_url, **settings) as before:
        asyncio.run(_ten_minutes_later(before, [numbers.calling_number(None)[-4:] for _ in range(calls)]))
    return stack.enter_context(serving(tmp_path, simulator.send_url, before.keys, **settings)), simulator


def _bias(service: Service, digits: int) -> dict[str, Any]:
    (bias,) = [each for each in service.get("/policy").json()["codes_drawn"] if each["code_length"] == digits]
    return dict(bias)


def test_from_fifty_numbers_no_phone_is_called_and_the_operator_finds_out_why(tmp_path: Path) -> None:
    """One guess in fifty is right: twenty times what MAX_GUESS_PROBABILITY allows for a whole day."""
    with ExitStack() as stack:
        service, simulator = _after(tmp_path, stack, pool=50, calls=250)
        bias = _bias(service, 4)
        assert bias["uneven"]
        assert bias["chance"] == pytest.approx(0.02, rel=0.25)
        assert bias["min_entropy_low"] <= 5.64 <= bias["min_entropy_high"]
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
        assert bits == pytest.approx(bias["min_entropy"], abs=0.01)


def test_where_one_code_fits_under_the_bound_and_two_do_not_no_phone_is_called_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        settings = {"MAX_GUESS_PROBABILITY": "0.03", "RESEND_COOLDOWNS": "5"}
        service, simulator = _after(tmp_path, stack, pool=50, calls=250, **settings)
        phone = fresh_phone()
        begun = service.start(phone).json()
        asyncio.run(wait_out_the_cooldown(service, begun["id"], 5))
        again = service.post("/verify/resend", {"id": begun["id"]})
        assert (again.status_code, again.json()["code"]) == (503, "codes_predictable")
        assert simulator.count(phone) == 1
        assert service.check(begun["id"], simulator.code(phone)).status_code == 200, "and the first code still counts"


def test_from_five_hundred_numbers_guesses_cost_what_they_are_worth(tmp_path: Path) -> None:
    """A bound of 0.01 allows four guesses of 0.002 and some: codes have six digits from the start, and the fifth guess is not compared."""
    with ExitStack() as stack:
        settings = {"MAX_GUESS_PROBABILITY": "0.01", "RESEND_COOLDOWNS": "5"}
        service, simulator = _after(tmp_path, stack, pool=500, calls=1500, **settings)
        assert _bias(service, 4)["chance"] == pytest.approx(0.0021, rel=0.1)
        phone = fresh_phone()
        begun = service.start(phone).json()
        assert begun["code_length"] == 6
        code = simulator.code(phone)
        answers = [service.check(begun["id"], wrong(code, nth)).json()["code"] for nth in (1, 2, 3)]
        assert answers == ["code_incorrect"] * 3
        asyncio.run(wait_out_the_cooldown(service, begun["id"], 5))
        again = service.start(phone).json()
        last = [service.check(again["id"], wrong(simulator.code(phone), nth)) for nth in (1, 2)]
        assert [answer.json()["code"] for answer in last] == ["code_incorrect", "limit_reached"]
        assert last[1].json()["limit"] == "guess_budget"
        owner = fresh_phone()
        verification = service.start(owner).json()["id"]
        assert service.check(verification, simulator.code(owner)).status_code == 200

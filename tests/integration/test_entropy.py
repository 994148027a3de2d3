"""Pools of calling numbers, through HTTP: what the service does where codes recur. Ten minutes pass on the clock that the test sets."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.simulator.calls import Calls
from app.store.connection import connect
from app.verification.client import Caller, Client
from app.verification.model import Pending
from app.verification.service import Start
from tests.exposition import read
from tests.harness import PREFIX, Service, Simulator, fresh_phone, serving, simulating, wait_out_the_cooldown, wrong
from tests.older import PassingTime
from tests.samples import add_to_samples, worker
from tests.server import Server


@contextmanager
def _seen(tmp_path: Path, pool: int, calls: int, **settings: str) -> Iterator[tuple[Service, Simulator]]:
    """A service that starts with the sample of so many calls from a pool of numbers."""
    numbers, server = Calls(pool, 1), Server(tmp_path)
    try:
        asyncio.run(add_to_samples(server.url, (numbers.calling_number(None)[-4:] for _ in range(calls))))
        with (
            simulating(tmp_path / "simulator", "--pool", str(pool), "--seed", "1") as simulator,
            serving(tmp_path / "service", simulator.send_url, REDIS_URL=server.url, WORKERS="1", **settings) as service,
        ):
            yield service, simulator
    finally:
        server.stop()


def _bias(service: Service, digits: int) -> dict[str, Any]:
    (bias,) = [each for each in service.get("/policy").json()["codes"] if each["code_length"] == digits]
    return dict(bias)


def test_from_fifty_numbers_no_phone_is_called_and_the_operator_finds_out_why(tmp_path: Path) -> None:
    """One guess in fifty is right: twenty times what MAX_GUESS_PROBABILITY allows for a whole day."""
    with _seen(tmp_path, pool=50, calls=250) as (service, simulator):
        bias = _bias(service, 4)
        assert bias["biased"]
        assert bias["chance"] == pytest.approx(0.02, rel=0.25)
        assert bias["min_entropy_low"] <= 5.64 <= bias["min_entropy_high"]
        phone = fresh_phone()
        refused = service.start(phone)
        assert (refused.status_code, refused.json()["code"]) == (503, "codes_predictable")
        assert int(refused.headers["retry-after"]) == refused.json()["retry_after"] > 0
        assert simulator.count(phone) == 0
        errors = [line for line in service.lines() if line["event"] == "codes_biased"]
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
    settings = {"MAX_GUESS_PROBABILITY": "0.03", "MAX_ATTEMPTS": "1", "RESEND_COOLDOWNS": "5"}
    with _seen(tmp_path, pool=50, calls=250, **settings) as (service, simulator):
        phone = fresh_phone()
        begun = service.start(phone).json()
        asyncio.run(wait_out_the_cooldown(service, begun["id"], 5))
        again = service.post("/verify/resend", {"id": begun["id"]})
        assert (again.status_code, again.json().get("limit")) == (429, "guess_budget")
        assert simulator.count(phone) == 1
        assert service.check(begun["id"], simulator.code(phone)).status_code == 200, "and the first code still counts"


def test_from_five_hundred_numbers_guesses_cost_what_they_are_worth(tmp_path: Path) -> None:
    """A bound of 0.01 allows four guesses of 0.002 and some: codes have six digits from the start, and there is room for one verification a day."""
    settings = {"MAX_GUESS_PROBABILITY": "0.01", "RESEND_COOLDOWNS": "5"}
    with _seen(tmp_path, pool=500, calls=1500, **settings) as (service, simulator):
        assert _bias(service, 4)["chance"] == pytest.approx(0.0021, rel=0.1)
        phone = fresh_phone()
        begun = service.start(phone).json()
        assert begun["code_length"] == 6
        code = simulator.code(phone)
        answers = [service.check(begun["id"], wrong(code, nth)).json()["code"] for nth in (1, 2, 3)]
        assert answers == ["code_incorrect"] * 3
        asyncio.run(wait_out_the_cooldown(service, begun["id"], 5))
        again = service.start(phone)
        assert (again.status_code, again.json().get("limit")) == (429, "guess_budget")
        assert simulator.count(phone) == 1, "no call whose code could not be checked"
        owner = fresh_phone()
        verification = service.start(owner).json()["id"]
        assert service.check(verification, simulator.code(owner)).status_code == 200


async def test_calls_to_phones_of_ones_own_do_not_make_the_codes_look_predictable(
    tmp_path: Path, simulator: Simulator
) -> None:
    """Twenty calls to four phones that get the same code each time: one sample a phone. Calls to twenty such phones are what they seem."""
    server, client = Server(tmp_path), Caller(Client("backend", "backend"))
    try:
        async with worker(server.url, simulator.send_url) as opened, connect(server.url, 5) as redis:
            time = PassingTime(redis, PREFIX)

            async def call(phones: list[str]) -> None:
                for phone in phones:
                    await asyncio.to_thread(simulator.behave, phone, digits="7777")
                    assert isinstance(await opened.verifications.start(client, Start(phone)), Pending)

            own = [fresh_phone() for _ in range(4)]
            for pause in (30, 60, 300, 300, 300):
                await call(own)
                await time(pause)
            await opened.ten_minutes_later()
            assert (opened.entropy.bias[4].codes_seen, opened.entropy.bias[4].biased) == (4, False)
            assert sum(simulator.count(phone) for phone in own) == 20
            await call([fresh_phone() for _ in range(20)])
            await opened.ten_minutes_later()
            assert (opened.entropy.bias[4].codes_seen, opened.entropy.bias[4].biased) == (24, True)
    finally:
        server.stop()

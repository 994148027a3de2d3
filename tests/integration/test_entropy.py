"""Where codes recur: what the service says through HTTP, and that strangers can't bring it about. Ten minutes pass on the clock that the test sets."""

import asyncio
from pathlib import Path

import pytest

from app.simulator.calls import Calls
from app.store.connection import connect
from app.verification.client import Caller, Client
from app.verification.model import Pending
from app.verification.service import Start
from tests.exposition import read
from tests.harness import PREFIX, Simulator, fresh_phone, serving
from tests.older import PassingTime
from tests.samples import add_to_samples, worker
from tests.server import Server


def test_from_fifty_numbers_no_phone_is_called_and_the_operator_finds_out_why(
    tmp_path: Path, simulator: Simulator
) -> None:
    """One guess in fifty is right: twenty times what MAX_GUESS_PROBABILITY allows for a whole day."""
    numbers, server = Calls(50, 1), Server(tmp_path)
    try:
        asyncio.run(add_to_samples(server.url, (numbers.calling_number(None)[-4:] for _ in range(250))))
        with serving(tmp_path / "service", simulator.send_url, REDIS_URL=server.url, WORKERS="1") as service:
            (bias,) = [each for each in service.get("/policy").json()["codes"] if each["code_length"] == 4]
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
    finally:
        server.stop()


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

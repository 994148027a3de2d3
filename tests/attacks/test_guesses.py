"""A day of guessing at one phone through HTTP, with two workers: the sum stays under the bound, and the owner verifies on each try."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Service, Simulator, serving, wait_out_the_ladder, wrong

BOUND = 0.002


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("attacked")
    limits = {"CALLS_PER_PHONE": "100/day", "RESEND_COOLDOWNS": "5", "MAX_GUESS_PROBABILITY": str(BOUND)}
    with serving(directory, simulator.send_url, **limits) as service:
        yield service


async def test_a_day_of_guesses_stays_under_the_bound_and_never_keeps_the_owner_out(
    attacked: Service, simulator: Simulator, phone: str
) -> None:
    chance, lengths, approved = 0.0, [], 0
    for n in range(100):
        client = ("backend", "other")[n % 2]
        started = attacked.start(phone, client, client_ip=f"203.0.113.{n}", code_length=4)
        assert started.status_code == 201, started.text
        verification, length = started.json()["id"], started.json()["code_length"]
        code = simulator.code(phone)
        assert len(code) == length
        if n % 10 == 9:
            assert attacked.check(verification, code, client).status_code == 200
            approved += 1
        else:
            lengths.append(length)
            async with attacked.asynchronous(client) as http:
                guesses = [{"id": verification, "code": wrong(code, nth)} for nth in range(1, 9)]
                answers = await asyncio.gather(*(http.post("/verify/check", json=guess) for guess in guesses))
            chance += sum(10.0**-length for answer in answers if answer.json()["code"] == "code_incorrect")
        await wait_out_the_ladder(attacked, verification, 5)
    assert approved == 10, "the owner verifies on each of ten tries"
    assert chance <= BOUND
    assert chance > BOUND * 0.6, "the attack was one"
    assert lengths == sorted(lengths)
    assert {4, 6} <= set(lengths)


def test_a_new_verification_client_or_address_does_not_refill_the_budget(
    attacked: Service, simulator: Simulator, phone: str
) -> None:
    """All that four digits may use is used up over parallel verifications: then a shorter code's guess is not compared, right or wrong."""
    begun = []
    for n in range(6):
        client = ("backend", "other")[n % 2]
        verification = attacked.start(phone, client, client_ip=f"2001:db8:{n}::1").json()["id"]
        begun.append((verification, simulator.code(phone), client))
        asyncio.run(wait_out_the_ladder(attacked, verification, 5))
    assert {len(code) for _, code, _ in begun} == {4}
    spent = 0
    for verification, code, client in begun[:5]:
        for nth in (1, 2, 3):
            spent += attacked.check(verification, wrong(code, nth), client).json()["code"] == "code_incorrect"
    assert spent == 14, "0.002 less the reserve for six digits is 0.0014"
    verification, code, client = begun[5]
    denied = attacked.check(verification, code, client)
    assert (denied.status_code, denied.json()["limit"]) == (429, "guess_budget")
    assert int(denied.headers["retry-after"]) == denied.json()["retry_after"] > 86_000
    fresh = attacked.start(phone)
    assert fresh.json()["code_length"] > 4
    assert attacked.check(fresh.json()["id"], simulator.code(phone)).status_code == 200

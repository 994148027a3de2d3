"""A day of guessing at one phone through HTTP, with two workers: the sum stays under the bound, and a right code is never refused for others' wrong ones."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.harness import Service, Simulator, serving, wait_out_the_cooldown, wrong

BOUND = 0.002


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("attacked")
    limits = {"CALLS_PER_PHONE": "100/day", "RESEND_COOLDOWNS": "5", "MAX_GUESS_PROBABILITY": str(BOUND)}
    with serving(directory, simulator.send_url, **limits) as service:
        yield service


async def test_a_day_of_guesses_stays_under_the_bound_and_never_keeps_the_owner_out(
    attacked: Service, simulator: Simulator, phone: str
) -> None:
    """Forty verifications with twice as many guesses at once as are allowed; the owner verifies after each fifth."""
    chance, lengths, approved = 0.0, [], 0
    for n in range(48):
        client = ("backend", "other")[n % 2]
        started = attacked.start(phone, client, client_ip=f"203.0.113.{n}", code_length=4)
        assert started.status_code == 201, started.text
        verification, length = started.json()["id"], started.json()["code_length"]
        code = simulator.code(phone)
        assert len(code) == length
        if n % 6 == 5:
            assert attacked.check(verification, code, client).status_code == 200
            approved += 1
        else:
            lengths.append(length)
            async with attacked.asynchronous(client) as http:
                guesses = [{"id": verification, "code": wrong(code, nth)} for nth in range(1, 7)]
                answers = await asyncio.gather(*(http.post("/verify/check", json=guess) for guess in guesses))
            chance += sum(10.0**-length for answer in answers if answer.json()["code"] == "code_incorrect")
        await wait_out_the_cooldown(attacked, verification, 5)
    assert approved == 8, "the owner verifies on each of eight tries"
    assert chance <= BOUND
    assert chance > BOUND * 0.6, "the attack was one"
    assert lengths == sorted(lengths)
    assert {4, 6} <= set(lengths)


def test_a_new_verification_client_or_address_does_not_refill_the_budget(
    attacked: Service, simulator: Simulator, phone: str
) -> None:
    """Live verifications hold what their guesses may cost: where four digits have no room left, the next call has five."""
    begun = []
    for n in range(6):
        client = ("backend", "other")[n % 2]
        started = attacked.start(phone, client, client_ip=f"2001:db8:{n}::1")
        begun.append((started.json()["id"], simulator.code(phone), client))
        asyncio.run(wait_out_the_cooldown(attacked, started.json()["id"], 5))
    # 0.002, less the reserve for the six digits of all calls of 26 hours (200, three guesses each), is 0.0014: four times three guesses at four digits.
    assert [len(code) for _, code, _ in begun] == [4, 4, 4, 4, 5, 5]
    for verification, code, client in begun[:4]:
        for nth in (1, 2, 3):
            assert attacked.check(verification, wrong(code, nth), client).json()["code"] == "code_incorrect"
    verification, code, client = begun[4]
    assert attacked.check(verification, code, client).status_code == 200, "a right code, whatever others typed"
    verification, code, client = begun[5]
    assert attacked.check(verification, wrong(code), client).json()["attempts_left"] == 2
    assert attacked.check(verification, code, client).status_code == 200
    assert attacked.start(phone, code_length=4).json()["code_length"] == 5, "what was guessed at stays counted"


def test_canceling_refills_nothing_that_was_guessed(attacked: Service, simulator: Simulator, phone: str) -> None:
    """Each round guesses twice and cancels: a cancel gives back what was held, and no more."""
    lengths = []
    for _ in range(9):
        started = attacked.start(phone)
        lengths.append(started.json()["code_length"])
        code, verification = simulator.code(phone), started.json()["id"]
        for nth in (1, 2):
            assert attacked.check(verification, wrong(code, nth)).json()["code"] == "code_incorrect"
        assert attacked.post(f"/verify/{verification}/cancel").status_code == 200
        asyncio.run(wait_out_the_cooldown(attacked, verification, 5))
    # 0.0002 a round: after six of them 0.0012 are spent, and 0.0003 more do not fit into 0.0014.
    assert lengths == [4] * 6 + [5] * 3


def test_calls_that_the_provider_refuses_hold_no_guesses(attacked: Service, simulator: Simulator, phone: str) -> None:
    simulator.behave(phone, answer="error", error_code="number_in_spam_list", times=20)
    for _ in range(20):
        assert attacked.start(phone).json()["code"] == "phone_called_too_often"
    started = attacked.start(phone)
    assert (started.status_code, started.json()["code_length"]) == (201, 4)
    assert simulator.count(phone) == 1

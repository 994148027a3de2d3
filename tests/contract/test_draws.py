"""How codes are drawn, in every store: samples that all workers share, written when their codes count no more, and what guesses are then charged."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from app.store.keys import SAMPLES
from app.store.redis_store import RedisStore
from app.verification.draws import Draws
from app.verification.errors import StoreUnavailable
from app.verification.ids import IdCodec
from app.verification.model import Approval, CodeIncorrect, Limit, LimitReached
from app.verification.odds import SAMPLE
from app.verification.policy import MAX_LIFETIME
from app.verification.ports import Event, OddsMeasured
from tests.contract.conftest import POLICY, coalescer_of
from tests.contract.test_store_guard import ASK
from tests.harness import fresh_phone


class Worker:
    """A worker whose clock the test sets."""

    def __init__(self, server: Any, codec: IdCodec) -> None:
        self.now = 1000.0
        self.told: list[OddsMeasured] = []
        self.codec = codec
        self.store = RedisStore(coalescer_of(server), POLICY)
        self.draws = Draws(self.store, codec, POLICY.guesses, self._observe, lambda: self.now)

    def _observe(self, event: Event) -> None:
        assert isinstance(event, OddsMeasured)
        self.told.append(event)

    async def see(self, codes: list[str]) -> None:
        """Calls with these codes, and ten minutes later a measurement."""
        for code in codes:
            self.draws.note(code)
        self.now += MAX_LIFETIME
        await self.draws.measure()

    async def verification(self) -> Any:
        """A live one, with the code 012345."""
        ref = self.codec.new(fresh_phone(), 6)
        call = await self.store.start([ref], ASK, None, None)
        await self.store.settle(ref, ASK, call, ref.digest("012345"), None)  # type: ignore[arg-type]
        return ref


@pytest.fixture
async def worker(server: Any, codec: IdCodec) -> AsyncIterator[Worker]:
    await server.delete(*SAMPLES)
    yield Worker(server, codec)
    await server.delete(*SAMPLES)


def _pool(size: int, calls: int, digits: int = 4) -> list[str]:
    drawn = random.Random(1)
    return [f"{drawn.randrange(size) * 13:0{digits}d}"[-digits:] for _ in range(calls)]


async def test_no_digest_is_written_while_its_code_counts(server: Any, worker: Worker) -> None:
    worker.draws.note("0123")
    worker.now += MAX_LIFETIME - 1
    await worker.draws.measure()
    assert not await server.exists(*SAMPLES)
    worker.now += 1
    await worker.draws.measure()
    assert await server.get("ld:o:4") == worker.codec.recurrence("0123")
    assert 86_000_000 < await server.pttl("ld:o:4") <= 86_400_000
    await worker.draws.measure()
    assert await server.strlen("ld:o:4") == 4, "and it is written once"


async def test_workers_share_one_sample_and_find_the_same(server: Any, worker: Worker, codec: IdCodec) -> None:
    other = Worker(server, codec)
    await worker.see(_pool(50, 100))
    await other.see(_pool(50, 100))
    await worker.draws.measure()
    assert worker.draws.odds == other.draws.odds
    assert worker.draws.odds[4].drawn == 200
    assert worker.draws.odds[4].uneven


async def test_a_sample_is_bounded_and_keeps_the_newest(server: Any, worker: Worker) -> None:
    await server.set("ld:o:4", b"\0" * 4 * SAMPLE)
    await worker.see(["0001", "0002"])
    stored = await server.get("ld:o:4")
    assert len(stored) == 4 * SAMPLE
    newest = {stored[-8:-4], stored[-4:]}
    assert newest == {worker.codec.recurrence("0001"), worker.codec.recurrence("0002")}


async def test_codes_of_each_length_are_counted_apart(worker: Worker) -> None:
    await worker.see(["0001", "00002", "000003", "000003"])
    assert [worker.draws.odds[digits].drawn for digits in (4, 5, 6)] == [1, 1, 2]


async def test_evenly_drawn_codes_change_nothing(worker: Worker) -> None:
    await worker.see(_pool(10_000, 3000))
    assert worker.draws.guesses == POLICY.guesses
    assert not worker.told[-1].worse


async def test_guesses_cost_what_the_pool_makes_them_worth(worker: Worker) -> None:
    """Of 2,500 numbers each is right with 0.0004: two guesses fit under 0.001, and the third is not compared."""
    await worker.see(_pool(2500, 8000, 6))
    assert worker.draws.guesses.cost(6) == pytest.approx(420, rel=0.1)
    assert worker.told[-1].worse
    assert not worker.draws.guesses.impossible
    ref = await worker.verification()
    answers = [await worker.store.check(ref, ASK, ref.digest(f"99999{n}")) for n in range(3)]
    assert [isinstance(answer, CodeIncorrect) for answer in answers] == [True, True, False]
    denied = answers[-1]
    assert isinstance(denied, LimitReached)
    assert denied.limit is Limit.GUESS_BUDGET
    assert isinstance(await worker.store.check(ref, ASK, ref.digest("012345")), LimitReached)
    owner = await worker.verification()
    assert isinstance(await worker.store.check(owner, ASK, owner.digest("012345")), Approval), "on another phone"


async def test_a_pool_of_fifty_numbers_makes_every_guess_too_good(worker: Worker) -> None:
    await worker.see(_pool(50, 200))
    assert worker.draws.guesses.impossible
    assert (worker.told[-1].worse, worker.told[-1].impossible) == (True, True)
    await worker.draws.measure()
    assert not worker.told[-1].worse, "told once"


async def test_codes_whose_writing_was_not_confirmed_are_not_written_again(
    server: Any, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and the codes are there: written twice, each would recur."""
    sample = worker.store.sample

    async def loses_its_answer(drawn: Mapping[int, bytes]) -> Any:
        await sample(drawn)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(worker.store, "sample", loses_its_answer)
        with pytest.raises(StoreUnavailable):
            await worker.see([f"{number:04d}" for number in range(30)])
    for _ in range(3):
        await worker.draws.measure()
    assert worker.draws.odds[4].drawn == 30
    assert not worker.draws.guesses.impossible


async def test_what_waits_to_be_written_is_bounded(worker: Worker) -> None:
    for _ in range(SAMPLE + 5):
        worker.draws.note("0123")
    await worker.see([])
    assert worker.draws.odds[4].drawn == SAMPLE


async def test_it_watches_until_it_is_canceled(worker: Worker) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await worker.draws.watch()
    assert len(worker.told) == 1, "at once, and then a minute later"

"""The samples of codes, in every store: shared by all workers, written when the codes count no more, and what guesses are then charged."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from app.verification.entropy import SAMPLE, EntropyMonitor
from app.verification.errors import StoreUnavailable
from app.verification.model import Approval, CodesPredictable, Limit, LimitReached
from app.verification.policy import MAX_LIFETIME
from tests.contract.conftest import POLICY, World
from tests.harness import fresh_phone


class Worker:
    """A worker whose clock the test sets."""

    def __init__(self, world: World) -> None:
        self.now = 1200.0  # a whole minute: codes are handed on in whole ones
        self.events: list[Any] = []
        self.world, self.codec, self.store = world, world.codec, world.rule()
        self.entropy = EntropyMonitor(self.store, self.codec, POLICY.guesses, self.events.append, lambda: self.now)

    async def see(self, codes: list[str]) -> None:
        """Calls with these codes, and ten minutes later a measurement."""
        for code in codes:
            self.entropy.note(code)
        self.now += MAX_LIFETIME
        await self.entropy.measure()

    async def stored(self) -> bytes:
        """The sample of codes of four digits."""
        return bytes.fromhex((await self.world.server.get(self.key) or b"").decode())

    @property
    def key(self) -> str:
        return self.world.names.key("codes", "4")


@pytest.fixture
def worker(world: World) -> Worker:
    return Worker(world)


def _pool(size: int, calls: int, digits: int = 4) -> list[str]:
    chosen = random.Random(1)
    return [f"{chosen.randrange(size) * 13:0{digits}d}"[-digits:] for _ in range(calls)]


async def test_no_digest_is_written_while_its_code_counts_and_then_once(worker: Worker) -> None:
    worker.entropy.note("0123")
    worker.now += MAX_LIFETIME - 1
    await worker.entropy.measure()
    assert not await worker.stored()
    worker.now += 1
    for _ in range(2):
        await worker.entropy.measure()
        assert await worker.stored() == worker.codec.recurrence("0123")
    assert 86_000_000 < await worker.world.server.pttl(worker.key) <= 86_400_000


async def test_a_sample_does_not_show_the_order_of_the_calls(worker: Worker) -> None:
    codes = [f"{number:04d}" for number in range(100)]
    await worker.see(codes)
    stored, in_order = await worker.stored(), [worker.codec.recurrence(code) for code in codes]
    assert stored != b"".join(in_order)
    assert {stored[at : at + 4] for at in range(0, 400, 4)} == set(in_order)


async def test_workers_share_one_sample_for_each_length(worker: Worker) -> None:
    other = Worker(worker.world)
    await worker.see([*_pool(50, 100), "00002"])
    await other.see([*_pool(50, 100), "000003", "000003"])
    await worker.entropy.measure()
    assert worker.entropy.bias == other.entropy.bias
    assert [worker.entropy.bias[digits].codes_seen for digits in (4, 5, 6)] == [200, 1, 2]
    assert worker.entropy.bias[4].biased


async def test_a_sample_is_bounded_and_holds_the_newest(worker: Worker) -> None:
    await worker.world.server.set(worker.key, "0" * 8 * SAMPLE)
    await worker.see(["0001", "0002"])
    stored = await worker.stored()
    assert len(stored) == 4 * SAMPLE
    assert {stored[-8:-4], stored[-4:]} == {worker.codec.recurrence("0001"), worker.codec.recurrence("0002")}


async def test_what_waits_to_be_written_is_bounded(worker: Worker) -> None:
    await worker.see(["0123"] * SAMPLE + ["4567"] * 5)
    assert await worker.stored() == worker.codec.recurrence("0123") * SAMPLE


async def test_guesses_cost_what_the_pool_makes_them_worth(worker: Worker) -> None:
    """Of 5,000 numbers each is right with 0.0002, so the three guesses at one code leave room for no other call within a day."""
    await worker.see(_pool(5000, 16_000, 6))
    assert worker.entropy.guesses.cost(6) == pytest.approx(205, rel=0.1)
    assert (worker.events[-1].worse, worker.events[-1].impossible) == (True, False)
    phone = fresh_phone()
    ref, call = await worker.world.reserve(phone)
    assert call.code_length == 6, "from the start"
    await worker.world.settle(ref, call)
    for _ in range(3):
        await worker.world.wrong(ref)
    await worker.world.travel(30)
    denied = await worker.world.reserved(phone)
    assert isinstance(denied, LimitReached)
    assert denied.limit is Limit.GUESS_BUDGET
    owner = await worker.world.place()
    assert isinstance(await worker.world.right(owner), Approval), "on another phone"


async def test_a_pool_of_fifty_numbers_makes_each_guess_too_likely(worker: Worker) -> None:
    await worker.see(_pool(50, 200))
    assert isinstance(await worker.world.reserved(), CodesPredictable)
    assert (worker.events[-1].worse, worker.events[-1].impossible) == (True, True)
    await worker.entropy.measure()
    assert not worker.events[-1].worse, "reported once"


async def test_codes_whose_write_may_have_succeeded_are_not_written_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and the codes are there: written twice, each would recur."""
    sample = worker.store.sample

    async def loses_its_answer(ended: Mapping[int, bytes]) -> Any:
        await sample(ended)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(worker.store, "sample", loses_its_answer)
        with pytest.raises(StoreUnavailable):
            await worker.see([f"{number:04d}" for number in range(30)])
    await worker.entropy.measure()
    assert worker.entropy.bias[4].codes_seen == 30
    assert not worker.entropy.guesses.impossible


async def test_it_watches_until_it_is_canceled(worker: Worker) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await worker.entropy.watch()
    assert len(worker.events) == 1, "at once, and then a minute later"

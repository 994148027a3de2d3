"""The money budget, in every store: reserved before a call, settled after it, exact over whoever asks at once."""

import asyncio
from dataclasses import replace
from typing import Any

from app.store.redis_store import RedisStore
from app.verification.call import Refusal
from app.verification.client import Client
from app.verification.ids import IdCodec
from app.verification.model import Cap, SpendCapReached, Verification
from app.verification.money import parse_caps
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import POLICY, coalescer_of
from tests.harness import fresh_phone, slices_of

PRICE = 3500


class Till:
    """A client with caps of its own: what is counted of all calls is shared with other tests, so that these look at the client's."""

    def __init__(self, server: Any, own: str, **spending: Any) -> None:
        self.server = server
        name = f"c{fresh_phone()[1:]}"
        self.ask = RequestContext(Client(name, name, (), parse_caps(own)))
        self.key = f"ld:m:client:{name}"
        policy = replace(POLICY, spending=replace(POLICY.spending, **spending))
        self.store = RedisStore(coalescer_of(server), policy)
        self._codec = IdCodec(b"pepper of the contract tests 0123456789")

    async def call(self, phone: str | None = None) -> tuple[Any, Any]:
        ref = self._codec.new(phone or fresh_phone(), 4)
        return ref, await self.store.start([ref], self.ask, None, None)

    async def spent(self) -> int:
        """What the first of its caps holds."""
        stored = await self.server.get(self.key) or b""
        return sum(slices_of(stored).values())


async def test_a_call_reserves_the_expected_price_and_settles_at_the_answers(server: Any) -> None:
    till = Till(server, "100/hour, 500/day")
    for actual, sum_after in ((None, 3500), (3500, 7000), (2000, 9000), (12_345, 21_345), (0, 21_345)):
        ref, call = await till.call()
        assert isinstance(call, Reserved)
        before = await till.spent()
        for _ in range(2):  # told twice, it is settled once
            assert isinstance(await till.store.settle(ref, till.ask, call, b"d" * 16, actual), Verification)
        assert await till.spent() == sum_after
        assert before >= sum_after - max(actual or 0, PRICE)


async def test_a_refusal_gives_its_price_back_and_an_unknown_fate_keeps_it(server: Any) -> None:
    till = Till(server, "100/hour")
    ref, call = await till.call()
    for _ in range(2):
        await till.store.release(ref, till.ask, call, Refusal.BALANCE)
    assert await till.spent() == 0
    ref, call = await till.call()
    for _ in range(2):
        await till.store.keep(ref, till.ask, call)
    assert await till.spent() == PRICE
    await till.call()
    assert await till.spent() == 2 * PRICE, "a worker that died keeps its reservation"


async def test_a_hundred_calls_at_once_cost_no_more_than_the_cap(server: Any) -> None:
    till = Till(server, "3.5/hour")
    answers = [answer for _, answer in await asyncio.gather(*(till.call() for _ in range(100)))]
    assert sum(isinstance(answer, Reserved) for answer in answers) == 10
    denied = next(answer for answer in answers if not isinstance(answer, Reserved))
    assert isinstance(denied, SpendCapReached)
    assert denied.cap is Cap.CLIENT
    assert 3300 <= denied.retry_after <= 3900
    assert await till.spent() == 35_000


async def test_the_cap_of_a_day_holds_beside_the_hours(server: Any) -> None:
    till = Till(server, "100/hour, 0.70/day")
    answers = [(await till.call())[1] for _ in range(3)]
    assert [isinstance(answer, Reserved) for answer in answers] == [True, True, False]
    assert answers[2].retry_after > 82_000


async def test_what_is_settled_late_is_corrected_where_it_was_reserved(server: Any) -> None:
    till = Till(server, "1/hour")
    ref, call = await till.call()
    stored = await server.get(till.key)
    older = stored[:4] + (int.from_bytes(stored[4:10], "big") - 3).to_bytes(6, "big") + stored[10:]
    await server.set(till.key, older, keepttl=True)
    late = Reserved(call.number, call.at - 3 * 300_000)
    await till.store.settle(ref, till.ask, late, b"d" * 16, 9000)
    counts = await server.get(till.key)
    assert slices_of(counts) == {3: 9000}


async def test_a_countrys_cap_and_the_cap_of_all_hold(server: Any) -> None:
    await server.delete("ld:m:country:KZ")
    till = Till(server, "100/hour", by_country={"KZ": parse_caps("0.35/day")})
    answers = [(await till.call(f"+7701{fresh_phone()[-7:]}"))[1] for _ in range(2)]
    assert isinstance(answers[0], Reserved)
    assert (answers[1].cap, isinstance(answers[1], SpendCapReached)) == (Cap.COUNTRY, True)
    assert isinstance((await till.call())[1], Reserved), "other countries go on"
    closed = Till(server, "100/hour", caps=parse_caps("0/hour"))
    _, answer = await closed.call()
    assert isinstance(answer, SpendCapReached)
    assert answer.cap is Cap.ALL
    assert await closed.spent() == 0, "what is denied is counted nowhere"


async def test_a_price_beyond_all_bounds_closes_the_cap(server: Any) -> None:
    till = Till(server, "100/hour")
    ref, call = await till.call()
    await till.store.settle(ref, till.ask, call, b"d" * 16, 2**32)
    assert await till.spent() == 2**32 - 1
    _, answer = await till.call()
    assert isinstance(answer, SpendCapReached)
    await server.delete("ld:m")

"""The money budget, in every store: reserved before a call, settled after it, exact however many ask at once."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from app.verification.client import Client
from app.verification.limits import parse_caps
from app.verification.model import Cap, Refusal, SpendCapReached
from app.verification.ports import RequestContext, Reserved
from tests.contract.conftest import BACKEND, POLICY, World, device, placed, stranger
from tests.harness import fresh_phone

PRICE = 3500
HOUR, DAY = 3600, 86_400


def cap(world: World, caps: str, **by_country: str) -> None:
    """From now on these caps are in force."""
    countries = {country: parse_caps(text) for country, text in by_country.items()}
    world.rule(spending=replace(POLICY.spending, caps=parse_caps(caps), by_country=countries))


@pytest.fixture
def till(world: World) -> World:
    world.rule(calls_per_ip=POLICY.calls_total)
    cap(world, "10/hour")
    return world


async def spent(world: World) -> int:
    return sum((await world.counted("money", str(HOUR))).values())


async def knows_price(world: World) -> None:
    """A call of the past showed a price."""
    await world.place(price=PRICE)
    await world.travel(2 * HOUR)


async def calls_at_once(world: World, price: int | None, count: int = 100, context: RequestContext = BACKEND) -> Any:
    """Whole calls of that price, as the service places them; what they came to."""

    async def call() -> Any:
        ref, reserved = await world.reserve(context=context)
        if isinstance(reserved, Reserved):
            await asyncio.sleep(random.random() / 50)
            await world.settle(ref, reserved, context, price=price)
        return reserved

    return await asyncio.gather(*(call() for _ in range(count)))


async def test_a_call_reserves_what_is_expected_and_settles_at_the_answers_price(till: World) -> None:
    await knows_price(till)
    for actual, sum_after in ((None, 3500), (3500, 7000), (2000, 9000), (12_345, 21_345), (0, 21_345)):
        ref, call = await till.reserve()
        for _ in range(2):  # reported twice, it is settled once
            await till.settle(ref, call, price=actual)
        assert await spent(till) == sum_after


async def test_a_refusal_gives_its_price_back_and_an_unknown_outcome_keeps_it(till: World) -> None:
    for refusal, sum_after in ((Refusal.BALANCE, 0), (None, PRICE)):
        ref, call = await till.reserve()
        for _ in range(2):
            await till.end(ref, call, refusal)
        assert await spent(till) == sum_after
    await till.reserve()
    assert await spent(till) == 2 * PRICE, "a worker that died keeps its reservation"


async def test_the_highest_price_of_the_last_day_is_reserved_and_at_least_the_expected_one(till: World) -> None:
    for price, reserved in ((2000, PRICE), (None, PRICE), (9000, PRICE), (2000, 9000), (2000, 9000)):
        ref, call = await till.reserve()
        assert call.price == reserved
        await till.settle(ref, call, price=price)
    await till.travel(DAY + 2 * HOUR)
    assert (await till.reserve())[1].price == PRICE


@pytest.mark.parametrize("price", [PRICE, 10 * PRICE, 2 * PRICE, 12_345, None])
@pytest.mark.parametrize("public", [False, True])
async def test_a_hundred_calls_at_once_cost_no_more_than_the_cap(till: World, price: int, *, public: bool) -> None:
    """Before anything is known of their price, up to ten times the expected one."""
    limit, context = (50_000, stranger()) if public else (100_000, BACKEND)
    answers = await calls_at_once(till, price, context=context)
    assert placed(answers) == limit // (price or PRICE)
    assert await spent(till) == placed(answers) * (price or PRICE)
    denied = next(answer for answer in answers if not isinstance(answer, Reserved))
    assert isinstance(denied, SpendCapReached)
    assert (denied.cap, denied.public) == (Cap.ALL, public)
    assert HOUR - 5 <= denied.retry_after <= HOUR + 300


async def test_while_no_price_was_seen_so_many_are_called_at_once_as_fit_at_ten_times_the_price(till: World) -> None:
    calls = [await till.reserve() for _ in range(2)]
    waiting = asyncio.ensure_future(till.reserved())
    for ref, call in calls:
        await asyncio.sleep(0.15)  # it asks again each 0.1 s
        assert not waiting.done(), "three could cost 10.50; once 3.50 are paid, as much is the second call's"
        await till.settle(ref, call, price=35_000)
    assert isinstance(await waiting, SpendCapReached)
    assert await spent(till) == 70_000


async def test_where_calls_are_expected_to_cost_nothing_the_first_one_alone_shows_what_they_do(till: World) -> None:
    till.rule(spending=replace(POLICY.spending, price=0, caps=parse_caps("1/hour")))
    calls = await calls_at_once(till, price=PRICE)
    assert (placed(calls), await spent(till)) == (2, 2 * PRICE)


@pytest.mark.parametrize("refusal", [Refusal.BUSY, None], ids=["refused", "unknown"])
async def test_a_call_that_ends_without_a_price_says_nothing_of_what_others_cost(
    till: World, refusal: Refusal | None
) -> None:
    calls = [await till.reserve() for _ in range(2)]
    waiting = [asyncio.ensure_future(till.reserve()) for _ in range(2)]
    await till.end(*calls.pop(), refusal)
    done, (other,) = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    for ref, call in [*calls, *[each.result() for each in done]]:
        await till.settle(ref, call, price=35_000)
    assert isinstance((await other)[1], SpendCapReached)
    assert await spent(till) == 70_000 + (0 if refusal else PRICE)


async def test_a_call_whose_worker_died_holds_others_up_no_longer_than_its_deadline(till: World) -> None:
    for _ in range(2):
        await till.reserve()
    await till.travel(31)
    assert isinstance(await asyncio.wait_for(till.reserved(), 10), Reserved)


async def test_a_small_cap_is_not_used_up_by_ten_times_the_expected_price(till: World) -> None:
    cap(till, "1/hour")
    assert placed(await calls_at_once(till, PRICE, 20)) == 2


async def test_the_cap_of_a_day_holds_beside_the_hours(till: World) -> None:
    cap(till, "100/hour, 0.70/day")
    answers = await calls_at_once(till, PRICE, 3)
    assert placed(answers) == 2
    assert answers[-1].retry_after > 82_000
    await till.travel(answers[-1].retry_after)
    assert placed(await calls_at_once(till, PRICE, 3)) == 2


async def test_what_is_settled_late_is_corrected_where_it_was_reserved(till: World) -> None:
    ref, call = await till.reserve()
    await till.travel(25)
    await till.settle(ref, call, price=9000)
    assert set((await till.server.hgetall(till.names.key("money:3600"))).values()) == {b"9000"}


async def test_the_caps_of_a_client_and_a_country_hold_beside_the_cap_of_all(till: World) -> None:
    cap(till, "10/hour", KZ="0.35/day")
    await knows_price(till)
    rich = RequestContext(Client("rich", "rich", spend=parse_caps("1/hour")))
    client = await calls_at_once(till, PRICE, 5, rich)
    assert [getattr(answer, "cap", None) for answer in client].count(Cap.CLIENT) == 3
    await till.place(f"+7701{fresh_phone()[-7:]}")
    assert (await till.reserved(f"+7701{fresh_phone()[-7:]}")).cap is Cap.COUNTRY
    before = await spent(till)
    cap(till, "0/hour")
    denied = await till.reserved()
    assert (denied.cap, denied.public) == (Cap.ALL, False)
    assert await spent(till) == before, "what is denied is counted nowhere"


async def test_a_price_beyond_all_bounds_closes_the_cap(till: World) -> None:
    await till.place(price=2**40)
    assert isinstance(await till.reserved(), SpendCapReached)


@pytest.mark.parametrize("of", Cap)
async def test_strangers_spend_their_share_and_others_the_rest(till: World, of: Cap) -> None:
    page = Client("page", "page", spend=parse_caps("10/hour") if of is Cap.CLIENT else (), public=True)
    countries = {"RU": "10/hour"} if of is Cap.COUNTRY else {}
    cap(till, "10/hour" if of is Cap.ALL else "100/hour", **countries)
    await knows_price(till)
    for context, public in ((stranger(), True), (device(), False)):
        answers = await calls_at_once(till, PRICE, 40, replace(context, client=page))
        denied = next(answer for answer in answers if isinstance(answer, SpendCapReached))
        assert (placed(answers), denied.cap, denied.public) == (14, of, public), "28 in all"
        assert denied.used == (14 if public else 28) * PRICE

"""What a scrape shows besides the counters: what holds now, and never by waiting for a store that hangs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.telemetry import gauges
from app.telemetry.gauges import Gauges, Seen
from app.telemetry.metrics import Metrics
from app.verification.client import Client
from app.verification.limits import SCALE, Rate, Spending, cap_units, parse_country_caps
from app.verification.ports import GuardStatus, Suspended, Usage
from tests.contract.conftest import POLICY
from tests.exposition import Samples, read, series

CAPS = (Rate(cap_units(Decimal(100)), 3600), Rate(cap_units(Decimal(1000)), 86400))
LIMITED = replace(
    POLICY,
    public_share=0.5,
    calls_total=(Rate(100, 1),),
    spending=Spending(3500, CAPS, parse_country_caps("KZ 10/hour")),
)
SHOP = Client("shop", "shop", public=True, calls=(Rate(1000, 3600),), spend=(Rate(cap_units(Decimal(50)), 86400),))
BACKEND = Client("backend", "backend", calls=(Rate(10, 3600),))
USED = {
    "calls_total/1": Usage(1, 2, 500),
    "spend/3600": Usage(12 * SCALE, 30 * SCALE, 1000),
    "spend/86400": Usage(12 * SCALE, 30 * SCALE, 1000),
    "spend_country:KZ/3600": Usage(0, 7 * SCALE, 1000),
    "spend_client:shop/86400": Usage(1 * SCALE, 2 * SCALE, 1000),
    "calls_per_client:shop/3600": Usage(3, 4, 1000),
    "calls_per_client:backend/3600": Usage(0, 5, 1000),
}
STATUS = GuardStatus((Suspended("KZ", "public", 1), Suspended("+7999123", "public", 2)), 5, USED)
WELL = Seen(up=True, problems={"eviction": False, "no_answer": False}, status=STATUS, clients=(SHOP, BACKEND))
DOWN = Seen(up=False, problems={"eviction": False, "no_answer": True})


async def _shown(collected: Gauges) -> Samples:
    return read(Metrics("1").text("", await collected.collect())[0].decode())


def _flags(shown: Samples) -> list[float]:
    return [shown[series(f"lastdigits_{flag}")] for flag in ("ready", "store_up", "store_safe", "sandbox")]


def _gauges(look: Callable[[], Any], *, sandbox: bool = False) -> Gauges:
    return Gauges(look, DOWN, LIMITED, sandbox=sandbox)


async def test_all_is_shown_with_what_is_used_beside_what_is_allowed() -> None:
    async def look() -> Seen:
        return WELL

    def budget(name: str, **labels: str) -> list[float]:
        return [shown[series(f"lastdigits_{each}", **labels)] for each in name.split("/")]

    shown = await _shown(_gauges(look, sandbox=True))
    assert _flags(shown) == [1, 1, 1, 1]
    money, calls, suspended = "spend/spend_cap", "calls_used/calls_limit", "suspended_destinations"
    assert budget(money, cap="all", window="hour", lane="all") == [42, 100]
    assert budget(money, cap="all", window="hour", lane="public") == [12, 50]
    assert budget(money, cap="all", window="day", lane="all") == [42, 1000]
    assert budget(money, cap="country:KZ", window="hour", lane="all") == [7, 10]
    assert budget(money, cap="country:KZ", window="hour", lane="public") == [0, 5]
    assert budget(money, cap="client:shop", window="day", lane="all") == [3, 50]
    assert budget(money, cap="client:shop", window="day", lane="public") == [1, 25]
    assert budget(calls, limit="all", window="second", lane="all") == [3, 100]
    assert budget(calls, limit="all", window="second", lane="public") == [1, 50]
    assert budget(calls, limit="client:shop", window="hour", lane="all") == [7, 1000]
    assert budget(calls, limit="client:shop", window="hour", lane="public") == [3, 500]
    assert budget(calls, limit="client:backend", window="hour", lane="all") == [5, 10]
    assert series("lastdigits_calls_used", limit="client:backend", window="hour", lane="public") not in shown
    assert [budget(suspended, lane=lane) for lane in ("public", "trusted")] == [[2], [0]]
    assert shown[series("lastdigits_spray_alert")] == 1


async def test_a_problem_is_neither_ready_nor_safe_though_the_store_answers() -> None:
    async def look() -> Seen:
        return replace(WELL, problems={"eviction": True, "no_answer": False})

    shown = await _shown(_gauges(look))
    assert _flags(shown) == [0, 1, 0, 0]
    assert shown[series("lastdigits_store_problem", problem="eviction")] == 1
    assert shown[series("lastdigits_store_problem", problem="no_answer")] == 0


async def test_a_store_that_hangs_holds_up_no_scrape_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "TIMEOUT", 0.02)
    monkeypatch.setattr(gauges, "KEPT_FOR", 0)  # it hangs for longer than an answer is kept
    looks, answer = [], asyncio.Event()

    async def look() -> Seen:
        looks.append(1)
        await answer.wait()
        return WELL

    collected = _gauges(look)
    for shown in await asyncio.gather(*(_shown(collected) for _ in range(10))):
        assert _flags(shown) == [0, 0, 0, 0]
        assert shown[series("lastdigits_store_problem", problem="no_answer")] == 1
        assert series("lastdigits_spend", cap="all", window="hour", lane="all") not in shown, "it is not known"
    assert len(looks) == 1
    answer.set()
    monkeypatch.undo()
    assert (await _shown(collected))[series("lastdigits_store_up")] == 1, "the answer that came late counts"
    assert len(looks) == 1


async def test_scrapes_ask_the_store_no_more_than_once_in_so_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    async def look() -> Seen:
        looks.append(1)
        return WELL

    collected = _gauges(look)
    for _ in range(20):
        await collected.collect()
    assert len(looks) == 1
    monkeypatch.setattr(gauges, "KEPT_FOR", 0)
    await collected.collect()
    assert len(looks) == 2

"""People who verify themselves while servers fail."""

import asyncio
from collections.abc import Callable

import httpx

from tests.harness import Simulator, fresh_phone


def people_during(
    fault: Callable[[], object], http: httpx.AsyncClient, simulator: Simulator
) -> dict[str, httpx.Response]:
    """What was answered to people, by their phones, who start verifications before, during and after a fault; the answers are true."""
    answered: dict[str, httpx.Response] = {}
    ended = asyncio.Event()

    async def person() -> None:
        while not ended.is_set():
            phone = fresh_phone()
            answered[phone] = await http.post("/verify/start", json={"phone": phone})
            await asyncio.sleep(0.05)

    async def one_begins() -> None:
        known = len(answered)
        async with asyncio.timeout(30):
            while not any(answer.status_code == 201 for answer in list(answered.values())[known:]):  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.05)

    async def run() -> None:
        async with http, asyncio.TaskGroup() as people:
            for _ in range(4):
                people.create_task(person())
            await one_begins()
            await asyncio.to_thread(fault)
            await one_begins()
            ended.set()

    asyncio.run(run())
    for phone, answer in answered.items():
        code = answer.json().get("code", "placed")
        calls = {"placed": {1}, "store_unavailable": {0}, "call_unknown": {0, 1}}[code]
        assert simulator.count(phone) in calls, (code, simulator.count(phone))
        assert answer.status_code == 201 or answer.json()["retry_after"] >= 1, answer.text
    return answered

"""People who verify themselves while servers fail."""

import asyncio
from collections.abc import Callable

import httpx

from tests.harness import Service, Simulator, fresh_phone


class People:
    """People who start verifications one after another, and what they were told."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.told: dict[str, httpx.Response] = {}
        self.stopped = False

    async def run(self) -> None:
        async with self._service.asynchronous() as http:
            await asyncio.gather(*(self._start(http) for _ in range(4)))

    async def _start(self, http: httpx.AsyncClient) -> None:
        while not self.stopped:
            phone = fresh_phone()
            self.told[phone] = await http.post("/verify/start", json={"phone": phone})
            await asyncio.sleep(0.05)

    async def begun(self) -> None:
        """Wait for a verification that begins from now on."""
        known = len(self.told)
        async with asyncio.timeout(30):
            while not any(answer.status_code == 201 for answer in list(self.told.values())[known:]):  # noqa: ASYNC110  no event tells of an answer
                await asyncio.sleep(0.05)


def people_during(service: Service, fault: Callable[[], object]) -> People:
    """People who verify themselves before, during and after a fault; it returns when the deployment has taken notice."""

    async def run() -> People:
        people = People(service)
        running = asyncio.create_task(people.run())
        await people.begun()
        await asyncio.to_thread(fault)
        await people.begun()
        people.stopped = True
        await running
        return people

    return asyncio.run(run())


def told_the_truth(people: People, simulator: Simulator) -> None:
    for phone, answer in people.told.items():
        code = answer.json().get("code", "placed")
        calls = {"placed": {1}, "store_unavailable": {0}, "call_unknown": {0, 1}}[code]
        assert simulator.count(phone) in calls, (code, simulator.count(phone))
        assert answer.status_code == 201 or answer.json()["retry_after"] >= 1, answer.text

"""People who verify themselves, each by one action, and what each was answered."""

import asyncio
import random
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.deployment import COOLDOWN, Deployment
from tests.harness import fresh_phone, wrong

NO_ANSWER = "no_answer"
AGAIN = {NO_ANSWER, "store_unavailable"}
"""Answers after which the same request is sent again."""

MAX_TRIES = 4
AT_ONCE = 6


@dataclass(frozen=True)
class Answer:
    """What a request was answered.

    Attributes:
        kind: `start`, `resend`, `wrong` or `right` (a check), `redeem`, `stray` (one that is refused before any operation).
        code: the problem's, empty for a success, `no_answer` if there was none.
        began, ended: on the event loop's clock.
        eras: of the store, when it was sent and when it was answered.
    """

    kind: str
    status: int
    code: str
    body: dict[str, Any]
    retry_after: str | None
    began: float
    ended: float
    eras: tuple[int, int]


@dataclass
class Person:
    """One person: a phone, a start and perhaps a resend, and every answer to them."""

    phone: str
    client: str
    key: str | None
    answers: list[Answer] = field(default_factory=list)

    def answers_to(self, *kinds: str) -> list[Answer]:
        """The answers to requests of these kinds."""
        return [answer for answer in self.answers if answer.kind in kinds]


class People:
    """Everyone who came during a run; `AT_ONCE` are there at any moment."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self._deployment, self._random = deployment, random.Random(seed)
        self.everyone: list[Person] = []
        self.answers: list[Answer] = []
        self.stopped = False

    async def run(self) -> None:
        async with self._deployment.service.asynchronous() as http:
            await asyncio.gather(*(self._one_after_another(http) for _ in range(AT_ONCE)))

    async def _one_after_another(self, http: httpx.AsyncClient) -> None:
        while not self.stopped:
            draw = self._random.random()
            client, key = "limited" if draw < 0.1 else "backend", None if draw > 0.7 else secrets.token_hex(8)
            person = Person(fresh_phone(), client, key)
            self.everyone.append(person)
            await self._verify(http, person)
            await asyncio.sleep(self._random.uniform(0.05, 0.3))

    async def _verify(self, http: httpx.AsyncClient, person: Person) -> None:
        if self._random.random() < 0.05:
            await self._ask(http, person, "stray", "/verify/start", {"phone": "12"})
        begun = await self._call(http, person, "start", {"phone": person.phone})
        if not begun:
            return
        if self._random.random() < 0.1:
            await asyncio.sleep(COOLDOWN + 0.5)
            await self._call(http, person, "resend", {"id": begun})
        code = await asyncio.to_thread(self._deployment.simulator.code, person.phone)
        for nth in range(self._random.choice((0, 0, 0, 1, 2, 4))):
            await self._repeat(http, person, "wrong", "/verify/check", {"id": begun, "code": wrong(code, nth + 1)})
        approved = await self._repeat(http, person, "right", "/verify/check", {"id": begun, "code": code})
        if approved.status == 200:
            for _ in range(2):
                await self._repeat(http, person, "redeem", "/verify/redeem", {"token": approved.body["token"]})

    async def _call(self, http: httpx.AsyncClient, person: Person, kind: str, body: dict[str, Any]) -> str | None:
        """The verification's id. Without an idempotency key the request is sent once: again it would be another action."""
        key = {"Idempotency-Key": f"{person.key}-{kind}"} if person.key else {}
        again = AGAIN | {"idempotency_key_in_use", "call_not_placed"} if key else set()
        answer = await self._repeat(http, person, kind, f"/verify/{kind}", body, key, again)
        return str(answer.body["id"]) if answer.status in {200, 201} else None

    async def _repeat(
        self,
        http: httpx.AsyncClient,
        person: Person,
        kind: str,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
        again: set[str] = AGAIN,
    ) -> Answer:
        """Send a request again until it has an answer that lasts."""
        for _ in range(MAX_TRIES):
            answer = await self._ask(http, person, kind, path, body, headers)
            if answer.code not in again:
                break
            await asyncio.sleep(0.3)
        return answer

    async def _ask(
        self,
        http: httpx.AsyncClient,
        person: Person,
        kind: str,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> Answer:
        clock, era = asyncio.get_running_loop().time, self._deployment.era
        began = clock()
        given = self._deployment.service.headers(person.client) | (headers or {})
        try:
            found = await http.post(path, json=body, headers=given)
            read = found.json()
            outcome = (found.status_code, read.get("code", ""), read, found.headers.get("retry-after"))
        except httpx.TransportError:
            outcome = (0, NO_ANSWER, {}, None)
        answer = Answer(kind, *outcome, began, clock(), (era, self._deployment.era))
        person.answers.append(answer)
        self.answers.append(answer)
        return answer

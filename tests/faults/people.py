"""People who verify themselves, each by one action, and what each was told."""

import asyncio
import random
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.deployment import COOLDOWN, Deployment
from tests.harness import fresh_phone, wrong

NO_ANSWER = "no_answer"
MAX_TRIES = 4
AT_ONCE = 6


@dataclass(frozen=True)
class Answer:
    """What a request was told.

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

    @property
    def starts(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind == "start"]

    @property
    def calls_asked_for(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind in {"start", "resend"}]

    @property
    def checks(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind in {"wrong", "right"}]


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
            person = Person(
                fresh_phone(), "limited" if draw < 0.1 else "backend", None if draw > 0.7 else secrets.token_hex(8)
            )
            self.everyone.append(person)
            await self._verify(http, person)
            await asyncio.sleep(self._random.uniform(0.05, 0.3))

    async def _verify(self, http: httpx.AsyncClient, person: Person) -> None:
        if self._random.random() < 0.05:
            await self._ask(http, person, "stray", "/verify/start", {"phone": "12"})
        begun = await self._called(http, person, "start", {"phone": person.phone})
        if begun is None:
            return
        if self._random.random() < 0.1:
            await asyncio.sleep(COOLDOWN + 0.5)
            await self._called(http, person, "resend", {"id": begun})
        code = await self._code(person)
        for nth in range(self._random.choice((0, 0, 0, 1, 2, 4))):
            await self._again(http, person, "wrong", "/verify/check", {"id": begun, "code": wrong(code, nth + 1)})
        approved = await self._again(http, person, "right", "/verify/check", {"id": begun, "code": code})
        if approved.status == 200:
            token = {"token": approved.body["token"]}
            for _ in range(2):
                await self._again(http, person, "redeem", "/verify/redeem", token)

    async def _called(self, http: httpx.AsyncClient, person: Person, kind: str, body: dict[str, Any]) -> str | None:
        """The verification's id. With an idempotency key the same request is sent again until it has an answer that lasts."""
        for _ in range(MAX_TRIES if person.key else 1):
            headers = {"Idempotency-Key": f"{person.key}-{kind}"} if person.key else {}
            answer = await self._ask(http, person, kind, f"/verify/{kind}", body, headers)
            if answer.status in {200, 201}:
                return str(answer.body["id"])
            if answer.code not in {NO_ANSWER, "store_unavailable", "idempotency_key_in_use", "call_not_placed"}:
                return None
            await asyncio.sleep(0.3)
        return None

    async def _again(
        self, http: httpx.AsyncClient, person: Person, kind: str, path: str, body: dict[str, Any]
    ) -> Answer:
        """Send a request again until it has an answer that lasts."""
        for _ in range(MAX_TRIES):
            answer = await self._ask(http, person, kind, path, body)
            if answer.code not in {NO_ANSWER, "store_unavailable"}:
                break
            await asyncio.sleep(0.3)
        return answer

    async def _code(self, person: Person) -> str:
        answer = await asyncio.to_thread(self._deployment.simulator.code, person.phone)
        return str(answer)

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
            told = (found.status_code, read.get("code", ""), read, found.headers.get("retry-after"))
        except httpx.TransportError:
            told = (0, NO_ANSWER, {}, None)
        answer = Answer(kind, *told, began, clock(), (era, self._deployment.era))
        person.answers.append(answer)
        self.answers.append(answer)
        return answer

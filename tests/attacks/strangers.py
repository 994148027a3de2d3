"""Who takes part in an attack: strangers with a page's public key and any number of addresses, and the people whom the service is for."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import httpx
from altcha import solve_challenge
from altcha.v2 import Challenge, Payload

from app.verification.challenge import LIFETIME
from tests.exposition import Samples, growth, scrape
from tests.harness import Simulator
from tests.older import PassingTime

MAX_WAIT = 60
"""Seconds that a person waits for another call, if the service asks for it."""


def phone_in(first: str = "") -> str:
    """A random mobile number; with its first digits, in that range."""
    first = first or f"+79{secrets.choice(('01', '05', '10', '16', '26', '62', '85'))}{secrets.randbelow(1000):03d}"
    return f"{first}{secrets.randbelow(10 ** (12 - len(first))):0{12 - len(first)}d}"


def address_of_its_own() -> str:
    """An IPv4 address whose /24 has no other in all likelihood."""
    return (
        f"{11 + secrets.randbelow(80)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(250)}"
    )


@dataclass
class Deployment:
    """A service under attack, the simulator that its calls go to, and the time that passes for it.

    Attributes:
        http: its API.
        secret: a backend's key.
        public: a page's key.
        origin: of that page.
        simulator: what was called, and from which number.
        time: moves what the service keeps into the past.
    """

    http: httpx.AsyncClient
    secret: str
    public: str
    origin: str
    simulator: Simulator
    time: PassingTime
    policy: dict[str, Any] = field(default_factory=dict)

    async def backend(self, path: str, address: str | None = None, **body: Any) -> httpx.Response:
        """A request of the operator's backend, for a user at an address."""
        named = {"client_ip": address} if address else {}
        return await self._post(path, body | named, self.secret, {})

    async def page(self, path: str, address: str, **body: Any) -> httpx.Response:
        """A request with the page's public key, from an address."""
        return await self._post(path, body, self.public, {"Origin": self.origin, "X-Forwarded-For": address})

    async def _post(self, path: str, body: dict[str, Any], key: str, headers: dict[str, str]) -> httpx.Response:
        return await self.http.post(path, json=body, headers=headers | {"Authorization": f"Bearer {key}"})

    async def code(self, phone: str) -> str:
        """What a phone's owner reads from its last call."""
        return await asyncio.to_thread(self.simulator.code, phone)

    async def signs(self) -> Samples:
        """What an operator's monitoring has counted."""
        return await asyncio.to_thread(scrape, str(self.http.base_url).rstrip("/"))

    async def read_policy(self) -> dict[str, Any]:
        """The limits in force, and what is used of them."""
        answer = await self.http.get("/policy", headers={"Authorization": f"Bearer {self.secret}"})
        answer.raise_for_status()
        self.policy = answer.json()
        return self.policy


@dataclass
class Strangers:
    """All who attack, together, and what they spent.

    Attributes:
        at: whom they attack.
        max_level: the hardest challenge that they solve.
        addresses: that they sent a start from.
        calls: that were placed for them.
        solved: challenges.
        challenged: starts that were asked for a solution.
        denied: starts, by the limit or the problem's code.
    """

    at: Deployment
    max_level: int
    addresses: set[str] = field(default_factory=set)
    calls: int = 0
    solved: int = 0
    challenged: int = 0
    denied: dict[str, int] = field(default_factory=dict)

    async def start(self, phone: str, address: str | None = None, *, solves: bool = True) -> httpx.Response:
        """Have a phone called, and solve the challenge if there is one that is not too hard."""
        address = address or address_of_its_own()
        self.addresses.add(address)
        answer = await self.at.page("/verify/start", address, phone=phone)
        if answer.status_code == 428:
            self.challenged += 1
            if solves and level_of(answer) <= self.max_level:
                self.solved += 1
                answer = await self.at.page("/verify/start", address, phone=phone, challenge=await solution_of(answer))
        self._count(answer)
        return answer

    async def guess(self, verification: dict[str, Any], codes: Sequence[str]) -> list[str]:
        """Check codes, and return what came of each."""
        answers = await asyncio.gather(
            *(self.at.page("/verify/check", address_of_its_own(), id=verification["id"], code=code) for code in codes)
        )
        return [answer.json().get("code", answer.json().get("status")) for answer in answers]

    def _count(self, answer: httpx.Response) -> None:
        if answer.status_code == 201:
            self.calls += 1
        else:
            problem = answer.json()
            name = problem.get("limit") or problem["code"]
            self.denied[name] = self.denied.get(name, 0) + 1


def level_of(answer: httpx.Response) -> int:
    """How hard the challenge of a 428 answer is."""
    return int(answer.json()["challenge"]["parameters"]["data"]["level"])


async def solution_of(answer: httpx.Response) -> str:
    """Solve the challenge of a 428 answer, as the widget does."""
    challenge = Challenge.from_dict(answer.json()["challenge"])
    solution = await asyncio.to_thread(solve_challenge, challenge, timeout=LIFETIME)
    if solution is None:
        raise AssertionError("no solution while the challenge was valid")
    return Payload(challenge, solution).to_base64()


@dataclass
class Person:
    """Somebody whom the service is for: with a phone, an address, and a device that was approved before."""

    at: Deployment
    phone: str
    address: str
    device: str = ""
    waited: int = 0

    async def through_backend(self) -> bool:
        """Whether the person gets in where the operator's backend asks for the call."""
        return await self._gets_in(self.at.backend)

    async def through_device(self) -> bool:
        """Whether the person gets in with a public key and the device that was approved before."""
        return await self._gets_in(self.at.page, device=self.device)

    async def through_page(self) -> bool:
        """Whether the person gets in as any stranger does, solving challenges."""
        return await self._gets_in(self.at.page)

    async def _gets_in(self, ask: Any, **members: Any) -> bool:
        for _ in range(2):
            started = await ask("/verify/start", self.address, phone=self.phone, **members)
            if started.status_code == 428:
                solution = await solution_of(started)
                started = await ask("/verify/start", self.address, phone=self.phone, challenge=solution, **members)
            if started.status_code == 201:
                return await self._types_the_code(ask, started.json()["id"])
            wait = started.json().get("retry_after", MAX_WAIT + 1)
            if wait > MAX_WAIT:
                return False
            self.waited = max(self.waited, wait)
            await self.at.time(wait)
        return False

    async def _types_the_code(self, ask: Any, verification: str) -> bool:
        code = await self.at.code(self.phone)
        checked = await ask("/verify/check", self.address, id=verification, code=code)
        if checked.status_code != 200:
            return False
        self.device = checked.json()["device"] if ask == self.at.page else self.device
        return True


class Way(Enum):
    """How a person gets in."""

    BACKEND = auto()
    DEVICE = auto()


Try = tuple[Person, Way]


async def people(at: Deployment, count: int, first: str = "", address: str = "") -> list[Person]:
    """People who were verified on the page some days ago."""
    known = [Person(at, phone_in(first), address or address_of_its_own()) for _ in range(count)]
    for person in known:
        if not await person.through_page():
            raise AssertionError("a person could not be verified before the attack")
    await at.time(30 * 3600)
    return known


@dataclass
class Row:
    """What one attack came to.

    Attributes:
        name: the attack's.
        strangers: what it cost them.
        before: what the operator's metrics had counted until then.
        backend: how often people got in through a backend, of how many tries.
        device: the same with a device that was approved before.
        waited: the longest wait, in seconds, that one of them had.
        facts: what was reached beside what is promised, and whether that held.
        signs: what the operator's metrics have counted since.
    """

    name: str
    strangers: Strangers
    before: Samples
    backend: list[bool] = field(default_factory=list)
    device: list[bool] = field(default_factory=list)
    waited: int = 0
    facts: list[tuple[str, bool]] = field(default_factory=list)
    signs: set[str] = field(default_factory=set)

    @property
    def held(self) -> bool:
        """Whether all promises held."""
        return all(self.backend) and all(self.device) and all(held for _, held in self.facts)

    def at_most(self, what: str, reached: float, allowed: float) -> None:
        """Note what was reached, and what is allowed."""
        self.facts.append((f"{what}: {reached:g} of {allowed:g}", reached <= allowed))

    async def try_to_get_in(self, tries: Sequence[Try]) -> None:
        """Have people try, one after the other."""
        for person, way in tries:
            if way is Way.BACKEND:
                self.backend.append(await person.through_backend())
            else:
                self.device.append(await person.through_device())
            self.waited = max(self.waited, person.waited)

    async def look_for_signs(self) -> None:
        """Read which signs of an attack the operator's metrics have counted."""
        for name, labels in growth(self.before, await self.strangers.at.signs()):
            values = dict(labels)
            if name == "lastdigits_operations_total" and values["outcome"] in _DENIALS:
                self.signs.add(values.get("reason") or values["outcome"])
            elif name == "lastdigits_spray_alerts_total":
                self.signs.add("spray_alert")


_DENIALS = {"challenge_required", "limit_reached", "spend_cap_reached", "destination_suspended"}

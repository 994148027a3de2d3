"""A page that strangers use too, behind a proxy that the tests play, with a backend beside it; its strangers, and the people whom it is for."""

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from altcha import solve_challenge
from altcha.v2 import Challenge, Payload

from app.verification.challenge import LIFETIME
from tests.exposition import Samples, scrape
from tests.harness import CLIENTS, Service, Simulator

ORIGIN = CLIENTS["web"]["origins"][0]
SHOP = {"Origin": ORIGIN}
TEST_NUMBER = "+79990000001"
LONG_AGO = 30 * 3600
"""Seconds after which nothing counts any more of what was done before."""

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


def level_of(answer: httpx.Response) -> int:
    """How hard the challenge of a 428 answer is."""
    return int(answer.json()["challenge"]["parameters"]["data"]["level"])


def solution_of(answer: httpx.Response) -> str:
    """Solve the challenge of a 428 answer, as the widget does."""
    assert (answer.status_code, answer.json()["code"]) == (428, "challenge_required"), answer.text
    challenge = Challenge.from_dict(answer.json()["challenge"])
    solution = solve_challenge(challenge, timeout=LIFETIME)
    assert solution, "no solution while the challenge was valid"
    return Payload(challenge, solution).to_base64()


@dataclass
class Page:
    """What a page asks, each time from another address unless one is given.

    Attributes:
        service: with the clients `backend` and `web`, the page's.
        simulator: what was called, and from which number.
        origin: the page's.
    """

    service: Service
    simulator: Simulator
    origin: str = ORIGIN

    def post(self, path: str, address: str = "", headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        own = {"Origin": self.origin, "X-Forwarded-For": address or address_of_its_own()}
        return self.service.post(path, body, "web", headers=own | (headers or {}))

    def start(self, phone: str, address: str = "", **more: Any) -> httpx.Response:
        return self.post("/verify/start", address, phone=phone, **more)

    def resend(self, verification: str, address: str = "", **more: Any) -> httpx.Response:
        return self.post("/verify/resend", address, id=verification, **more)

    def check(self, verification: str, code: str, address: str = "") -> httpx.Response:
        return self.post("/verify/check", address, id=verification, code=code)

    def approved(self, phone: str, address: str = "") -> dict[str, Any]:
        """Verify a phone, and return the answer."""
        begun = self.start(phone, address)
        assert begun.status_code == 201, begun.text
        checked = self.check(begun.json()["id"], self.simulator.code(phone))
        assert checked.status_code == 200, checked.text
        return dict(checked.json())

    def use_up(self, phone: str) -> None:
        """Use up the calls that strangers may place to a phone in an hour."""
        for _ in range(2):
            assert self.start(phone).status_code == 201
            self.later(60)
        assert self.start(phone).json()["limit"] == "calls_per_phone"

    def later(self, seconds: float) -> None:
        """As if so much time had passed."""
        self.service.later(seconds)

    def policy(self) -> dict[str, Any]:
        """The limits in force, and what is used of them."""
        return dict(self.service.get("/policy").raise_for_status().json())

    def signs(self) -> Samples:
        """What an operator's monitoring has counted."""
        return scrape(self.service.url)


@dataclass
class Strangers:
    """All who attack a page, together, and what they spent.

    Attributes:
        max_level: the hardest challenge that they solve.
        addresses: that they sent a start from.
        answers: to their starts.
        challenged: starts that were asked for a solution.
        solved: challenges.
    """

    page: Page
    max_level: int
    addresses: set[str] = field(default_factory=set)
    answers: list[httpx.Response] = field(default_factory=list)
    challenged: list[httpx.Response] = field(default_factory=list)
    solved: set[str] = field(default_factory=set)

    @property
    def calls(self) -> int:
        return sum(answer.status_code == 201 for answer in self.answers)

    @property
    def denied(self) -> Counter[str]:
        """Starts that were denied, by the limit or the problem's code."""
        problems = [answer.json() for answer in self.answers if answer.status_code != 201]
        return Counter(problem.get("limit") or problem["code"] for problem in problems)

    def start(self, phone: str, address: str = "", *, solves: bool = True) -> httpx.Response:
        """Have a phone called, and solve the challenge if there is one that is not too hard."""
        address = address or address_of_its_own()
        self.addresses.add(address)
        answer = self.page.start(phone, address)
        if answer.status_code == 428:
            self.challenged.append(answer)
            if solves and level_of(answer) <= self.max_level:
                self.solved.add(solution := solution_of(answer))
                answer = self.page.start(phone, address, challenge=solution)
        self.answers.append(answer)
        return answer


@dataclass
class Person:
    """Somebody whom the service is for: with a phone, an address, and a device that was approved before."""

    page: Page
    phone: str
    address: str
    device: str = ""
    waited: int = 0

    def through_backend(self) -> bool:
        """Whether the person gets in where the operator's backend asks for the call."""
        return self._gets_in("backend", client_ip=self.address)

    def through_page(self) -> bool:
        """Whether the person gets in with the page's key: as a stranger does, unless the device was approved before."""
        return self._gets_in("web", **({"device": self.device} if self.device else {}))

    def _gets_in(self, client: str, **members: str) -> bool:
        headers = {"Origin": self.page.origin, "X-Forwarded-For": self.address} if client == "web" else {}
        for _ in range(2):
            started = self.page.service.start(self.phone, client, headers, **members)
            if started.status_code == 428:
                solution = solution_of(started)
                started = self.page.service.start(self.phone, client, headers, challenge=solution, **members)
            if started.status_code == 201:
                return self._types_the_code(client, headers, started.json()["id"])
            wait = started.json().get("retry_after", MAX_WAIT + 1)
            if wait > MAX_WAIT:
                return False
            self.waited = max(self.waited, wait)
            self.page.later(wait)
        return False

    def _types_the_code(self, client: str, headers: dict[str, str], verification: str) -> bool:
        body = {"id": verification, "code": self.page.simulator.code(self.phone)}
        checked = self.page.service.post("/verify/check", body, client, headers=headers)
        if checked.is_success and client == "web":
            self.device = checked.json()["device"]
        return checked.is_success


def people(page: Page, count: int, first: str = "", address: str = "") -> list[Person]:
    """People who were verified on the page some days ago."""
    known = [Person(page, phone_in(first), address or address_of_its_own()) for _ in range(count)]
    assert all(person.through_page() for person in known), "a person could not be verified before the attack"
    page.later(LONG_AGO)
    return known

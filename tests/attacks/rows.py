"""The attacks that strangers can make on a deployment, each with what it reached. The settings in force say what must hold."""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.attacks.strangers import Deployment, Person, Row, Strangers, Try, Way, address_of_its_own, people, phone_in
from tests.harness import wrong

ROUND = 3900
"""Seconds from one attack to the next: an hour, and the twelfth of it by which limits may be stricter."""

CREATED, CHALLENGED, UNAVAILABLE = 201, 428, 503


@dataclass(frozen=True)
class Scale:
    """How long and how hard an attack is.

    Attributes:
        hours: of the simulated day.
        money_hours: of these, in which money is used up.
        spray_hours: of these, in which codes are sprayed.
        people: who try to get in, each through a backend and with a known device.
        at_once: starts of strangers in parallel.
        max_level: the hardest challenge that they solve.
    """

    hours: int = 24
    money_hours: int = 24
    spray_hours: int = 2
    people: int = 10
    at_once: int = 4
    max_level: int = 6


Attack = Callable[[Deployment, Scale], Awaitable[Row]]


async def _rounds(at: Deployment, hours: int, known: Sequence[Person]) -> AsyncIterator[list[Try]]:
    """One round after the other, each with the tries to get in that fall into it: first all through a backend, then all with a known device."""
    tries = [(person, way) for way in (Way.BACKEND, Way.DEVICE) for person in known]
    rounds = max(1, hours * 3600 // ROUND)
    for number in range(rounds):
        begun = at.time.passed
        yield tries[number * len(tries) // rounds : (number + 1) * len(tries) // rounds]
        await at.time(max(0.0, ROUND - (at.time.passed - begun) / 1000))


async def _begin(
    name: str, at: Deployment, scale: Scale, first: str = "", address: str = ""
) -> tuple[Row, list[Person]]:
    """A row, and people who were verified before the attack."""
    known = await people(at, scale.people, first, address)
    return Row(name, Strangers(at, scale.max_level), before=await at.signs()), known


async def money(at: Deployment, scale: Scale) -> Row:
    """Use up the money of each hour and of the day, one call to each phone."""
    row, known = await _begin("money of a day", at, scale)
    hours = []
    async for trying in _rounds(at, scale.money_hours, known):
        placed, statuses = row.strangers.calls, {CREATED}
        while UNAVAILABLE not in statuses:
            answers = await asyncio.gather(*(row.strangers.start(phone_in()) for _ in range(scale.at_once)))
            statuses = {answer.status_code for answer in answers}
        hours.append(row.strangers.calls - placed)
        await row.try_to_get_in(trying)
    lane = at.policy["bounds"]["public"]
    row.at_most("calls in an hour", max(hours), lane["calls_per_hour"])
    row.at_most("calls in a day", sum(hours), lane["calls_per_day"])
    return row


async def unreachable(at: Deployment, scale: Scale) -> Row:
    """Keep phones from being called, each from three addresses: two calls an hour, as long as the day allows them."""
    row, known = await _begin("phones kept unreachable", at, scale)
    addresses = {person.phone: [address_of_its_own() for _ in range(3)] for person in known}
    calls = Counter[str]()
    lane = at.policy["bounds"]["public"]
    async for trying in _rounds(at, scale.hours, known):
        for person in known:
            phone = person.phone
            for _ in range(min(lane["calls_per_phone_and_hour"], lane["calls_per_phone_and_day"] - calls[phone])):
                started = await row.strangers.start(phone, addresses[phone][calls[phone] // 2])
                calls[phone] += started.status_code == CREATED
                await at.time(30)
            if calls[phone]:
                await row.strangers.start(phone, addresses[phone][2], solves=False)
        await row.try_to_get_in(trying)
    row.at_most("calls to one phone in a day", max(calls.values()), lane["calls_per_phone_and_day"])
    return row


async def suspended_range(at: Deployment, scale: Scale) -> Row:
    """Have a range of ten thousand numbers suspended, and keep it so."""
    first = f"+7958{secrets.randbelow(1000):03d}"
    row, known = await _begin("a range suspended", at, scale, first)
    ends = []
    async for trying in _rounds(at, scale.hours, known):
        answer = None
        while answer is None or answer.status_code == CREATED:
            answer = await row.strangers.start(phone_in(first))
        ends.append(answer.json()["code"])
        await row.try_to_get_in(trying)
    suspended = {entry["lane"] for entry in (await at.read_policy())["suspended"]} | {"public"}
    row.facts.append(
        (f"suspended in {ends.count('destination_suspended')} rounds of {len(ends)}", "destination_suspended" in ends)
    )
    row.facts.append((f"suspended for: {', '.join(sorted(suspended))}", suspended == {"public"}))
    return row


async def spray(at: Deployment, scale: Scale) -> Row:
    """Guess once at each of many phones: first from six addresses, then, as challenges must be solved, each time from another."""
    row, known = await _begin("one guess at each of many", at, scale)
    chances, addresses, taken = _chances(at), [address_of_its_own() for _ in range(6)], 0.0
    async for trying in _rounds(at, scale.spray_hours, known):
        answer = None
        while answer is None or answer.status_code != UNAVAILABLE:
            few = addresses[row.strangers.calls % 6] if not row.strangers.challenged else None
            answer = await row.strangers.start(phone := phone_in(), few)
            if answer.status_code == CREATED:
                await at.page(
                    "/verify/check", address_of_its_own(), id=answer.json()["id"], code=wrong(await at.code(phone))
                )
                taken += chances[answer.json()["code_length"]]
        page = await at.page("/verify/start", address_of_its_own(), phone=phone_in())
        row.facts.append((f"a page that solves no challenge gets {page.status_code}", page.status_code == CHALLENGED))
        row.facts.append(("the alert is on", (await at.read_policy())["spray_alert_until"] is not None))
        await row.try_to_get_in(trying)
    row.at_most(
        "takeovers expected",
        round(taken, 6),
        row.strangers.calls * at.policy["bounds"]["public"]["takeover_per_phone_and_day"],
    )
    return row


def _chances(at: Deployment) -> dict[int, float]:
    """What a guess at a code is worth, by its length."""
    return {step["code_length"]: step["chance"] for step in at.policy["bounds"]["public"]["code_lengths"]}


class _Guesses:
    """Wrong codes, and what they were worth."""

    def __init__(self, at: Deployment) -> None:
        self._at = at
        self._chances = _chances(at)
        self.public: dict[str, float] = defaultdict(float)
        self.trusted: dict[str, float] = defaultdict(float)

    async def exhaust(self, phone: str, started: httpx.Response, *, public: bool) -> None:
        """Use up all attempts of a verification."""
        if started.status_code != CREATED:
            return
        ask: Any = self._at.page if public else self._at.backend
        code, verification = await self._at.code(phone), started.json()
        for nth in range(1, verification["attempts_left"] + 1):
            await ask("/verify/check", address_of_its_own(), id=verification["id"], code=wrong(code, nth))
            (self.public if public else self.trusted)[phone] += self._chances[verification["code_length"]]

    def judge(self, row: Row) -> None:
        """Hold what was reached against the bounds in force."""
        bounds = self._at.policy["bounds"]
        phones = {*self.public, *self.trusted}
        for lanes, sums in (
            ("both lanes", [self.public[phone] + self.trusted[phone] for phone in phones]),
            ("public lane", self.public.values()),
        ):
            bound = bounds["all" if lanes == "both lanes" else "public"]["takeover_per_phone_and_day"]
            row.at_most(f"chance of a takeover, {lanes}", round(max(sums), 9), bound)


async def guesses(at: Deployment, scale: Scale, *, form: bool = True, name: str = "guesses in both lanes") -> Row:
    """Guess at phones with the page's key from many addresses, and through a form of the backend's, which leaves the owners some calls."""
    row, known = await _begin(name, at, scale)
    guessed, calls = _Guesses(at), Counter[str]()
    allowed = at.policy["bounds"]["public"]["calls_per_phone_and_day"]
    async for trying in _rounds(at, scale.hours, known):
        for person in known:
            for _ in range(min(2, allowed - calls[person.phone])):
                started = await row.strangers.start(person.phone)
                calls[person.phone] += started.status_code == CREATED
                await guessed.exhaust(person.phone, started, public=True)
                await at.time(30)
        for person in known if form and not guessed.trusted else ():
            visitor = address_of_its_own()
            for _ in range(2):
                started = await at.backend("/verify/start", visitor, phone=person.phone)
                await guessed.exhaust(person.phone, started, public=False)
                await at.time(60)
        await row.try_to_get_in(trying)
    guessed.judge(row)
    return row


async def small_pool(at: Deployment, scale: Scale) -> Row:
    """Guess at phones whose codes come from 10,000 calling numbers: for a deployment that has measured that."""
    row = await guesses(at, scale, form=False, name="guesses, 10,000 numbers")
    row.facts.append((f"a guess at six digits is worth {_chances(at)[6]:.2g}", _chances(at)[6] > 0.00005))
    return row


async def neighbour(at: Deployment, scale: Scale) -> Row:
    """Use up all calls of an address that people share behind a carrier's NAT, and guess from it."""
    address = address_of_its_own()
    row, known = await _begin("a neighbour behind NAT", at, scale, address=address)
    waiting = phone_in()
    begun = await at.page("/verify/start", address, phone=waiting)
    code, answer, guessed = await at.code(waiting), None, _Guesses(at)
    while answer is None or answer.status_code == CREATED:
        answer = await row.strangers.start(phone := phone_in(), address)
        await guessed.exhaust(phone, answer, public=True)
    right = await at.page("/verify/check", address, id=begun.json()["id"], code=code)
    row.facts.append(
        (f"a right code after {3 * row.strangers.calls} wrong ones: {right.status_code}", right.is_success)
    )
    await row.try_to_get_in([(person, way) for person in known for way in Way])
    return row


async def subnet(at: Deployment, scale: Scale) -> Row:
    """Call from each /64 of an IPv6 /56, as if these were 256 strangers."""
    site = f"2001:db8:{secrets.randbelow(65536):x}"
    row, known = await _begin("a /56 of IPv6", at, scale)
    for number, person in enumerate(known):
        person.address = f"{site}:{number:x}::1"
    for number in range(256):
        answer = await row.strangers.start(phone_in(), f"{site}:12{number:02x}::1", solves=False)
        if answer.status_code != CREATED:
            break
    row.at_most("calls in an hour", row.strangers.calls, 4 * at.policy["bounds"]["calls_per_address_and_hour"])
    await row.try_to_get_in([(person, way) for person in known for way in Way])
    return row


ATTACKS: dict[str, Attack] = {
    "money": money,
    "unreachable": unreachable,
    "range": suspended_range,
    "spray": spray,
    "guesses": guesses,
    "neighbour": neighbour,
    "subnet": subnet,
}
"""By the names that the command line knows them by. A small pool needs a deployment of its own."""

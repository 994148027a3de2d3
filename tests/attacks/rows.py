"""The attacks that strangers can make on a deployment, each with what it reached. The settings in force say what must hold."""

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.attacks.page import LONG_AGO, Page, Person, Strangers, address_of_its_own, people, phone_in
from tests.exposition import Samples, growth
from tests.harness import wrong

ROUND = 3900
"""Seconds from one attack to the next: an hour, and the twelfth of it by which limits may be stricter."""

CREATED, CHALLENGED, UNAVAILABLE = 201, 428, 503

_DENIALS = {"challenge_required", "limit_reached", "spend_cap_reached", "destination_suspended"}


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


@dataclass
class Row:
    """What one attack came to.

    Attributes:
        known: people who were verified before it.
        before: what the operator's metrics had counted until then.
        price: that a call is expected to cost.
        backend: how often people got in through a backend, of how many tries.
        device: the same with a device that was approved before.
        waited: the longest wait, in seconds, that one of them had.
        facts: what was reached beside what is promised, and whether that held.
        signs: what the operator's metrics have counted since.
    """

    name: str
    strangers: Strangers
    known: list[Person]
    before: Samples
    price: float
    backend: list[bool] = field(default_factory=list)
    device: list[bool] = field(default_factory=list)
    waited: int = 0
    facts: list[tuple[str, bool]] = field(default_factory=list)
    signs: set[str] = field(default_factory=set)

    @property
    def held(self) -> bool:
        return all(self.backend) and all(self.device) and all(held for _, held in self.facts)

    def fact(self, what: str, held: bool) -> None:
        self.facts.append((what, held))

    def at_most(self, what: str, reached: float, allowed: float) -> None:
        self.fact(f"{what}: {reached:g} of {allowed:g}", reached <= allowed)

    def rounds(self, hours: int) -> Iterator[None]:
        """One round of the attack after the other. After each, people try to get in: first all through a backend, then all with a known device."""
        page, count = self.strangers.page, max(1, hours * 3600 // ROUND)
        tries = [(person, device) for device in (False, True) for person in self.known]
        for number in range(count):
            begun = page.service.passed
            yield
            for person, device in tries[number * len(tries) // count : (number + 1) * len(tries) // count]:
                (self.device if device else self.backend).append(
                    person.through_page() if device else person.through_backend()
                )
                self.waited = max(self.waited, person.waited)
            page.later(max(0.0, ROUND - (page.service.passed - begun) / 1000))

    def look_for_signs(self) -> None:
        """Read which signs of an attack the operator's metrics have counted."""
        for name, labels in growth(self.before, self.strangers.page.signs()):
            values = dict(labels)
            if name == "lastdigits_operations_total" and values["outcome"] in _DENIALS:
                self.signs.add(values.get("reason") or values["outcome"])
            elif name == "lastdigits_spray_alerts_total":
                self.signs.add("spray_alert")


Attack = Callable[[Page, Scale], Row]


def _begin(name: str, page: Page, scale: Scale, first: str = "", address: str = "") -> Row:
    page.later(LONG_AGO)
    known = people(page, scale.people, first, address)
    return Row(name, Strangers(page, scale.max_level), known, page.signs(), float(page.policy()["expected_price"]))


def money(page: Page, scale: Scale) -> Row:
    """Use up the money of each hour and of the day, one call to each phone."""
    row = _begin("money of a day", page, scale)
    strangers, hours = row.strangers, []
    with ThreadPoolExecutor(scale.at_once) as pool:
        for _ in row.rounds(scale.money_hours):
            placed, statuses = strangers.calls, {CREATED}
            while UNAVAILABLE not in statuses:
                phones = [phone_in() for _ in range(scale.at_once)]
                statuses = {answer.status_code for answer in pool.map(strangers.start, phones)}
            hours.append(strangers.calls - placed)
    lane = page.policy()["bounds"]["public"]
    row.at_most("calls in an hour", max(hours), lane["calls_per_hour"])
    row.at_most("calls in a day", sum(hours), lane["calls_per_day"])
    return row


def unreachable(page: Page, scale: Scale) -> Row:
    """Keep phones from being called, each from three addresses: two calls an hour, as long as the day allows them."""
    row = _begin("phones kept unreachable", page, scale)
    addresses = {person.phone: [address_of_its_own() for _ in range(3)] for person in row.known}
    calls, lane = Counter[str](), page.policy()["bounds"]["public"]
    for _ in row.rounds(scale.hours):
        for phone, own in addresses.items():
            for _ in range(min(lane["calls_per_phone_and_hour"], lane["calls_per_phone_and_day"] - calls[phone])):
                started = row.strangers.start(phone, own[calls[phone] // 2])
                calls[phone] += started.status_code == CREATED
                page.later(30)
            if calls[phone]:
                row.strangers.start(phone, own[2], solves=False)
    row.at_most("calls to one phone in a day", max(calls.values()), lane["calls_per_phone_and_day"])
    return row


def suspended_range(page: Page, scale: Scale) -> Row:
    """Have a range of ten thousand numbers suspended, and keep it so."""
    first = f"+7958{secrets.randbelow(1000):03d}"
    row = _begin("a range suspended", page, scale, first)
    ends = []
    for _ in row.rounds(scale.hours):
        while (answer := row.strangers.start(phone_in(first))).status_code == CREATED:
            pass
        ends.append(answer.json()["code"])
    suspended = {entry["lane"] for entry in page.policy()["suspended"]} | {"public"}
    times = ends.count("destination_suspended")
    row.fact(f"suspended in {times} rounds of {len(ends)}", times > 0)
    row.fact(f"suspended for: {', '.join(sorted(suspended))}", suspended == {"public"})
    return row


def spray(page: Page, scale: Scale) -> Row:
    """Guess once at each of many phones: first from six addresses, then, as challenges must be solved, each time from another."""
    row = _begin("one guess at each of many", page, scale)
    strangers, guessed, addresses = row.strangers, _Guesses(page), [address_of_its_own() for _ in range(6)]
    for _ in row.rounds(scale.spray_hours):
        answer = None
        while answer is None or answer.status_code != UNAVAILABLE:
            few = addresses[strangers.calls % 6] if not strangers.challenged else ""
            answer = strangers.start(phone := phone_in(), few)
            guessed.at(phone, answer, at_most=1)
        unsolved = page.start(phone_in()).status_code
        row.fact(f"a page that solves no challenge gets {unsolved}", unsolved == CHALLENGED)
        row.fact("the alert is on", page.policy()["spray_alert_until"] is not None)
    bound = page.policy()["bounds"]["public"]["takeover_per_phone_and_day"]
    row.at_most("takeovers expected", round(sum(guessed.public.values()), 6), strangers.calls * bound)
    return row


class _Guesses:
    """Wrong codes, and what they were worth, by lane and phone."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._bounds = page.policy()["bounds"]
        self.chances: dict[int, float] = {
            step["code_length"]: step["chance"] for step in self._bounds["public"]["code_lengths"]
        }
        self.public: dict[str, float] = defaultdict(float)
        self.trusted: dict[str, float] = defaultdict(float)

    def at(self, phone: str, started: httpx.Response, *, public: bool = True, at_most: int = 9) -> None:
        """Use up the attempts of a verification, if one was begun."""
        if started.status_code != CREATED:
            return
        check: Any = self._page.check if public else self._page.service.check
        code, verification = self._page.simulator.code(phone), started.json()
        for nth in range(1, min(at_most, verification["attempts_left"]) + 1):
            check(verification["id"], wrong(code, nth))
            (self.public if public else self.trusted)[phone] += self.chances[verification["code_length"]]

    def judge(self, row: Row) -> None:
        """Compare what was reached with the bounds in force."""
        both = {phone: self.public[phone] + self.trusted[phone] for phone in {*self.public, *self.trusted}}
        for lanes, sums, of in (("both lanes", both, "all"), ("public lane", self.public, "public")):
            bound = self._bounds[of]["takeover_per_phone_and_day"]
            row.at_most(f"chance of a takeover, {lanes}", round(max(sums.values()), 9), bound)


def guesses(page: Page, scale: Scale, *, form: bool = True, name: str = "guesses in both lanes") -> Row:
    """Guess at phones with the page's key from many addresses, and through a form of the backend's, which leaves the owners some calls."""
    row = _begin(name, page, scale)
    guessed, calls = _Guesses(page), Counter[str]()
    allowed = page.policy()["bounds"]["public"]["calls_per_phone_and_day"]
    for _ in row.rounds(scale.hours):
        for person in row.known:
            for _ in range(min(2, allowed - calls[person.phone])):
                started = row.strangers.start(person.phone)
                calls[person.phone] += started.status_code == CREATED
                guessed.at(person.phone, started)
                page.later(30)
        for person in row.known if form and not guessed.trusted else ():
            visitor = address_of_its_own()
            for _ in range(2):
                started = page.service.start(person.phone, client_ip=visitor)
                guessed.at(person.phone, started, public=False)
                page.later(60)
    guessed.judge(row)
    return row


def small_pool(page: Page, scale: Scale) -> Row:
    """Guess at phones whose codes come from 10,000 calling numbers: for a deployment that has measured that."""
    row = guesses(page, scale, form=False, name="guesses, 10,000 numbers")
    chance = _Guesses(page).chances[6]
    row.fact(f"a guess at six digits is worth {chance:.2g}", chance > 0.00005)
    return row


def neighbour(page: Page, scale: Scale) -> Row:
    """Use up all calls of an address that people share behind a carrier's NAT, and guess from it."""
    address = address_of_its_own()
    row = _begin("a neighbour behind NAT", page, scale, address=address)
    waiting, guessed = phone_in(), _Guesses(page)
    begun = page.start(waiting, address).json()["id"]
    code = page.simulator.code(waiting)
    for _ in row.rounds(1):
        answer = None
        while answer is None or answer.status_code == CREATED:
            answer = row.strangers.start(phone := phone_in(), address)
            guessed.at(phone, answer)
        right = page.check(begun, code, address)
        row.fact(f"a right code after {3 * row.strangers.calls} wrong ones: {right.status_code}", right.is_success)
    return row


def subnet(page: Page, scale: Scale) -> Row:
    """Call from each /64 of an IPv6 /56, as if these were 256 strangers."""
    site = f"2001:db8:{secrets.randbelow(65536):x}"
    row = _begin("a /56 of IPv6", page, scale)
    for number, person in enumerate(row.known):
        person.address = f"{site}:{number:x}::1"
    for _ in row.rounds(1):
        for number in range(256):
            if row.strangers.start(phone_in(), f"{site}:12{number:02x}::1", solves=False).status_code != CREATED:
                break
    row.at_most("calls in an hour", row.strangers.calls, 4 * page.policy()["bounds"]["calls_per_address_and_hour"])
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

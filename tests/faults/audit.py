"""What callers were told, what the provider placed, and what the store holds, compared: whatever disagrees is a finding."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.deployment import LIMITED, PRICE
from tests.faults.people import NO_ANSWER, Person

MAX_ATTEMPTS = 3

MAY_HAVE_CALLED = {"", "call_unknown", NO_ANSWER}
"""Answers to a start after which a phone may have rung."""

WAITING_HELPS = {429, 503, 504}


@dataclass(frozen=True)
class Facts:
    """What is known of the world after a run.

    Attributes:
        called: how often the provider called each phone.
        now: the store's clock, unix milliseconds.
        keys: of each key in the store its milliseconds to live, -1 for none.
        records: the hashes among them.
        spent: what the store has counted as spent in the last hour.
        counted: requests by their problem's code, as /metrics has them.
        era: the store's.
        kills: workers that were killed.
    """

    called: Mapping[str, int]
    now: int
    keys: Mapping[str, int]
    records: Mapping[str, Mapping[str, str]]
    spent: float
    counted: Mapping[str, float]
    era: int
    kills: int


def findings(everyone: Iterable[Person], facts: Facts) -> list[str]:
    """All that is wrong, a sentence each."""
    people = list(everyone)
    found = [finding for person in people for finding in _of_person(person, facts.called.get(person.phone, 0))]
    return [*found, *_budgets(people, facts), *_store(facts), *_counted(people, facts)]


# ---- one person


def _of_person(person: Person, calls: int) -> list[str]:
    problems = [*_calls(person, calls), *_approvals(person), *_lost(person), *_errors(person)]
    return [f"{person.phone}: {problem}" for problem in problems]


def _calls(person: Person, calls: int) -> list[str]:
    """One action is one call; and what was answered as not called was not."""
    asked = person.calls_asked_for
    maybe = [answer for answer in asked if answer.code in MAY_HAVE_CALLED]
    # A store that was emptied between two sendings has forgotten the first one's idempotency key.
    most = sum(
        len({era for answer in asked if answer.kind == kind for era in answer.eras}) for kind in ("start", "resend")
    )
    told = [f"{answer.kind} {answer.code or answer.status}" for answer in asked]
    found = []
    if calls > most:
        found.append(f"called {calls} times for {most} action(s): {told}")
    if calls > len(maybe):
        found.append(f"called {calls} times, and told of {len(maybe)}: {told}")
    if calls == 0 and any(answer.code == "" for answer in person.starts):
        found.append(f"told of a call that was not placed: {told}")
    return found


def _approvals(person: Person) -> list[str]:
    """Only a right code is approved, and only with attempts left."""
    wrong = 0
    for answer in person.checks:
        if answer.status == 200 and (answer.kind == "wrong" or wrong >= MAX_ATTEMPTS):
            return [f"approved by a {answer.kind} code after {wrong} wrong ones"]
        wrong += answer.code == "code_incorrect"
    redeemed = sum(answer.kind == "redeem" and answer.status == 200 for answer in person.answers)
    found = [f"its token was redeemed {redeemed} times"] if redeemed > 1 else []
    return [*found, f"{wrong} wrong codes were compared"] if wrong > MAX_ATTEMPTS else found


def _lost(person: Person) -> list[str]:
    """Whoever was told of a call can check its code, as long as the store was not emptied."""
    begun = next((answer for answer in person.starts if answer.code == ""), None)
    lost = [
        answer.code
        for answer in person.checks
        if begun and answer.code in {"verification_not_found", "failed", "expired"} and begun.eras[0] == answer.eras[1]
    ]
    return [f"begun, and then {lost[0]}"] if lost else []


def _errors(person: Person) -> list[str]:
    """Every error has a code, and says when to come again where waiting helps; none is a defect."""
    found = []
    for answer in person.answers:
        waits = answer.body.get("retry_after")
        if answer.code == "internal_error" or (answer.status >= 400 and not answer.code):
            found.append(f"{answer.kind} was answered with {answer.status} {answer.code}: {answer.body}")
        if (
            answer.status in WAITING_HELPS
            and answer.code != "attempts_exhausted"
            and not (isinstance(waits, int) and waits >= 1 and answer.retry_after == str(waits))
        ):
            found.append(f"{answer.status} {answer.code} says {waits} and {answer.retry_after} of when to come again")
    return found


# ---- all of them


def _of_era(people: Iterable[Person], era: int) -> list[Person]:
    return [person for person in people if person.starts and person.starts[0].eras[0] == era]


def _budgets(people: list[Person], facts: Facts) -> list[str]:
    """What was called is counted, and the limit of a client holds, as far as the store remembers."""
    own = _of_era(people, facts.era)
    cost = sum(facts.called.get(person.phone, 0) for person in own) * PRICE
    found = [f"{cost:.2f} was spent and {facts.spent:.2f} counted"] if cost > facts.spent + PRICE / 100 else []
    for era in range(facts.era + 1):
        limited = [person for person in _of_era(people, era) if person.client == "limited"]
        calls = sum(facts.called.get(person.phone, 0) for person in limited)
        # One that began before the store was emptied may be called after that, and again counts.
        across = sum(any(answer.eras[1] != era for answer in person.calls_asked_for) for person in limited)
        if calls > LIMITED + across:
            found.append(f"the client `limited` had {calls} calls in an hour")
    return found


def _store(facts: Facts) -> list[str]:
    """Every key expires, and nothing waits any more."""
    found = [f"{key} has no TTL" for key, left in facts.keys.items() if left < 0]
    for key, record in facts.records.items():
        if record.get("status") == "placing":
            found.append(f"{key} is still being placed")
        if int(record.get("busy_until", "0")) > facts.now and "phone:" in key:
            found.append(f"{key} still waits for a call")
    return found


def _counted(people: list[Person], facts: Facts) -> list[str]:
    """Whoever was refused is counted, but for what a worker had no time to count."""
    told = Counter(
        answer.code for person in people for answer in person.answers if answer.code and answer.code != NO_ANSWER
    )
    uncounted = {code: number - facts.counted.get(code, 0) for code, number in told.items()}
    missing: dict[str, Any] = {code: number for code, number in uncounted.items() if number > 0}
    return [f"refused and not counted: {missing}"] if sum(missing.values()) > facts.kills else []

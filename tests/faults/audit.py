"""What callers were answered, what the provider placed, and what the store holds, compared: a contradiction is a finding."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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
    found = [
        f"{person.phone}: {problem}"
        for person in people
        for check in (
            _calls(person, facts.called.get(person.phone, 0)),
            _approvals(person),
            _lost(person),
            _errors(person),
        )
        for problem in check
    ]
    return [*found, *_spending(people, facts), *_limits(people, facts), *_store(facts), *_counted(people, facts)]


# ---- one person


def _calls(person: Person, calls: int) -> Iterator[str]:
    """One action is one call; and what was answered as not called was not."""
    asked = person.answers_to("start", "resend")
    # A store that was emptied between two sendings has forgotten the first one's idempotency key.
    most = sum(len({era for answer in person.answers_to(kind) for era in answer.eras}) for kind in ("start", "resend"))
    maybe = sum(answer.code in MAY_HAVE_CALLED for answer in asked)
    answered = [f"{answer.kind} {answer.code or answer.status}" for answer in asked]
    if calls > most:
        yield f"called {calls} times for {most} action(s): {answered}"
    if calls > maybe:
        yield f"called {calls} times, and answered {maybe} times: {answered}"
    if calls == 0 and any(answer.code == "" for answer in person.answers_to("start")):
        yield f"answered as placed, without a call: {answered}"


def _approvals(person: Person) -> Iterator[str]:
    """Only a right code is approved, and only with attempts left; a token is redeemed once."""
    wrong = 0
    for answer in person.answers_to("wrong", "right"):
        if answer.status == 200 and (answer.kind == "wrong" or wrong >= MAX_ATTEMPTS):
            yield f"approved by a {answer.kind} code after {wrong} wrong ones"
        wrong += answer.code == "code_incorrect"
    if wrong > MAX_ATTEMPTS:
        yield f"{wrong} wrong codes were compared"
    if (redeemed := sum(answer.status == 200 for answer in person.answers_to("redeem"))) > 1:
        yield f"its token was redeemed {redeemed} times"


def _lost(person: Person) -> Iterator[str]:
    """A caller whose call was placed can check its code, as long as the store was not emptied."""
    begun = next((answer for answer in person.answers_to("start") if answer.code == ""), None)
    for answer in person.answers_to("wrong", "right") if begun else ():
        gone = answer.code in {"verification_not_found", "failed", "expired"}
        if gone and begun and begun.eras[0] == answer.eras[1]:
            yield f"begun, and then {answer.code}"


def _errors(person: Person) -> Iterator[str]:
    """Every error has a code, and says when to come again where waiting helps; none is a defect."""
    for answer in person.answers:
        waits = answer.body.get("retry_after")
        said = isinstance(waits, int) and waits >= 1 and answer.retry_after == str(waits)
        if answer.code == "internal_error" or (answer.status >= 400 and not answer.code):
            yield f"{answer.kind} was answered with {answer.status} {answer.code}: {answer.body}"
        if answer.status in WAITING_HELPS and answer.code != "attempts_exhausted" and not said:
            yield f"{answer.status} {answer.code} says {waits} and {answer.retry_after} of when to come again"


# ---- all of them


def _of_era(people: Iterable[Person], era: int) -> list[Person]:
    return [person for person in people if person.answers_to("start") and person.answers_to("start")[0].eras[0] == era]


def _spending(people: list[Person], facts: Facts) -> Iterator[str]:
    """What was called is counted, as far as the store remembers."""
    cost = sum(facts.called.get(person.phone, 0) for person in _of_era(people, facts.era)) * PRICE
    if cost > facts.spent + PRICE / 100:
        yield f"{cost:.2f} was spent and {facts.spent:.2f} counted"


def _limits(people: list[Person], facts: Facts) -> Iterator[str]:
    for era in range(facts.era + 1):
        limited = [person for person in _of_era(people, era) if person.client == "limited"]
        calls = sum(facts.called.get(person.phone, 0) for person in limited)
        # One that began before the store was emptied may be called after that, and again counts.
        across = sum(
            any(answer.eras[1] != era for answer in person.answers_to("start", "resend")) for person in limited
        )
        if calls > LIMITED + across:
            yield f"the client `limited` had {calls} calls in an hour"


def _store(facts: Facts) -> Iterator[str]:
    """Every key expires, and nothing waits any more."""
    yield from (f"{key} has no TTL" for key, left in facts.keys.items() if left < 0)
    for key, record in facts.records.items():
        if record.get("status") == "placing":
            yield f"{key} is still being placed"
        if int(record.get("busy_until", "0")) > facts.now and "phone:" in key:
            yield f"{key} still waits for a call"


def _counted(people: list[Person], facts: Facts) -> Iterator[str]:
    """Each refused caller is counted, but for what a worker had no time to count."""
    answered = Counter(
        answer.code for person in people for answer in person.answers if answer.code not in {"", NO_ANSWER}
    )
    missing = {code: number - facts.counted.get(code, 0) for code, number in answered.items()}
    missing = {code: number for code, number in missing.items() if number > 0}
    if sum(missing.values()) > facts.kills:
        yield f"refused and not counted: {missing}"

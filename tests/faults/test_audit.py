"""The audit after faults sees what it is there for: each kind of lie, loss and excess."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.audit import Facts, findings
from tests.faults.faults import FAULTS
from tests.faults.people import NO_ANSWER, Answer, Person
from tests.faults.soak import plan

PHONE = "+79160000001"
GOOD = Facts(
    {PHONE: 1}, now=1000, keys={"k": 5000}, records={"k": {"status": "pending"}}, spent=0.35, counted={}, era=0, kills=0
)


def told(kind: str, status: int, code: str = "", eras: tuple[int, int] = (0, 0), **body: Any) -> Answer:
    if status in {429, 503, 504}:
        body |= {"retry_after": body.get("retry_after", 1)}
    return Answer(kind, status, code, body, str(body.get("retry_after", "")) or None, 0.0, 1.0, eras)


def person(*answers: Answer, client: str = "backend") -> Person:
    return Person(PHONE, client, "key", list(answers))


BEGUN = told("start", 201)
UNAVAILABLE = told("start", 503, "store_unavailable")
WRONG, RIGHT = told("wrong", 422, "code_incorrect"), told("right", 200)
COUNTED = replace(
    GOOD, counted={"store_unavailable": 9, "code_incorrect": 9, "call_unknown": 9, "verification_not_found": 9}
)


@pytest.mark.parametrize(
    ("answers", "facts"),
    [
        ([BEGUN, WRONG, RIGHT], COUNTED),
        ([UNAVAILABLE, BEGUN, RIGHT], COUNTED),
        ([told("start", 0, NO_ANSWER)], GOOD),
        ([told("start", 504, "call_unknown")], replace(COUNTED, called={})),
        (
            [told("start", 0, NO_ANSWER, (0, 1)), told("start", 201, eras=(1, 1))],
            replace(GOOD, called={PHONE: 2}, era=1),
        ),
        ([BEGUN, told("right", 404, "verification_not_found", (1, 1))], replace(COUNTED, era=1)),
        ([BEGUN, WRONG], replace(GOOD, kills=1)),
        ([BEGUN, told("resend", 200)], replace(GOOD, called={PHONE: 2}, spent=1)),
    ],
)
def test_what_may_happen_is_no_finding(answers: list[Answer], facts: Facts) -> None:
    assert findings([person(*answers)], facts) == []


@pytest.mark.parametrize(
    ("answers", "facts", "found"),
    [
        ([BEGUN], replace(GOOD, called={PHONE: 2}, spent=1), "called 2 times for 1 action"),
        ([UNAVAILABLE], COUNTED, "told of 0"),
        ([BEGUN], replace(GOOD, called={}), "not placed"),
        ([BEGUN, told("wrong", 200)], COUNTED, "approved by a wrong code"),
        ([BEGUN, WRONG, WRONG, WRONG, RIGHT], COUNTED, "after 3 wrong ones"),
        ([BEGUN, RIGHT, told("redeem", 200), told("redeem", 200)], COUNTED, "redeemed 2 times"),
        ([BEGUN, WRONG, WRONG, WRONG, WRONG], COUNTED, "4 wrong codes were compared"),
        ([BEGUN, told("right", 404, "verification_not_found")], COUNTED, "begun, and then"),
        ([BEGUN, told("right", 500, "internal_error")], COUNTED, "500 internal_error"),
        ([BEGUN, told("right", 502)], COUNTED, "502"),
        ([BEGUN, told("right", 503, "store_unavailable", retry_after=0)], COUNTED, "when to come again"),
        ([BEGUN, WRONG], GOOD, "refused and not counted"),
        ([BEGUN], replace(GOOD, spent=0.0), "0.35 was spent"),
        ([BEGUN], replace(GOOD, keys={"k": -1}), "has no TTL"),
        ([BEGUN], replace(GOOD, records={"v": {"status": "placing"}}), "still being placed"),
        ([BEGUN], replace(GOOD, records={"phone:1": {"busy_until": "2000"}}), "still waits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_must_not_happen_is_found(answers: list[Answer], facts: Facts, found: str) -> None:
    problems = findings([person(*answers)], facts)
    assert any(found in problem for problem in problems), problems


def test_a_client_with_more_calls_than_its_limit_is_found() -> None:
    everyone = [replace(person(BEGUN, client="limited"), phone=f"+7916000000{number}") for number in range(4)]
    facts = replace(GOOD, called={each.phone: 1 for each in everyone}, spent=4)
    assert findings(everyone, facts) == ["the client `limited` had 4 calls in an hour"]
    assert findings(everyone[:3], facts) == []


def test_a_seed_plans_the_same_faults_and_all_of_them() -> None:
    assert plan(7, 1000) == plan(7, 1000) != plan(8, 1000)
    assert {name for step in plan(7, len(FAULTS)) for name, _ in step} == set(FAULTS)
    assert sum(map(len, plan(7, 1000))) == 1000

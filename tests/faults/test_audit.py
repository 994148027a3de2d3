"""The audit after faults sees what it is there for: each kind of lie, loss and excess."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.audit import Facts, findings
from tests.faults.faults import FAULTS
from tests.faults.people import NO_ANSWER, Answer, Person
from tests.faults.soak import plan

PHONE = "+79160000001"
COUNTED = dict.fromkeys(("store_unavailable", "code_incorrect", "call_unknown", "verification_not_found"), 9)
FACTS = Facts({PHONE: 1}, now=1000, keys={"k": 5000}, records={}, spent=0.35, counted=COUNTED, era=0, kills=0)


def answer(kind: str, status: int, code: str = "", eras: tuple[int, int] = (0, 0), **body: Any) -> Answer:
    if status in {429, 503, 504}:
        body |= {"retry_after": body.get("retry_after", 1)}
    return Answer(kind, status, code, body, str(body.get("retry_after", "")) or None, 0.0, 1.0, eras)


BEGUN, UNAVAILABLE = answer("start", 201), answer("start", 503, "store_unavailable")
WRONG, RIGHT, REDEEMED = answer("wrong", 422, "code_incorrect"), answer("right", 200), answer("redeem", 200)
GONE = "verification_not_found"

FOUND: list[tuple[str, list[Answer], dict[str, Any]]] = [
    ("called 2 times for 1 action", [BEGUN], {"called": {PHONE: 2}, "spent": 1}),
    ("answered 0 times", [UNAVAILABLE], {}),
    ("without a call", [BEGUN], {"called": {}}),
    ("approved by a wrong code", [BEGUN, answer("wrong", 200)], {}),
    ("after 3 wrong ones", [BEGUN, WRONG, WRONG, WRONG, RIGHT], {}),
    ("redeemed 2 times", [BEGUN, RIGHT, REDEEMED, REDEEMED], {}),
    ("4 wrong codes were compared", [BEGUN, WRONG, WRONG, WRONG, WRONG], {}),
    ("begun, and then", [BEGUN, answer("right", 404, GONE)], {}),
    ("500 internal_error", [BEGUN, answer("right", 500, "internal_error")], {}),
    ("502", [BEGUN, answer("right", 502)], {}),
    ("when to come again", [BEGUN, answer("right", 503, "store_unavailable", retry_after=0)], {}),
    ("refused and not counted", [BEGUN, WRONG], {"counted": {}}),
    ("0.35 was spent", [BEGUN], {"spent": 0.0}),
    ("has no TTL", [BEGUN], {"keys": {"k": -1}}),
    ("still being placed", [BEGUN], {"records": {"v": {"status": "placing"}}}),
    ("still waits", [BEGUN], {"records": {"phone:1": {"busy_until": "2000"}}}),
]


def test_what_may_happen_is_no_finding() -> None:
    answers = [answer("start", 0, NO_ANSWER, (0, 1)), answer("start", 201, eras=(1, 1)), WRONG, RIGHT]
    assert findings([Person(PHONE, "backend", "key", answers)], replace(FACTS, called={PHONE: 2}, era=1, spent=1)) == []


@pytest.mark.parametrize(("found", "answers", "facts"), FOUND, ids=[row[0] for row in FOUND])
def test_what_must_not_happen_is_found(found: str, answers: list[Answer], facts: dict[str, Any]) -> None:
    problems = findings([Person(PHONE, "backend", "key", answers)], replace(FACTS, **facts))
    assert any(found in problem for problem in problems), problems


def test_a_client_with_more_calls_than_its_limit_is_found() -> None:
    everyone = [Person(f"+7916000000{number}", "limited", "key", [BEGUN]) for number in range(4)]
    facts = replace(FACTS, called={each.phone: 1 for each in everyone}, spent=4)
    assert findings(everyone, facts) == ["the client `limited` had 4 calls in an hour"]
    assert findings(everyone[:3], facts) == []


def test_a_seed_plans_the_same_faults_and_all_of_them() -> None:
    assert plan(7, 1000) == plan(7, 1000) != plan(8, 1000)
    assert {name for step in plan(7, len(FAULTS)) for name, _ in step} == set(FAULTS)
    assert sum(map(len, plan(7, 1000))) == 1000

"""The table of problems is total: each outcome, reason and request error has its row, and a wrong code is never a 2xx."""

import json
from dataclasses import fields
from typing import Any, get_args

import pytest

from app.api.problems import OUTCOMES, ROWS, Failed, RequestError, outcome_problem, request_problem
from app.verification import model
from app.verification.model import REMEDIES, PhoneError, Refusal

SUCCESSES = {model.Pending, model.Approved, model.Found, model.Canceled, model.Redeemed, model.Replayed}
BY_REASON = {model.PhoneRejected, model.CallRefused}
BY_CLASS = [key for key in OUTCOMES if isinstance(key, type)]


def test_every_outcome_has_its_row_or_is_a_success() -> None:
    assert set(get_args(model.Outcome)) == SUCCESSES | BY_REASON | set(BY_CLASS)
    assert set(get_args(Failed)) == BY_REASON | set(BY_CLASS)


def test_every_reason_has_its_row() -> None:
    assert set(OUTCOMES) - set(BY_CLASS) == {*PhoneError, *Refusal}
    assert set(Refusal) == set(REMEDIES)
    assert {error.value.code for error in RequestError} == {error.name.lower() for error in RequestError}


def test_no_problem_is_a_success() -> None:
    assert all(row.status >= 400 for row in ROWS.values())
    assert OUTCOMES[model.CodeIncorrect].status == 422


@pytest.mark.parametrize("outcome", BY_CLASS)
def test_an_outcome_has_the_attributes_that_its_row_names(outcome: type) -> None:
    assert set(OUTCOMES[outcome].extras) <= {field.name for field in fields(outcome)}


def test_a_problem_has_its_members_and_its_retry_after() -> None:
    answer = outcome_problem(model.LimitReached(model.Limit.CALLS_PER_IP, 30, 1))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/problem+json", "no-store")
    body: dict[str, Any] = json.loads(bytes(answer.body))
    title = OUTCOMES[model.LimitReached].title
    standard = {"type": "urn:lastdigits:problem:limit_reached", "title": title, "status": 429, "code": "limit_reached"}
    assert body == standard | {"limit": "calls_per_ip", "retry_after": 30}


@pytest.mark.parametrize("error", RequestError)
def test_a_request_error_says_how_long_to_wait_where_waiting_helps(error: RequestError) -> None:
    answer = request_problem(error)
    waits = "retry_after" in error.value.extras
    assert ("retry-after" in answer.headers) == waits
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)

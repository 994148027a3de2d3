"""The reading of the provider's answer is total: no bytes make it raise, and none make a code that can't be one."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.telephony.answers import MOST_BYTES, MOST_DETAIL, log_words, read_answer
from app.verification.call import Placed, Refusal, Refused, Unknown

OK = {"result": "ok", "id": "1234", "number": "79999999999", "price": "0.35", "code": "0427"}

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.from_regex(r"-?[0-9]{1,8}", fullmatch=True)
)
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
fields = st.fixed_dictionaries(
    {},
    optional={
        "result": st.sampled_from(["ok", "error", "OK", ""]) | anything,
        "code": anything,
        "price": anything,
        "id": anything,
        "error_code": anything,
    },
)
statuses = st.integers(100, 999)


def judge(answer: object, status: int, code_length: int) -> None:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    outcome = read_answer(status, body, code_length, ("secret",))
    if isinstance(outcome, Placed):
        assert re.fullmatch(rf"[0-9]{{{code_length}}}", outcome.code, re.ASCII)
        assert type(outcome.code) is str
        assert 200 <= status < 300
        assert outcome.price is None or (outcome.price.is_finite() and outcome.price >= 0)
    else:
        assert len(outcome.detail) <= MOST_DETAIL
        assert outcome.detail.isprintable()


@given(answer=anything | fields, status=statuses, code_length=st.integers(4, 6))
def test_any_json_is_read_without_raising(answer: Any, status: int, code_length: int) -> None:
    judge(answer, status, code_length)


@given(code=anything, code_length=st.integers(4, 6))
def test_any_code_is_the_digits_asked_for_or_none(code: Any, code_length: int) -> None:
    judge(OK | {"code": code}, 200, code_length)


@given(body=st.binary(), status=statuses)
def test_any_bytes_are_read_without_raising(body: bytes, status: int) -> None:
    judge(body, status, 4)


@given(cut=st.integers(0, len(json.dumps(OK)) - 1))
def test_an_answer_cut_anywhere_is_unknown_and_tells_no_code(cut: int) -> None:
    outcome = read_answer(200, json.dumps(OK).encode()[:cut], 4, ())
    assert isinstance(outcome, Unknown)
    assert "0427" not in outcome.detail


@given(number=st.integers(0, 9999))
def test_a_code_that_came_as_a_number_keeps_its_zeros(number: int) -> None:
    outcome = read_answer(200, json.dumps(OK | {"code": number}).encode(), 4, ())
    assert isinstance(outcome, Placed)
    assert outcome.code == f"{number:04d}"


@pytest.mark.parametrize("body", [b"[" * 60_000, b"9" * 60_000, b'{"result":"ok","code":' + b"9" * 60_000 + b"}"])
def test_hostile_json_is_unknown(body: bytes) -> None:
    assert isinstance(read_answer(200, body, 4, ()), Unknown)


def test_an_answer_over_the_bound_is_not_read() -> None:
    body = json.dumps(OK | {"rest": "x" * MOST_BYTES}).encode()
    assert isinstance(read_answer(200, body, 4, ()), Unknown)


@pytest.mark.parametrize(
    "price", ["1e999999999", "NaN", "Infinity", "-1", "1_000", "١", "0,35", "", "9" * 50, True, None, [], -0.5]
)
def test_a_price_that_is_no_sum_is_none(price: object) -> None:
    outcome = read_answer(200, json.dumps(OK | {"price": price}).encode(), 4, ())
    assert outcome == Placed("0427", "1234", None)


@pytest.mark.parametrize(("price", "sum_"), [("0.35", "0.35"), (0.35, "0.35"), (1, "1"), (0, "0"), ("12.5", "12.5")])
def test_a_price_is_exact(price: object, sum_: str) -> None:
    outcome = read_answer(200, json.dumps(OK | {"price": price}).encode(), 4, ())
    assert outcome == Placed("0427", "1234", Decimal(sum_))


def test_words_for_the_log_are_one_short_printable_line() -> None:
    words = log_words("a\r\nb\x1b[31m\u202e\ud800 \u2028c" + "d" * 500, ())
    assert words.startswith("a b[31m c")
    assert len(words) == MOST_DETAIL


def test_words_for_the_log_lose_our_secrets() -> None:
    assert log_words("key KEY-\u200b1x bad, key-1X", ("key-1x", "")) == "key [secret] bad, [secret]"


def test_a_secret_is_not_left_half_by_the_cut() -> None:
    words = log_words("x" * (MOST_DETAIL - 5) + "key-1x-and-more", ("key-1x-and-more",))
    assert "key" not in words


@pytest.mark.parametrize("spelling", ["79161234567", "+7 916 123-45-67", "8 (916) 123-45-67"])
def test_a_refusal_does_not_repeat_the_number(spelling: str) -> None:
    outcome = read_answer(200, json.dumps({"result": "error", "error_code": f"bad: {spelling}"}).encode(), 4, ())
    assert outcome == Refused(Refusal.OTHER, "bad: [number]")

"""The provider's response, read by one pure function: no bytes make it raise, and no foreign word reaches a log as it is."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.provider.responses import MAX_BYTES, MAX_UNREADABLE_PRICE, MAX_WORDS, read_response
from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Placed, Refused, Unknown

OK = {"result": "ok", "id": "1234", "number": "79999999999", "price": "0.35", "code": "0427"}
PLACED = Placed("0427", "1234", Decimal("0.35"))
SECRETS = ("Pa5s-key-7d1f9c", "us3r")


def read(answer: bytes | dict[str, Any], status: int = 200, code_length: int = 4) -> CallOutcome:
    body = answer if isinstance(answer, bytes) else json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    return read_response(status, body, code_length, SECRETS)


def placed(**changes: object) -> Placed:
    outcome = read(OK | changes)
    assert isinstance(outcome, Placed)
    return outcome


# ---- result: ok


def test_the_documented_answer_is_placed() -> None:
    assert read(OK) == PLACED
    assert read({"result": "ok", "code": "0427"}) == Placed("0427", None, None)
    assert read(b"\xef\xbb\xbf" + json.dumps(OK).encode()) == PLACED, "a byte order mark is skipped"
    for number in ("79990000000", 79161234567, None):
        assert read(OK | {"number": number}) == PLACED, "the number is never compared"


@given(number=st.integers(0, 999_999), code_length=st.integers(4, 6))
def test_a_code_that_comes_as_a_number_keeps_its_zeros(number: int, code_length: int) -> None:
    outcome = read({"result": "ok", "code": number % 10**code_length}, code_length=code_length)
    assert outcome == Placed(f"{number % 10**code_length:0{code_length}d}", None, None)


NOT_CODES: list[object] = ["", "427", "04270", 42700, "042a", "04 2", " 0427", "0427\n", "०४२७", "٠٤٢٧", "+427"]
NOT_CODES += [True, 427.0, 4e3, -427, None, [], {}]


@pytest.mark.parametrize("code", NOT_CODES, ids=repr)
def test_a_code_that_no_person_can_type_is_unknown_and_not_quoted(code: object) -> None:
    outcome = read(OK | {"code": code})
    assert isinstance(outcome, Unknown)
    assert "427" not in outcome.detail


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500, 502, 503])
def test_ok_under_an_error_status_is_unknown(status: int) -> None:
    assert isinstance(read(OK, status), Unknown)


# ---- the price

PRICES: dict[str, list[object]] = {
    "0.35": ["0.35", 0.35, ".35", "0,350", "0,35 RUB"],
    "0.30000000000000004": [0.1 + 0.2],
    "3.50": [
        *("3.50", "3,50", "003.50", "3.50 RUB", "rub 3.50", "RUB3,5", "3,50 руб.", "3,50руб", "3,5 рубля", "3,50 р."),
        *("₽ 3.50", "3.50₽", "$3.5", "3,50 тенге", " 3,50\u00a0₽ ", "3,50\u202fруб.", "\t3.5\n"),
    ],
    "5": ["5", 5, 5.0, "5 рублей", "5.00 USD"],
    "1.234": ["1.234", 1.234, "1,2340"],
    "1234.5": ["1234.5", "1 234,50", "1\u00a0234.5"],
}


@pytest.mark.parametrize(("amount", "spellings"), PRICES.items())
def test_a_price_is_read_in_every_form_that_people_write(amount: str, spellings: list[object]) -> None:
    assert [placed(price=price) for price in spellings] == [Placed("0427", "1234", Decimal(amount))] * len(spellings)


@pytest.mark.parametrize("price", [None, "", "  ", 0, 0.0, "0", "0.00", "0,00 руб."])
def test_a_price_that_is_absent_or_0_is_none_and_no_error(price: object) -> None:
    assert placed(price=price) == Placed("0427", "1234", None)


UNREADABLE_PRICES: dict[str, list[object]] = {
    **{price: [price] for price in ("1e3", "-1", "dear", "3,50 xyz", "35 коп.", "RUB", ".", "3-5", "٣")},
    "-1": [-1],
    "NaN": [float("nan")],
    "#e+#": [1e300],
    "bool": [True],
    "list": [[1]],
    "dict": [{}],
    "#": ["1234567", 1234567, "9" * 50],
    "#,#": ["1,234"],
    "#,#.#": ["1,234.50"],
    "# # #": ["1 234 567"],
    "# code #": ["79160000065 code 0427"],
    "# # # # x": ["0 4 2 7 x"],
    "[secret] [secret]": ["us3r Pa5s-key-7d1f9c"],
    "x" * 39 + "…": ["x" * 99],
    "unprintable": ["\u200b\x07"],
}


@pytest.mark.parametrize(("shown", "prices"), UNREADABLE_PRICES.items())
def test_a_price_that_cannot_be_read_is_shown_without_code_and_phone(shown: str, prices: list[object]) -> None:
    assert [placed(price=price) for price in prices] == [Placed("0427", "1234", None, shown)] * len(prices)


def test_a_price_that_contains_the_code_is_not_logged() -> None:
    assert read(OK | {"code": "8941", "price": "8941,50"}) == Placed("8941", "1234", None, "#,#")


# ---- the id


@pytest.mark.parametrize("call_id", ["1234", 1234, "a-1", "A_b.c-9", "x" * 40, "123456"])
def test_an_id_that_looks_like_one_is_kept(call_id: object) -> None:
    assert placed(id=call_id).call_id == str(call_id)


NOT_IDS: list[object] = [None, "", [], {}, True, " 1", "a b", "ид", "x" * 41, "1\n", "79160000065 code 0427"]
NOT_IDS += ["79160000065", 79160000065, "x7916000x", "7916-000-00-65", "0427", "call-0427", "04.27", "Pa5s-key-7d1f9c"]


@pytest.mark.parametrize("call_id", NOT_IDS, ids=repr)
def test_an_id_that_may_be_a_phone_the_code_a_key_or_any_text_is_dropped(call_id: object) -> None:
    assert placed(id=call_id) == Placed("0427", None, Decimal("0.35"))


# ---- result: error


ERRORS = {
    "authorisation_failed": Refusal.CREDENTIALS,
    "user_disabled": Refusal.CREDENTIALS,
    "not_enough_money": Refusal.BALANCE,
    "number_is_empty": Refusal.NOT_A_NUMBER,
    "number_not_valid": Refusal.NOT_A_NUMBER,
    "number_not_permitted": Refusal.NOT_PERMITTED,
    "number_in_spam_list": Refusal.CALLED_TOO_OFTEN,
    "unknown_request": Refusal.MALFORMED,
    "code_not_valid": Refusal.MALFORMED,
    "ani_phone_not_valid": Refusal.MALFORMED,
}
"""As clients have met them."""


@pytest.mark.parametrize(("word", "reason"), ERRORS.items())
@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_known_error_is_refused_for_its_reason_under_any_status(word: str, reason: Refusal, status: int) -> None:
    assert read({"result": "error", "error_code": f" {word.upper()}"}, status) == Refused(reason, word)
    assert read(OK | {"result": "error", "error_code": word}, status) == Refused(reason, word)


FOREIGN_WORDS = {
    "Сервис временно недоступен": "Сервис временно недоступен",
    "79160000065 code 8941": "# code #",
    "bad: +7 (916) 123-45-67, ８９４１, ²³⁴⁵, ٨٩٤١": "bad: +# (#) #-#-#, #, #, #",
    "key PA5S-KEY-\u200b7d1f9c of us3r": "key [secret] of [secret]",
    "a\r\nforged: line\x1b[2J\u202e\u2028b": "a forged: line[#J b",
    "x" * 5000: "x" * (MAX_WORDS - 1) + "…",
    "x" * (MAX_WORDS - 5) + " Pa5s-key-7d1f9c": "x" * (MAX_WORDS - 5) + " [se…",
}


@pytest.mark.parametrize(("words", "shown"), FOREIGN_WORDS.items())
def test_unknown_words_are_refused_and_shown_without_digits_and_secrets(words: str, shown: str) -> None:
    assert read({"result": "error", "error_code": words}) == Refused(Refusal.OTHER, shown)


@pytest.mark.parametrize("members", [{}, {"error_code": None}, {"error_code": ""}, {"error_code": ["x"]}])
def test_an_error_without_words_is_refused(members: dict[str, Any]) -> None:
    outcome = read({"result": "error"} | members, 403)
    assert outcome == Refused(Refusal.OTHER, "HTTP 403 with a result of error and no error_code")


def test_an_error_in_another_charset_is_still_refused() -> None:
    outcome = read('{"result": "error", "error_code": "Ошибка"}'.encode("cp1251"))
    assert isinstance(outcome, Refused)


# ---- no answer that can be read

UNREADABLE = {
    "empty": b"",
    "html": b"<html><body>0427 Bad Gateway</body></html>",
    "truncated": json.dumps(OK).encode()[:-3],
    "text": b"ok",
    "list": b"[]",
    "string": b'"ok"',
    "null": b"null",
    "object without result": b'{"id": "1", "code": "0427"}',
    "another result": b'{"result": "maybe", "code": "0427"}',
    "result is no text": b'{"result": true, "code": "0427"}',
    "binary": b"\x00\xff\xfe0427",
    "deep": b"[" * 60_000,
    "digits": b"9" * 60_000,
    "a long code": b'{"result":1,"code":' + b"9" * 60_000 + b"}",
    "too long": json.dumps(OK | {"rest": "x" * MAX_BYTES}).encode(),
}
OF_STATUS: dict[int, Refusal | None] = {
    **dict.fromkeys((101, 200, 201, 408, 500, 502, 503, 504, 520)),
    **dict.fromkeys((400, 404, 405, 413), Refusal.MALFORMED),
    **dict.fromkeys((401, 403), Refusal.CREDENTIALS),
    429: Refusal.OTHER,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_answer_is_refused_if_its_status_says_so_and_else_unknown(body: bytes) -> None:
    for status, reason in OF_STATUS.items():
        outcome = read(body, status)
        assert (outcome.reason if isinstance(outcome, Refused) else None) is reason
        assert isinstance(outcome, Refused | Unknown)
        assert str(status) in outcome.detail
        assert "0427" not in outcome.detail


def test_the_detail_quotes_the_words_of_a_balancers_page_without_markup_digits_and_secrets() -> None:
    page = """<!doctype html><html><head><style>p { color: #123 }</style><script>let a = "<p>";</script>
        <title>503 Service&nbsp;Unavailable</title><!-- 79161234567 --></head>
        <body class=x><p>Ray&#x20;ID: 8941, call +7 916 123-45-67, key <b>Pa5s-key-7d1f9c</b></p>"""
    outcome = read(page.encode() + b"<p>more" * 1000, 503)
    assert isinstance(outcome, Unknown)
    words = "# Service Unavailable Ray ID: #, call +# # #-#-#, key [secret]"
    assert outcome.detail.startswith(f"HTTP 503 and no answer that can be read ({len(page) + 7000} bytes): {words}")
    assert len(outcome.detail.partition("bytes): ")[2]) == MAX_WORDS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_what_to_set(status: int) -> None:
    outcome = read(b"", status)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.MALFORMED
    assert "PROVIDER_URL" in outcome.detail


# ---- anything

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.from_regex(r"-?[0-9]{1,8}", fullmatch=True)
)
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
fields = st.fixed_dictionaries(
    {},
    optional={
        "result": st.sampled_from(["ok", "error", "OK", ""]) | anything,
        "code": st.sampled_from(["0427", 427]) | anything,
        "price": anything,
        "id": anything,
        "error_code": anything,
    },
)


@given(
    answer=st.binary() | anything.map(json.dumps).map(str.encode) | fields.map(json.dumps).map(str.encode),
    status=st.integers(100, 999),
)
def test_any_answer_is_read_without_raising_and_without_showing_a_code_or_phone(answer: bytes, status: int) -> None:
    outcome = read_response(status, answer, 4, SECRETS)
    if isinstance(outcome, Placed):
        assert re.fullmatch("[0-9]{4}", outcome.code, re.ASCII)
        assert type(outcome.code) is str
        assert 200 <= status < 300
        assert outcome.price is None or (outcome.price.is_finite() and outcome.price > 0)
        shown = [outcome.call_id or "", outcome.unreadable_price or ""]
        assert not any(re.search(rf"{outcome.code}|\d{{7}}", words) or not words.isprintable() for words in shown)
        assert len(shown[1]) <= MAX_UNREADABLE_PRICE
    else:
        assert outcome.detail.isprintable()
        assert len(outcome.detail) <= 200
        assert not re.search(r"\d{4}", outcome.detail.replace(f"({len(answer)} bytes)", ""))

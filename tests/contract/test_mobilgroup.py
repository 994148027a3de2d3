"""Mobilgroup's client against every shape of an answer, over real HTTP."""

import asyncio
import gzip
import json
from decimal import Decimal
from typing import Any

import pytest

from app.telephony.answers import MOST_BYTES, MOST_DETAIL, REFUSAL_OF
from app.telephony.credentials import BodyKey, Credentials, HeaderKey, Login
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from tests.contract.raw_provider import Behaviour, RawProvider, Request, answer, flood, send

PHONE = "+79161234567"
KEY = "Pa5s-key-7d1f9c"
IN_HEADER = HeaderKey(KEY)
OK = {"result": "ok", "id": "1234", "number": "79161234567", "price": "0.35", "code": "0427"}
LIMITS = Limits(connect_timeout=0.5, read_timeout=0.5, pool_size=4, pool_timeout=0.2)


async def place(
    *script: Behaviour, credentials: Credentials = IN_HEADER, code_length: int = 4
) -> tuple[CallOutcome, list[Request]]:
    async with RawProvider(*script) as provider, Mobilgroup(provider.url, credentials, LIMITS) as client:
        return await client.place(PHONE, code_length), provider.requests


async def outcome_of(body: bytes | dict[str, Any], status: int = 200, code_length: int = 4) -> CallOutcome:
    outcome, requests = await place(answer(body, status), code_length=code_length)
    assert len(requests) == 1
    return outcome


# ---- the request


async def test_the_request_is_as_documented() -> None:
    _, [request] = await place(answer(OK))
    assert request.line == "POST /api/call-password/send/ HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.json == {"number": "79161234567", "capacity": "4"}


async def test_the_head_says_what_is_needed_and_no_more() -> None:
    async with RawProvider(answer(OK)) as provider, Mobilgroup(f"{provider.url}?a=b%20c", IN_HEADER, LIMITS) as client:
        await client.place(PHONE, 4)
        [request] = provider.requests
        assert request.line == "POST /api/call-password/send/?a=b%20c HTTP/1.1"
        assert request.headers == {
            "host": f"127.0.0.1:{provider.port}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "lastdigits",
            "authorization": KEY,
            "content-length": str(len(request.body)),
        }


async def test_a_key_in_the_header_is_raw_and_leaves_no_security_in_the_body() -> None:
    _, [request] = await place(answer(OK))
    assert request.headers["authorization"] == KEY
    assert "security" not in request.json


async def test_a_key_in_the_body_leaves_no_header() -> None:
    _, [request] = await place(answer(OK), credentials=BodyKey(KEY))
    assert request.json["security"] == {"apiKey": KEY}
    assert "authorization" not in request.headers


async def test_login_and_password_go_in_the_body() -> None:
    _, [request] = await place(answer(OK), credentials=Login("user", "pass-wörd"))
    assert request.json["security"] == {"login": "user", "password": "pass-wörd"}
    assert "authorization" not in request.headers


@pytest.mark.parametrize("code_length", [4, 5, 6])
async def test_the_capacity_is_a_string(code_length: int) -> None:
    _, [request] = await place(answer(OK), code_length=code_length)
    assert request.json["capacity"] == str(code_length)


async def test_no_cookie_of_the_providers_is_kept() -> None:
    behaviour = answer(OK, 200, "Set-Cookie: session=1; Path=/")
    async with RawProvider(behaviour) as provider, Mobilgroup(provider.url, IN_HEADER, LIMITS) as client:
        await client.place(PHONE, 4)
        await client.place(PHONE, 4)
    assert len(provider.requests) == 2
    assert provider.connections == 1
    assert "cookie" not in provider.requests[1].headers


@pytest.mark.parametrize("credentials", [HeaderKey(KEY), BodyKey(KEY), Login(KEY, KEY)])
def test_no_repr_shows_a_secret(credentials: Credentials) -> None:
    assert KEY not in repr(credentials)
    assert KEY not in repr(Mobilgroup("https://provider.example/", credentials))


@pytest.mark.parametrize(
    "url", ["https://user:hidden@provider.example/", "ftp://provider.example/", "provider.example", "https://"]
)
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as fault:
        Mobilgroup(url, HeaderKey(KEY))
    assert "hidden" not in str(fault.value)


@pytest.mark.parametrize("key", ["a\r\nX-Other: b", "ключ"])
def test_a_key_that_no_header_can_hold_is_refused_at_once(key: str) -> None:
    with pytest.raises(ValueError, match="key") as fault:
        Mobilgroup("https://provider.example/", HeaderKey(key))
    assert key not in str(fault.value)


async def test_placing_without_opening_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        await Mobilgroup("https://provider.example/", HeaderKey(KEY)).place(PHONE, 4)


# ---- result: ok


async def test_the_documented_answer_is_placed() -> None:
    assert await outcome_of(OK) == Placed("0427", "1234", Decimal("0.35"))


@pytest.mark.parametrize(("code", "whole"), [(427, "0427"), (7, "0007"), (0, "0000"), (4270, "4270")])
async def test_a_code_as_a_number_gets_its_zeros_back(code: int, whole: str) -> None:
    assert await outcome_of(OK | {"code": code}) == Placed(whole, "1234", Decimal("0.35"))


async def test_six_digits_asked_are_six_digits_got() -> None:
    assert await outcome_of(OK | {"code": "004270"}, code_length=6) == Placed("004270", "1234", Decimal("0.35"))
    assert await outcome_of(OK | {"code": 4270}, code_length=6) == Placed("004270", "1234", Decimal("0.35"))


@pytest.mark.parametrize(
    "code",
    [
        "",
        "427",
        "04270",
        42700,
        "042a",
        "04 2",
        " 0427",
        "0427\n",
        "०४२७",
        "٠٤٢٧",
        True,
        427.0,
        4e3,
        -427,
        None,
        [],
        {},
        "+427",
    ],
)
async def test_a_code_that_cannot_be_passed_is_unknown(code: object) -> None:
    outcome = await outcome_of(OK | {"code": code})
    assert isinstance(outcome, Unknown)
    assert "427" not in outcome.detail


async def test_a_missing_code_is_unknown() -> None:
    assert isinstance(await outcome_of({"result": "ok", "id": "1234"}), Unknown)


@pytest.mark.parametrize(("call_id", "told"), [(1234, "1234"), ("a-1", "a-1"), (None, None), ("", None), ([], None)])
async def test_an_id_may_be_text_or_number_or_absent(call_id: object, told: str | None) -> None:
    assert await outcome_of(OK | {"id": call_id}) == Placed("0427", told, Decimal("0.35"))


@pytest.mark.parametrize(
    ("price", "told"),
    [("0.35", "0.35"), (0.35, "0.35"), (2, "2"), ("dear", None), ("NaN", None), ("-1", None), (-1, None)],
)
async def test_a_price_may_be_text_or_number(price: object, told: str | None) -> None:
    assert await outcome_of(OK | {"price": price}) == Placed("0427", "1234", Decimal(told) if told else None)


async def test_a_price_that_is_the_json_constant_nan_is_none() -> None:
    assert await outcome_of(b'{"result":"ok","code":"0427","price":NaN}') == Placed("0427", None, None)


async def test_only_result_and_code_are_needed() -> None:
    assert await outcome_of({"result": "ok", "code": "0427"}) == Placed("0427", None, None)


@pytest.mark.parametrize("number", ["79990000000", 79161234567, None])
async def test_the_number_is_never_compared(number: object) -> None:
    assert isinstance(await outcome_of(OK | {"number": number}), Placed)


async def test_json_with_a_byte_order_mark_or_under_another_type_is_read() -> None:
    payload = b"\xef\xbb\xbf" + json.dumps(OK).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(payload)
    outcome, _ = await place(send(head + payload))
    assert isinstance(outcome, Placed)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500, 502, 503])
async def test_ok_under_another_status_is_unknown(status: int) -> None:
    assert isinstance(await outcome_of(OK, status), Unknown)


# ---- result: error


@pytest.mark.parametrize(("error_code", "reason"), REFUSAL_OF.items())
@pytest.mark.parametrize("status", [200, 400, 403, 500])
async def test_a_known_error_is_refused_for_its_reason(error_code: str, reason: Refusal, status: int) -> None:
    assert await outcome_of({"result": "error", "error_code": error_code}, status) == Refused(reason, error_code)


def test_the_table_of_errors_is_what_clients_have_met() -> None:
    assert REFUSAL_OF == {
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


async def test_an_error_in_a_russian_sentence_is_refused_with_its_words() -> None:
    words = "Сервис временно недоступен"
    assert await outcome_of({"result": "error", "error_code": words}) == Refused(Refusal.OTHER, words)


async def test_an_error_in_another_charset_is_still_refused() -> None:
    body = '{"result": "error", "error_code": "Ошибка"}'.encode("cp1251")
    outcome = await outcome_of(body)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.OTHER


@pytest.mark.parametrize("members", [{}, {"error_code": None}, {"error_code": ""}, {"error_code": ["x"]}])
async def test_an_error_without_words_is_refused(members: dict[str, Any]) -> None:
    outcome = await outcome_of({"result": "error"} | members)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.OTHER
    assert outcome.detail


async def test_an_error_with_a_code_beside_it_is_refused_and_does_not_tell_it() -> None:
    outcome = await outcome_of(OK | {"result": "error", "error_code": "number_not_valid"})
    assert outcome == Refused(Refusal.NOT_A_NUMBER, "number_not_valid")


async def test_the_providers_words_are_cut_and_made_printable() -> None:
    outcome = await outcome_of({"result": "error", "error_code": "a\r\nforged: line\x1b[2J" + "b" * 5000})
    assert isinstance(outcome, Refused)
    assert len(outcome.detail) == MOST_DETAIL
    assert outcome.detail.isprintable()


@pytest.mark.parametrize("credentials", [HeaderKey(KEY), BodyKey(KEY), Login("us3r-name", KEY)])
async def test_the_providers_words_lose_our_secrets_and_the_number(credentials: Credentials) -> None:
    words = f"{KEY} {KEY.lower()} us3r-name {PHONE} {PHONE[1:]} 8 (916) 123-45-67"
    outcome, _ = await place(answer({"result": "error", "error_code": words}), credentials=credentials)
    assert isinstance(outcome, Refused)
    for secret in (KEY, KEY.lower(), "916", "4567", *(["us3r"] if isinstance(credentials, Login) else [])):
        assert secret not in outcome.detail


# ---- no answer that can be read

UNREADABLE = {
    "empty": b"",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "truncated": json.dumps(OK).encode()[:-3],
    "text": b"ok",
    "list": b"[]",
    "string": b'"ok"',
    "null": b"null",
    "object without result": b'{"id": "1", "code": "0427"}',
    "another result": b'{"result": "maybe", "code": "0427"}',
    "result is no text": b'{"result": true, "code": "0427"}',
    "binary": b"\x00\xff\xfe0427",
    "deep": b"[" * 20_000,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("status", [200, 201, 500, 502, 503, 504, 520])
async def test_an_unreadable_answer_is_unknown(body: bytes, status: int) -> None:
    outcome = await outcome_of(body, status)
    assert isinstance(outcome, Unknown)
    assert str(status) in outcome.detail
    assert "0427" not in outcome.detail


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, Refusal.MALFORMED),
        (401, Refusal.CREDENTIALS),
        (403, Refusal.CREDENTIALS),
        (404, Refusal.MALFORMED),
        (405, Refusal.MALFORMED),
        (413, Refusal.MALFORMED),
        (429, Refusal.OTHER),
    ],
)
async def test_an_unreadable_4xx_is_refused_by_its_status(body: bytes, status: int, reason: Refusal) -> None:
    outcome = await outcome_of(body, status)
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert str(status) in outcome.detail
    assert "0427" not in outcome.detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_says_what_to_mend(status: int) -> None:
    async with RawProvider(answer(OK)) as elsewhere:
        outcome, requests = await place(answer(b"", status, f"Location: {elsewhere.url}"))
    assert isinstance(outcome, Refused)
    assert "PROVIDER_URL" in outcome.detail
    assert len(requests) == 1
    assert elsewhere.connections == 0


# ---- HTTP that is none, or too much


@pytest.mark.parametrize(
    "data",
    [
        b"0427 nonsense\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x0427\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz0427\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"0427" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n0427",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n0427",
    ],
    ids=["no status line", "no status", "bad length", "bad chunk", "long header", "bad gzip", "upgrade"],
)
async def test_broken_http_is_unknown_and_quotes_nothing(data: bytes) -> None:
    outcome, requests = await place(send(data))
    assert isinstance(outcome, Unknown)
    assert "0427" not in outcome.detail
    assert len(requests) == 1


async def test_an_answer_cut_off_on_the_way_is_unknown() -> None:
    outcome, requests = await place(answer(json.dumps(OK).encode()[:40], length=100))
    assert isinstance(outcome, Unknown)
    assert len(requests) == 1


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"],
    ids=["until closed", "announced"],
)
async def test_an_endless_answer_is_left_unread(head: bytes) -> None:
    async with asyncio.timeout(2):
        outcome, requests = await place(flood(head))
    assert isinstance(outcome, Unknown)
    assert "answer" in outcome.detail
    assert len(requests) == 1


async def test_a_compressed_flood_is_left_unread() -> None:
    bomb = gzip.compress(json.dumps(OK | {"rest": "0" * (200 * MOST_BYTES)}).encode())
    outcome, _ = await place(answer(bomb, 200, "Content-Encoding: gzip"))
    assert isinstance(outcome, Unknown)


async def test_the_connection_of_an_unread_answer_is_not_used_again() -> None:
    long = answer(b" " * (20 * MOST_BYTES) + json.dumps(OK | {"code": "9999"}).encode())
    async with RawProvider(long, answer(OK)) as provider, Mobilgroup(provider.url, IN_HEADER, LIMITS) as client:
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert await client.place(PHONE, 4) == Placed("0427", "1234", Decimal("0.35"))
    assert provider.connections == 2

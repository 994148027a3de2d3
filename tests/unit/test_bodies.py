"""Bodies are read bounded, in bytes and in seconds, and no answer repeats them; idempotency keys. Without a server."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request

from app.api import reading
from app.api.problems import RequestError, RequestRejected
from app.api.reading import idempotency_key, once, read_json
from app.api.schemas import PendingAnswer, ResendRequest, StartRequest
from app.verification.client import Caller, Client, IdempotentRequest
from app.verification.model import Status, Times, Verification

JSON = (b"content-type", b"application/json")
GOOD = b'{"id": "vrf_1"}'


def _request(*chunks: bytes, headers: tuple[tuple[bytes, bytes], ...] = (JSON,), then: str = "end") -> Request:
    """A request whose body comes in these pieces; `then` the last one ends it, a `disconnect` cuts it off, or it is a `stall` without end."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages and then == "end":
        messages[-1]["more_body"] = False
    if then == "disconnect":
        messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("an event that is never set was set")

    return Request({"type": "http", "method": "POST", "headers": list(headers), "state": {}}, receive)


async def _rejection(request: Request) -> RequestRejected:
    with pytest.raises(RequestRejected) as rejected:
        await read_json(request, StartRequest)
    return rejected.value


@pytest.mark.parametrize("chunks", [(GOOD[:5], GOOD[5:]), (b"\xef\xbb\xbf" + GOOD,)])
async def test_pieces_are_put_together_and_a_byte_order_mark_is_skipped(chunks: tuple[bytes, ...]) -> None:
    assert (await read_json(_request(*chunks), ResendRequest)).id == "vrf_1"


@pytest.mark.parametrize("headers", [(), ((b"content-length", b"8192"),)], ids=["as it comes", "as it declares"])
async def test_a_body_of_8_kib_is_read(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    assert (await read_json(_request(GOOD.ljust(8192), headers=(JSON, *headers)), ResendRequest)).id == "vrf_1"


async def test_of_several_headers_of_one_name_the_first_counts() -> None:
    headers = (JSON, (b"content-type", b"text/plain"))
    assert (await read_json(_request(GOOD, headers=headers), ResendRequest)).id == "vrf_1"


@pytest.mark.parametrize(
    "header",
    [
        *((b"content-encoding", coding) for coding in (b"identity", b"Identity", b"")),
        *((b"content-type", kind) for kind in (b"application/json; charset=utf-8", b" Application/JSON ;x=y")),
    ],
)
async def test_json_may_be_declared_with_parameters_and_as_not_compressed(header: tuple[bytes, bytes]) -> None:
    headers = (header,) if header[0] == JSON[0] else (JSON, header)
    assert (await read_json(_request(GOOD, headers=headers), ResendRequest)).id == "vrf_1"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff\xfe", b'{"phone": "\xff"}', b"[" * 4000, b'{"phone":' * 800, b'{"phone": "\\ud800"}'),
        *(GOOD + b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf"),
    ],
)
async def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert (await _rejection(_request(body))).error is RequestError.MALFORMED_JSON


@pytest.mark.parametrize("kind", [b"text/plain", b"", b"application/x-www-form-urlencoded"])
async def test_what_is_not_declared_as_json_is_refused(kind: bytes) -> None:
    rejected = await _rejection(_request(b'{"phone": "1"}', headers=((b"content-type", kind),)))
    assert rejected.error is RequestError.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"GZIP", b"gzip, identity", b"x"])
async def test_a_compressed_body_is_refused_by_name(coding: bytes) -> None:
    rejected = await _rejection(_request(GOOD, headers=(JSON, (b"content-encoding", coding))))
    assert (rejected.error, rejected.headers) == (RequestError.UNSUPPORTED_MEDIA_TYPE, {"Accept-Encoding": "identity"})
    assert "Content-Encoding" in rejected.detail


async def test_a_body_that_the_listener_waited_for_in_vain_is_refused() -> None:
    request = _request(GOOD)
    request.scope["state"][reading.BODY_LATE] = True
    rejected = await _rejection(request)
    assert (rejected.error, rejected.headers) == (RequestError.BODY_TIMEOUT, {"Connection": "close"})


async def test_a_body_that_is_cut_off_asks_for_nothing() -> None:
    rejected = await _rejection(_request(b'{"phone": "1"}', then="disconnect"))
    assert (rejected.error, rejected.headers) == (RequestError.MALFORMED_JSON, {"Connection": "close"})


@pytest.mark.parametrize(
    "request_",
    [
        _request(headers=(JSON, (b"content-length", b"8193")), then="stall"),
        _request(headers=(JSON, (b"content-length", b"99999999999999999999")), then="stall"),
        _request(headers=(JSON, (b"content-length", b"0" * 5000 + b"1")), then="stall"),
        _request(b"x" * 8000, b"x" * 8000, then="stall"),
    ],
    ids=["as it declares", "as it declares, by far", "as it declares, in many digits", "as it turns out"],
)
async def test_a_body_that_is_too_large_is_not_waited_for(request_: Request) -> None:
    rejected = await _rejection(request_)
    assert (rejected.error, rejected.headers) == (RequestError.BODY_TOO_LARGE, {"Connection": "close"})


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "phone", "This field is required"),
        ({"phone": 7}, "phone", "Send a string"),
        ({"phone": None}, "phone", "Send a string"),
        ({"phone": ["1"]}, "phone", "Send a string"),
        ({"phone": ""}, "phone", "At least 1 character(s)"),
        ({"phone": "9" * 65}, "phone", "At most 64 characters"),
        ({"phone": "1", "code_length": 3}, "code_length", "At least 4"),
        ({"phone": "1", "code_length": 7}, "code_length", "At most 6"),
        ({"phone": "1", "code_length": "4"}, "code_length", "Send a whole number"),
        ({"phone": "1", "code_length": 4.5}, "code_length", "Send a whole number"),
        ({"phone": "1", "code_length": 10**400}, "code_length", "At most 6"),
        ({"phone": "1", "purpose": "a b"}, "purpose", "It does not match ^[A-Za-z0-9._:-]{1,64}$"),
        *(({"phone": "1", name: 1}, name, "There is no such field") for name in ("ttl", "code", "max_attempts", "test")),
        ({"phone": "1", "device": "d" * 257}, "device", "At most 256 characters"),
        ({"phone": "1", "challenge": "c" * 4097}, "challenge", "At most 4096 characters"),
        ({"phone": "1", "client_ip": f"::1%{'x' * 42}"}, "client_ip", "At most 45 characters"),
        ({"phone": "1", "client_ip": "x"}, "client_ip", "This is not an IP address: write it like 203.0.113.7 or 2001:db8::1"),
        ([], "", "Send a JSON object"),
        (None, "", "Send a JSON object"),
    ],
)  # fmt: skip
async def test_an_invalid_field_is_named_with_the_fix(body: object, field: str, message: str) -> None:
    rejected = await _rejection(_request(json.dumps(body).encode()))
    assert rejected.error is RequestError.INVALID_REQUEST
    assert rejected.members["errors"] == [{"field": field, "message": message}]


async def test_an_answer_names_ten_fields_and_64_characters_of_each() -> None:
    fields = [f"{nth:03d}{'x' * 61}" for nth in range(20)]
    rejected = await _rejection(_request(json.dumps({"phone": "1"} | {f"{name}y": 1 for name in fields}).encode()))
    assert rejected.members["errors"] == [{"field": name, "message": "There is no such field"} for name in fields[:10]]


@pytest.mark.parametrize(
    ("resend_at", "seconds"), [(None, "null"), (1_790_000_030_000, "30"), (1_789_999_990_000, "0")]
)
def test_a_pending_answer_is_what_its_model_says(resend_at: int | None, seconds: str) -> None:
    times = Times(1_790_000_000_123, 1_790_000_000_000, 1_790_000_300_007, resend_at)
    verification = Verification("vrf_x", Status.PENDING, "+79161234567", 4, 3, 1, "login", times, None, test=False)
    answer = PendingAnswer.of(verification).model_dump_json()
    assert PendingAnswer.model_validate_json(answer).model_dump_json() == answer
    assert f'"resend_in":{seconds}' in answer
    assert '"created_at":"2026-09-21T14:13:20.000Z"' in answer
    assert '"expires_at":"2026-09-21T14:18:20.007Z"' in answer


# ---- idempotency keys


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        (b"x" * 255, "x" * 255),
        (b" order-1\t", "order-1"),
        (b'"order-1"', "order-1"),
        (b'"an order"', "an order"),
        (rb'"a\"b\\c"', r'a"b\c'),
        (rb"a\\c", r"a\\c"),
    ],
)
def test_a_key_is_read_as_it_is_or_as_a_string_in_quotes(sent: bytes, key: str) -> None:
    assert idempotency_key(_request(headers=((b"idempotency-key", sent),))) == key


def _once(key: str, **members: Any) -> IdempotentRequest | None:
    page = Caller(Client("web", "web", public=True))
    return once(page, key, StartRequest(phone="+79161234567", **members)).once


def test_a_public_clients_key_has_16_characters() -> None:
    assert _once("x" * 16)
    with pytest.raises(RequestRejected) as rejected:
        _once("x" * 15)
    assert rejected.value.error is RequestError.IDEMPOTENCY_KEY_INVALID


@pytest.mark.parametrize("member", ["client_ip", "challenge", "device"])
def test_what_may_differ_when_an_action_is_sent_again_is_not_compared(member: str) -> None:
    assert _once("x" * 16, **{member: "203.0.113.7"}) == _once("x" * 16)

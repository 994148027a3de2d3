"""Bodies are read bounded, in bytes and in seconds, and no answer repeats them. Without a server."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request

from app.api import reading
from app.api.problems import RequestError, RequestRejected
from app.api.reading import read_json
from app.api.schemas import PendingAnswer, ResendRequest, StartRequest
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
        _request(b"x" * 8000, b"x" * 8000, then="stall"),
    ],
    ids=["as it declares", "as it declares, by far", "as it turns out"],
)
async def test_a_body_that_is_too_large_is_not_waited_for(request_: Request) -> None:
    assert (await _rejection(request_)).error is RequestError.BODY_TOO_LARGE


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
        ({"phone": "1", "client_ip": "x"}, "client_ip", "This is not an IP address: write it like 203.0.113.7 or 2001:db8::1"),
        ([], "", "Send a JSON object"),
        (None, "", "Send a JSON object"),
    ],
)  # fmt: skip
async def test_an_invalid_field_is_named_with_the_fix(body: object, field: str, message: str) -> None:
    rejected = await _rejection(_request(json.dumps(body).encode()))
    assert rejected.error is RequestError.INVALID_REQUEST
    assert rejected.members["errors"] == [{"field": field, "message": message}]


@pytest.mark.parametrize("resend_at", [None, 1_790_000_030_000, 1_790_000_000_000])
def test_a_pending_answer_is_what_its_model_says(resend_at: int | None) -> None:
    times = Times(1_790_000_000_123, 1_790_000_000_000, 1_790_000_300_007, resend_at)
    verification = Verification("vrf_x", Status.PENDING, "+79161234567", 4, 3, 1, "login", times, None, test=False)
    answer = PendingAnswer.of(verification).model_dump_json()
    assert PendingAnswer.model_validate_json(answer).model_dump_json() == answer
    assert '"created_at":"2026-09-21T14:13:20.000Z"' in answer
    assert '"expires_at":"2026-09-21T14:18:20.007Z"' in answer

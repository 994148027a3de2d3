"""Bodies are read bounded, in bytes and in seconds, and no answer repeats them. Without a server."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from app.api import reading
from app.api.problems import RequestError, RequestRejected
from app.api.reading import read_json
from app.api.schemas import PendingAnswer, StartRequest
from app.verification.model import Status, Times, Verification

JSON = (b"content-type", b"application/json")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    a: int


def _request(*chunks: bytes, headers: tuple[tuple[bytes, bytes], ...] = (JSON,), then: str = "end") -> Request:
    """A request whose body comes in these pieces.

    Args:
        chunks: of the body.
        headers: of the request.
        then: after the last piece: `end` ends the body with it, `disconnect` cuts it off, `stall` waits without end.
    """
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


async def _rejection(request: Request, model: type[BaseModel] = _Body) -> RequestRejected:
    with pytest.raises(RequestRejected) as rejected:
        await read_json(request, model)
    return rejected.value


async def test_a_body_in_pieces_is_put_together() -> None:
    assert (await read_json(_request(b'{"a":', b" 1}"), _Body)).a == 1


async def test_a_byte_order_mark_is_skipped() -> None:
    assert (await read_json(_request(b'\xef\xbb\xbf{"a": 1}'), _Body)).a == 1


@pytest.mark.parametrize(
    "body", [b'{"a": 1}\xef\xbb\xbf', b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf"]
)
async def test_a_byte_order_mark_elsewhere_is_not_json(body: bytes) -> None:
    assert (await _rejection(_request(body))).error is RequestError.MALFORMED_JSON


async def test_a_body_that_the_listener_waited_for_in_vain_is_refused() -> None:
    request = _request(b'{"a": 1}')
    request.scope["state"][reading.BODY_LATE] = True
    rejected = await _rejection(request)
    assert (rejected.error, rejected.headers) == (RequestError.BODY_TIMEOUT, {"Connection": "close"})


async def test_a_body_that_is_cut_off_asks_for_nothing() -> None:
    rejected = await _rejection(_request(b'{"a": 1}', then="disconnect"))
    assert (rejected.error, rejected.headers) == (RequestError.MALFORMED_JSON, {"Connection": "close"})


@pytest.mark.parametrize("declared", [b"8193", b"99999999999999999999"])
async def test_a_body_that_declares_to_be_too_large_is_not_waited_for(declared: bytes) -> None:
    rejected = await _rejection(_request(headers=(JSON, (b"content-length", declared)), then="stall"))
    assert rejected.error is RequestError.BODY_TOO_LARGE


async def test_a_body_that_turns_out_too_large_is_cut_off() -> None:
    rejected = await _rejection(_request(b"x" * 8000, b"x" * 8000, then="stall"))
    assert rejected.error is RequestError.BODY_TOO_LARGE


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"GZIP", b"gzip, identity", b"x"])
async def test_a_compressed_body_is_refused_by_name(coding: bytes) -> None:
    rejected = await _rejection(_request(b'{"a": 1}', headers=(JSON, (b"content-encoding", coding))))
    assert (rejected.error, rejected.headers) == (RequestError.UNSUPPORTED_MEDIA_TYPE, {"Accept-Encoding": "identity"})
    assert "Content-Encoding" in rejected.detail


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b""])
async def test_a_body_that_says_it_is_not_compressed_is_read(coding: bytes) -> None:
    assert (await read_json(_request(b'{"a": 1}', headers=(JSON, (b"content-encoding", coding))), _Body)).a == 1


@pytest.mark.parametrize(
    "media_type", [b"application/json; charset=utf-8", b"Application/JSON", b" application/json ;x=y"]
)
async def test_json_may_be_declared_with_parameters(media_type: bytes) -> None:
    assert (await read_json(_request(b'{"a": 1}', headers=((b"content-type", media_type),)), _Body)).a == 1


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "phone", "This field is required"),
        ({"phone": 7}, "phone", "Send a string"),
        ({"phone": ""}, "phone", "At least 1 character(s)"),
        ({"phone": "9" * 65}, "phone", "At most 64 characters"),
        ({"phone": "1", "code_length": 3}, "code_length", "At least 4"),
        ({"phone": "1", "code_length": 7}, "code_length", "At most 6"),
        ({"phone": "1", "code_length": "4"}, "code_length", "Send a whole number"),
        ({"phone": "1", "ttl": 1}, "ttl", "There is no such field"),
        ({"phone": "1", "device": "d" * 257}, "device", "At most 256 characters"),
        (
            {"phone": "1", "client_ip": "nowhere"},
            "client_ip",
            "This is not an IP address: write it like 203.0.113.7 or 2001:db8::1",
        ),
        ([], "", "Send a JSON object"),
    ],
)
async def test_an_invalid_field_is_named_with_the_fix(body: object, field: str, message: str) -> None:
    rejected = await _rejection(_request(json.dumps(body).encode()), StartRequest)
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

"""Bodies are read bounded, in bytes and in seconds, without a server."""

import asyncio
from typing import Any

import pytest

from app.api import lean
from app.api.problems import RequestError, RequestRejected
from app.api.schemas import PendingAnswer, pending_answer
from app.verification.model import Status, Times, Verification


def _receiving(*chunks: bytes, stalls: bool = False) -> Any:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages and not stalls:
        messages[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets was set")

    return receive


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await lean._read_body({"headers": []}, _receiving(b'{"a":', b" 1}")) == b'{"a": 1}'


async def test_a_body_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "BODY_TIMEOUT", 0.01)
    with pytest.raises(RequestRejected) as fault:
        await lean._read_body({"headers": []}, _receiving(b"{", stalls=True))
    assert fault.value.fault is RequestError.BODY_TIMEOUT
    assert fault.value.members["headers"] == {"Connection": "close"}


@pytest.mark.parametrize("declared", [b"8193", b"99999999999999999999"])
async def test_a_body_that_says_it_is_too_large_is_not_waited_for(declared: bytes) -> None:
    with pytest.raises(RequestRejected) as fault:
        await lean._read_body({"headers": [(b"content-length", declared)]}, _receiving())
    assert fault.value.fault is RequestError.BODY_TOO_LARGE


async def test_a_body_that_turns_out_too_large_is_cut_off() -> None:
    with pytest.raises(RequestRejected) as fault:
        await lean._read_body({"headers": []}, _receiving(b"x" * 8000, b"x" * 8000, stalls=True))
    assert fault.value.fault is RequestError.BODY_TOO_LARGE


@pytest.mark.parametrize("resend_at", [None, 1_790_000_030_000, 1_790_000_000_000])
def test_a_pending_answer_is_what_its_model_says(resend_at: int | None) -> None:
    times = Times(1_790_000_000_123, 1_790_000_000_000, 1_790_000_300_007, resend_at)
    verification = Verification("vrf_x", Status.PENDING, "+79161234567", 4, 3, 1, "login", times, None, test=False)
    answer = pending_answer(verification)
    assert PendingAnswer.model_validate_json(answer).model_dump_json().encode() == answer
    assert b'"created_at":"2026-09-21T14:13:20.000Z"' in answer
    assert b'"expires_at":"2026-09-21T14:18:20.007Z"' in answer

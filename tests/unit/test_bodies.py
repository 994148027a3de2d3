"""Bodies are read bounded, in bytes and in seconds, without a server."""

import asyncio
from typing import Any

import pytest

from app.api import lean
from app.api.problems import Fault, RequestFault


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
    with pytest.raises(RequestFault) as fault:
        await lean._read_body({"headers": []}, _receiving(b"{", stalls=True))
    assert fault.value.fault is Fault.BODY_TIMEOUT
    assert fault.value.members["headers"] == {"Connection": "close"}


@pytest.mark.parametrize("declared", [b"8193", b"99999999999999999999"])
async def test_a_body_that_says_it_is_too_large_is_not_waited_for(declared: bytes) -> None:
    with pytest.raises(RequestFault) as fault:
        await lean._read_body({"headers": [(b"content-length", declared)]}, _receiving())
    assert fault.value.fault is Fault.BODY_TOO_LARGE


async def test_a_body_that_turns_out_too_large_is_cut_off() -> None:
    with pytest.raises(RequestFault) as fault:
        await lean._read_body({"headers": []}, _receiving(b"x" * 8000, b"x" * 8000, stalls=True))
    assert fault.value.fault is Fault.BODY_TOO_LARGE

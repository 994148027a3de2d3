"""Mobilgroup's client against HTTP/1.1 itself: where an answer ends, and which connection carries another request."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from app.telephony.answers import MOST_BYTES
from app.telephony.connection import Connection, Cut, NeverSent
from app.telephony.credentials import HeaderKey
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from tests.contract.raw_provider import Behaviour, RawProvider, send

PHONE = "+79161234567"
OK = json.dumps({"result": "ok", "id": "1234", "price": "0.35", "code": "0427"}).encode()
STRAY = OK.replace(b"0427", b"6666")
PLACED = Placed("0427", "1234", Decimal("0.35"))
LIMITS = Limits(connect_timeout=0.5, read_timeout=0.3, pool_size=4, pool_timeout=0.2)


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join((status, *lines, "", "")).encode()


LENGTH = f"Content-Length: {len(OK)}"
CHUNKS = b"%x\r\n%s\r\n%x;note=1\r\n%s\r\n0\r\nX-Trailer: a\r\n\r\n" % (20, OK[:20], len(OK) - 20, OK[20:])
WHOLE = head(LENGTH) + OK


async def twice(first: Behaviour) -> tuple[CallOutcome, int]:
    """The outcome of a first call, and how many connections it and a second one took; the second must be placed."""
    async with (
        RawProvider(first, send(WHOLE, keep=True)) as provider,
        Mobilgroup(provider.url, HeaderKey("key"), LIMITS) as client,
    ):
        outcome = await client.place(PHONE, 4)
        assert await client.place(PHONE, 4) == PLACED
        assert len(provider.requests) == 2
        return outcome, provider.connections


# ---- whole answers

KEPT = {
    "length": WHOLE,
    "chunks": head("Transfer-Encoding: chunked") + CHUNKS,
    "small letters": WHOLE.replace(b"Content-Length", b"content-length"),
    "no reason": WHOLE.replace(b"200 OK", b"200 "),
    "bare line feeds": head(LENGTH).replace(b"\r\n", b"\n") + OK,
    "a space after a chunk's size": head("Transfer-Encoding: chunked") + CHUNKS.replace(b"14\r\n", b"14 \r\n"),
    "1.0 that is kept": head(LENGTH, "Connection: keep-alive", status="HTTP/1.0 200 OK") + OK,
    "continue first": head(status="HTTP/1.1 100 Continue") + WHOLE,
    "hints first": head("Link: </a>; rel=preload", status="HTTP/1.1 103 Early Hints") * 3 + WHOLE,
    "processing first, with a length": head("Content-Length: 0", status="HTTP/1.1 102 Processing") + WHOLE,
    "upgrade offered": head(LENGTH, "Upgrade: h2c", "Connection: Upgrade") + OK,
}
CLOSED = {
    "close": head(LENGTH, "Connection: close") + OK,
    "close among others": head(LENGTH, "Connection: foo, Close") + OK,
    "chunks and close": head("Transfer-Encoding: chunked", "Connection: close") + CHUNKS,
    "1.0": head(LENGTH, status="HTTP/1.0 200 OK") + OK,
    "another answer behind it": WHOLE + head(LENGTH) + STRAY,
    "the beginning of another": WHOLE + b"H",
    "more than the length": WHOLE + b"0000",
    "more after close": head(LENGTH, "Connection: close") + OK + b"0000",
    "more after chunks": head("Transfer-Encoding: chunked") + CHUNKS + STRAY,
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
async def test_a_whole_answer_leaves_its_connection_for_the_next(data: bytes) -> None:
    assert await twice(send(data, keep=True)) == (PLACED, 1)


@pytest.mark.parametrize("data", CLOSED.values(), ids=CLOSED)
async def test_an_answer_that_says_so_or_is_followed_by_anything_ends_its_connection(data: bytes) -> None:
    assert await twice(send(data, keep=True)) == (PLACED, 2)


ENDED = {
    "no length": head() + OK,
    "no length, 1.0": head(status="HTTP/1.0 200 OK") + OK,
    "no length, close": head("Connection: close") + OK,
    "no length, kept in words": head("Connection: keep-alive") + OK,
    "no length after a hint that had one": head("Content-Length: 0", status="HTTP/1.1 103 Hints") + head() + OK,
}


@pytest.mark.parametrize("data", ENDED.values(), ids=ENDED)
async def test_an_answer_without_a_length_ends_with_its_connection(data: bytes) -> None:
    assert await twice(send(data)) == (PLACED, 2)


@pytest.mark.parametrize("name", [*KEPT, *ENDED])
async def test_an_answer_may_come_in_any_pieces(name: str) -> None:
    data = {**KEPT, **ENDED}[name]
    for size in (1, 2, 3, 7, len(data) // 2):
        connection, wire = made()
        asked = asyncio.ensure_future(connection.ask(b"request", 5))
        await asyncio.sleep(0)
        for begin in range(0, len(data), size):
            connection.data_received(data[begin : begin + size])
        if name in ENDED:
            connection.eof_received()
        assert await asked == (200, OK)
        assert wire.aborted is (name in ENDED)
        assert connection.usable is (name in KEPT)


# ---- no whole answers

SHORT = {
    "nothing": b"",
    "a head that ends early": head(LENGTH)[:-2],
    "a body that ends early": head(LENGTH) + OK[:-1],
    "a body that ends early, though it is JSON": head(f"Content-Length: {len(OK) + 1}") + OK,
    "a body that ends early, with close": head(f"Content-Length: {len(OK) + 1}", "Connection: close") + OK,
    "chunks that end early": head("Transfer-Encoding: chunked") + CHUNKS[:-4],
    "chunks that end early, with close": head("Transfer-Encoding: chunked", "Connection: close") + CHUNKS[:-2],
    "only an interim answer": head(status="HTTP/1.1 100 Continue"),
    "two lengths": head(LENGTH, "Content-Length: 1") + OK,
    "length and chunks": head(LENGTH, "Transfer-Encoding: chunked") + CHUNKS,
    "a folded header": head("X-Folded: a", " b", LENGTH) + OK,
    "a switch of protocols": head("Upgrade: x", "Connection: Upgrade", status="HTTP/1.1 101 Switching") + OK,
    "an endless head": head("X-Long: " + "0" * 40_000, LENGTH)[:-2],
}


@pytest.mark.parametrize("data", SHORT.values(), ids=SHORT)
async def test_an_answer_that_is_not_whole_is_unknown_and_not_asked_for_again(data: bytes) -> None:
    outcome, connections = await twice(send(data))
    assert isinstance(outcome, Unknown)
    assert "0427" not in outcome.detail
    assert connections == 2


@pytest.mark.parametrize("status", [200, 403])
async def test_an_answer_beyond_the_bound_tells_no_more_than_its_status(status: int) -> None:
    long = head(f"Content-Length: {3 * MOST_BYTES}", status=f"HTTP/1.1 {status} X") + b" " * 2 * MOST_BYTES
    outcome, connections = await twice(send(long, keep=True))
    assert isinstance(outcome, Unknown if status == 200 else Refused)
    assert connections == 2


async def test_the_sizes_of_chunks_count_for_the_bound_too() -> None:
    async def chatter(writer: asyncio.StreamWriter) -> bool:
        writer.write(head("Transfer-Encoding: chunked"))
        while True:
            writer.write(b"1;" + b"x" * 1000 + b"\r\n \r\n")
            await writer.drain()

    outcome, connections = await twice(chatter)
    assert outcome == Unknown("the answer is too long, and the request may have been sent")
    assert connections == 2


# ---- was it sent?


class Wire:
    """A transport that notes what is done to it."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.written: list[bytes] = []
        self.aborted = False
        self.fault = fault

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.fault:
            raise self.fault

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, _name: str) -> Any:
        return self

    def fileno(self) -> int:
        return 0


def made(fault: Exception | None = None) -> tuple[Connection, Wire]:
    connection, wire = Connection(set()), Wire(fault)
    connection.connection_made(wire)  # type: ignore[arg-type]  # as much of a transport as is used
    return connection, wire


BEFORE = {
    "data": lambda connection: connection.data_received(WHOLE),
    "an empty line": lambda connection: connection.data_received(b"\r\n"),
    "end": lambda connection: connection.eof_received(),
    "loss": lambda connection: connection.connection_lost(None),
    "break": lambda connection: connection.connection_lost(ConnectionResetError()),
    "drop": lambda connection: connection.drop(),
}


@pytest.mark.parametrize("event", BEFORE.values(), ids=BEFORE)
async def test_whatever_comes_before_the_request_nothing_is_written_and_it_was_never_sent(event: Any) -> None:
    connection, wire = made()
    event(connection)
    with pytest.raises(NeverSent):
        await connection.ask(b"request", 5)
    assert wire.written == []


AFTER = {
    **{name: event for name, event in BEFORE.items() if name != "an empty line"},
    "data": lambda connection: connection.data_received(b"nonsense"),
}


@pytest.mark.parametrize("event", AFTER.values(), ids=AFTER)
async def test_whatever_comes_after_the_request_it_may_have_been_sent_and_is_written_once(event: Any) -> None:
    connection, wire = made()
    asked = asyncio.ensure_future(connection.ask(b"request", 5))
    await asyncio.sleep(0)
    event(connection)
    with pytest.raises(Cut):
        await asked
    assert wire.written == [b"request"]
    assert wire.aborted


async def test_a_write_that_fails_may_have_sent() -> None:
    connection, wire = made(OSError("no"))
    with pytest.raises(OSError, match="no"):
        await connection.ask(b"request", 5)
    assert wire.aborted
    with pytest.raises(NeverSent):
        await connection.ask(b"request", 5)


async def test_a_connection_carries_one_request_at_a_time() -> None:
    connection, wire = made()
    asked = asyncio.ensure_future(connection.ask(b"first", 5))
    await asyncio.sleep(0)
    with pytest.raises(NeverSent):
        await connection.ask(b"second", 5)
    connection.data_received(WHOLE)
    assert await asked == (200, OK)
    assert wire.written == [b"first"]


async def test_no_exception_but_the_one_before_the_write_is_tried_again() -> None:
    class Breaking:
        def __init__(self, error: Exception) -> None:
            self.error = error
            self.asked = 0

        async def exchange(self, _request: bytes) -> tuple[int, bytes]:
            self.asked += 1
            raise self.error

    for error in (OSError(), ConnectionRefusedError(), TimeoutError(), RuntimeError(), Cut("x"), NeverSent("x")):
        client = Mobilgroup("http://provider.example/", HeaderKey("key"))
        breaking = Breaking(error)
        client._connections = breaking  # type: ignore[assignment]  # as much of it as is used
        outcome = await client.place(PHONE, 4)
        sent = not isinstance(error, NeverSent)
        assert isinstance(outcome, Unknown) is sent
        assert (isinstance(outcome, Refused) and outcome.reason is Refusal.UNREACHABLE) is not sent
        assert breaking.asked == (1 if sent else 2)

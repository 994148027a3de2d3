"""Mobilgroup's client over real HTTP: its request, where a response ends, and what the network does. What a response means: unit/test_responses.py."""

import asyncio
import gzip
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from app.provider.mobilgroup import NEVER_SENT, Credentials, Limits, Mobilgroup, body_key, classify, header_key, login
from app.provider.responses import MAX_BYTES
from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Placed, Refused, Unknown
from tests.contract.raw_provider import (
    OK,
    Behaviour,
    RawProvider,
    Request,
    answer,
    close,
    flood,
    hang,
    reset,
    send,
    whole,
)

PHONE = "+79161234567"
KEY = "Pa5s-key-7d1f9c"
PLACED = Placed("0427", "1234", Decimal("0.35"))


@asynccontextmanager
async def pair(
    *script: Behaviour, limits: Limits | None = None, credentials: Credentials | None = None, **options: Any
) -> AsyncIterator[tuple[RawProvider, Mobilgroup]]:
    async with (
        RawProvider(*script, **options) as provider,
        Mobilgroup(provider.url, credentials or header_key(KEY), limits or Limits()) as client,
    ):
        yield provider, client


async def place(
    behaviour: Behaviour, credentials: Credentials | None = None, code_length: int = 4
) -> tuple[CallOutcome, Request]:
    """What becomes of one call, and the one request that it took."""
    async with pair(behaviour, credentials=credentials) as (provider, client):
        outcome = await client.place(PHONE, code_length)
        [request] = provider.requests
        return outcome, request


def reason_of(outcome: CallOutcome) -> Refusal:
    assert isinstance(outcome, Refused), outcome
    assert outcome.detail
    return outcome.reason


# ---- the request


async def test_the_request_is_as_documented_and_says_no_more_than_needed() -> None:
    async with RawProvider(answer(OK)) as provider, Mobilgroup(f"{provider.url}?a=b%20c", header_key(KEY)) as client:
        assert await client.place(PHONE, 4) == PLACED
        [request] = provider.requests
        assert request.line == "POST /api/call-password/send/?a=b%20c HTTP/1.1"
        assert request.json == {"number": "79161234567", "capacity": "4"}
        assert request.headers == {
            "host": f"127.0.0.1:{provider.port}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "content-type": "application/json",
            "user-agent": "lastdigits",
            "authorization": KEY,
            "content-length": str(len(request.body)),
        }


@pytest.mark.parametrize(
    ("credentials", "security"),
    [(body_key(KEY), {"apiKey": KEY}), (login("user", "pass-wörd"), {"login": "user", "password": "pass-wörd"})],
)
async def test_credentials_in_the_body_leave_no_header(credentials: Credentials, security: dict[str, str]) -> None:
    _, request = await place(answer(OK), credentials, 6)
    assert request.json == {"security": security, "number": "79161234567", "capacity": "6"}
    assert "authorization" not in request.headers


async def test_no_secret_is_in_a_repr_or_an_outcome() -> None:
    credentials = login("user", "user-and-more")
    outcome, _ = await place(answer({"result": "error", "error_code": "bad user-and-more"}), credentials)
    assert outcome == Refused(Refusal.OTHER, "bad [secret]"), "the longer one is removed first"
    for given in (credentials, header_key(KEY), body_key(KEY)):
        assert "user" not in repr(given)
        assert KEY not in repr(given) + repr(Mobilgroup("https://voice.example/", given))


def test_a_host_that_no_call_can_go_to_is_refused_at_once() -> None:
    with pytest.raises(httpx2.InvalidURL):
        Mobilgroup("https://256.1.1.1/", header_key(KEY))


async def test_no_cookie_of_the_providers_is_sent_back() -> None:
    async with pair(answer(OK, 200, "Set-Cookie: session=1; Path=/")) as (provider, client):
        assert [await client.place(PHONE, 4) for _ in range(2)] == [PLACED, PLACED]
        assert [request.headers.get("cookie") for request in provider.requests] == [None, None]


async def test_no_url_and_no_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await place(answer(OK))
    assert not [record for record in caplog.records if record.name.startswith("http")]


# ---- where a response ends

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
BODY = json.dumps(OK).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"14\r\n%s\r\n%x;note=1\r\n%s\r\n0\r\nX-Trailer: a\r\n\r\n" % (BODY[:20], len(BODY) - 20, BODY[20:])
WHOLE = {
    "with a length": send(whole(OK), keep=True),
    "in chunks, byte by byte": send(*(bytes([byte]) for byte in CHUNKED + CHUNKS), keep=True),
    "to the connection's end": send(b"HTTP/1.0 200 OK\r\n\r\n" + BODY),
    "after interim answers": send(HINTS * 3 + whole(OK), keep=True),
    "as HTML": answer(OK, 200, "Content-Type: text/html"),
}


@pytest.mark.parametrize("behaviour", WHOLE.values(), ids=WHOLE)
async def test_a_whole_answer_is_read(behaviour: Behaviour) -> None:
    outcome, _ = await place(behaviour)
    assert outcome == PLACED


BROKEN = {
    "a close": close,
    "a reset": reset,
    "no HTTP": send(b"0427 nonsense\r\n\r\n"),
    "a head cut short": send(whole(OK)[:20]),
    "an endless head": send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"0427" * 40_000),
    "a bad length": send(b"HTTP/1.1 200 OK\r\nContent-Length: x0427\r\n\r\n"),
    "a body cut short that is JSON": send(whole(OK, length=len(BODY) + 1)),
    "chunks cut short": send((CHUNKED + CHUNKS)[:-4]),
    "a change of protocol": send(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n0427"),
    "a compressed flood": answer(gzip.compress(b"0" * (200 * MAX_BYTES)), 200, "Content-Encoding: gzip"),
    "a flood": flood(b"HTTP/1.1 200 OK\r\n\r\n"),
    "an announced flood": flood(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"),
    "a body over the bound": answer(b" " * MAX_BYTES + BODY),
}


@pytest.mark.parametrize("behaviour", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_not_whole_is_unknown_quotes_nothing_and_is_not_asked_for_again(
    behaviour: Behaviour,
) -> None:
    async with asyncio.timeout(5):
        outcome, _ = await place(behaviour)
    assert isinstance(outcome, Unknown)
    assert "0427" not in outcome.detail


async def test_the_bound_counts_the_body_and_not_its_status() -> None:
    outcome, _ = await place(answer(b" " * 2 * MAX_BYTES, 403))
    assert reason_of(outcome) is Refusal.CREDENTIALS


async def test_a_redirect_is_not_followed() -> None:
    async with RawProvider(answer(OK)) as elsewhere:
        outcome, _ = await place(answer(b"", 307, f"Location: {elsewhere.url}"))
        assert isinstance(outcome, Refused)
        assert elsewhere.connections == 0


# ---- one person's code is never another's

STRAY = whole(OK | {"code": "6666"})
TWICE = {
    "in one segment": send(whole(OK) + STRAY, keep=True),
    "a moment later": send(whole(OK), STRAY, keep=True, pause=0.005),
    "begun": send(whole(OK) + STRAY[:20], keep=True),
    "in advance": send(HINTS + whole(OK) + STRAY, keep=True),
}


@pytest.mark.parametrize("twice", TWICE.values(), ids=TWICE)
async def test_a_second_answer_on_a_connection_is_never_the_next_calls_answer(twice: Behaviour) -> None:
    async with pair(twice, answer(OK | {"code": "1111"})) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        await asyncio.sleep(0.01)
        following = await client.place("+79160000000", 4)
        assert isinstance(following, Placed)
        assert following.code == "1111"
        assert provider.connections == 2


@pytest.mark.parametrize("ends", ["by cancellation", "by a timeout"])
async def test_a_late_answer_is_never_the_next_calls_answer(ends: str) -> None:
    late = asyncio.Event()

    async def answer_late(writer: asyncio.StreamWriter) -> bool:
        await late.wait()
        writer.write(STRAY)
        return True

    async with pair(answer_late, answer(OK), limits=Limits(read_timeout=0.2)) as (provider, client):
        call = asyncio.create_task(client.place(PHONE, 4))
        await provider.read(1)
        if ends == "by cancellation":
            call.cancel()
        else:
            assert isinstance(await call, Unknown)
        late.set()
        assert await client.place("+79160000000", 4) == PLACED


# ---- never sent


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of an address that accepts no connection: its backlog is full, and Linux lets the rest wait."""
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/"


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Mobilgroup(f"http://127.0.0.1:{taken.getsockname()[1]}/", header_key(KEY)) as client:
            assert reason_of(await client.place(PHONE, 4)) is Refusal.UNREACHABLE


async def test_a_connection_that_is_not_accepted_is_unreachable_after_two_tries_and_is_free_again(silent: str) -> None:
    limits = Limits(connect_timeout=0.04, pool_size=1, pool_timeout=0.01)
    async with Mobilgroup(silent, header_key(KEY), limits) as client:
        for _ in range(2):
            begun = time.monotonic()
            assert reason_of(await client.place(PHONE, 4)) is Refusal.UNREACHABLE
            assert time.monotonic() - begun > 0.08


async def test_a_full_pool_is_busy_and_nothing_is_sent() -> None:
    async with pair(hang, limits=Limits(pool_size=2, pool_timeout=0.02)) as (provider, client):
        calls = [asyncio.create_task(client.place(PHONE, 4)) for _ in range(2)]
        await provider.read(2)
        assert reason_of(await client.place(PHONE, 4)) is Refusal.BUSY
        assert provider.connections == 2
        for call in calls:
            call.cancel()


async def test_a_connection_that_comes_free_in_time_is_used() -> None:
    async with pair(answer(OK), limits=Limits(pool_size=2)) as (provider, client):
        assert await asyncio.gather(*(client.place(PHONE, 4) for _ in range(20))) == [PLACED] * 20
        assert provider.connections == 20


# ---- perhaps sent


class Hasty(Limits):
    """Limits of which only the bound of the whole call can end anything."""

    @property
    def call_timeout(self) -> float:
        return 0.1


def test_a_call_is_bounded_by_its_times_together() -> None:
    assert Limits(connect_timeout=2, read_timeout=10, pool_timeout=3).call_timeout == 17


async def test_a_bound_that_ends_a_try_to_connect_is_unknown(silent: str) -> None:
    async with Mobilgroup(silent, header_key(KEY), Hasty()) as client:
        outcome = await client.place(PHONE, 4)
        assert isinstance(outcome, Unknown), "where the request stands is not known then"


async def test_a_close_before_the_request_was_read_is_unknown_and_not_repeated() -> None:
    async with pair(answer(OK), accepts=False) as (provider, client):
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert provider.connections == 1


DRIPS = {
    "nothing": [],
    "interim answers": [HINTS] * 99,
    "a head": [b"HTTP/1.1 200 OK\r\n", *[b"X-More: a\r\n"] * 99],
    "a body": [whole(b"", length=99), *[b"x"] * 99],
}


@pytest.mark.parametrize("parts", DRIPS.values(), ids=DRIPS)
async def test_an_answer_that_drips_is_unknown_within_the_bound_of_the_call(parts: list[bytes]) -> None:
    async with pair(send(*parts, pause=0.02) if parts else hang, limits=Hasty()) as (provider, client):
        begun = time.monotonic()
        outcome = await client.place(PHONE, 4)
        assert isinstance(outcome, Unknown)
        assert "no whole answer" in outcome.detail
        assert time.monotonic() - begun < 1
        assert len(provider.requests) == 1


async def test_cancellation_passes_through_and_frees_the_connection() -> None:
    async with pair(hang, hang, answer(OK), limits=Limits(pool_size=1)) as (provider, client):
        for number in (1, 2):
            call = asyncio.create_task(client.place(PHONE, 4))
            await provider.read(number)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert await client.place(PHONE, 4) == PLACED


async def test_closing_ends_calls_in_progress_as_unknown() -> None:
    async with pair(hang) as (provider, client):
        call = asyncio.create_task(client.place(PHONE, 4))
        await provider.read(1)
        await client.__aexit__()
        async with asyncio.timeout(5):
            assert isinstance(await call, Unknown)


PERHAPS_SENT = """
    CloseError CookieConflict DecodingError HTTPError HTTPStatusError InvalidURL LocalProtocolError NetworkError ProtocolError ReadError ReadTimeout
    RemoteProtocolError RequestError RequestNotRead ResponseNotRead SSEError StreamClosed StreamConsumed StreamError TimeoutException TooManyRedirects
    TransportError UnsupportedProtocol WriteError WriteTimeout
"""
"""Some of these come only before a request is sent, but nothing is gained by relying on that."""


def test_every_exception_of_httpx2_is_classified() -> None:
    public = {
        name: kind for name, kind in vars(httpx2).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    never_sent = {kind.__name__ for kind in NEVER_SENT}
    assert never_sent == {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
    assert public.keys() == never_sent | set(PERHAPS_SENT.split()), (
        "decide by its source whether the new one can come after the first byte"
    )
    assert {name for name, kind in public.items() if classify(kind.__new__(kind)) is not None} == never_sent


class LaterError(httpx2.ConnectError):
    """As a later release may add it."""


@pytest.mark.parametrize("error", [LaterError("x"), OSError(), TimeoutError(), RuntimeError()], ids=repr)
def test_what_is_not_classified_may_have_been_sent(error: Exception) -> None:
    assert classify(error) is None

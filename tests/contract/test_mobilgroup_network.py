"""What the network does to Mobilgroup's client: a request that may have been sent is never sent again."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from app.provider.credentials import HeaderKey
from app.provider.mobilgroup import Limits, Mobilgroup
from app.verification.model import Refusal
from app.verification.ports import CallOutcome, Placed, Refused, Unknown
from tests.contract.raw_provider import OK, Behaviour, RawProvider, answer, close, hang, reset, send, whole

PHONE = "+79161234567"
PLACED = Placed("0427", "1234", Decimal("0.35"))
SHORT_READ = Limits(read_timeout=0.03)


@contextlib.asynccontextmanager
async def pair(
    *script: Behaviour, limits: Limits | None = None, **options: Any
) -> AsyncIterator[tuple[RawProvider, Mobilgroup]]:
    async with (
        RawProvider(*script, **options) as provider,
        Mobilgroup(provider.url, HeaderKey("key"), limits or Limits()) as client,
    ):
        yield provider, client


def reason_of(outcome: CallOutcome) -> Refusal:
    assert isinstance(outcome, Refused), outcome
    assert outcome.detail
    return outcome.reason


# ---- never sent


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Mobilgroup(f"http://127.0.0.1:{taken.getsockname()[1]}/", HeaderKey("key")) as client:
            assert reason_of(await client.place(PHONE, 4)) is Refusal.UNREACHABLE


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of an address that accepts no connection: its backlog is full, and Linux lets the rest wait."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/"


async def test_a_connection_that_is_not_accepted_is_unreachable_after_two_tries(silent: str) -> None:
    async with Mobilgroup(silent, HeaderKey("key"), Limits(connect_timeout=0.04)) as client:
        begun = time.monotonic()
        assert reason_of(await client.place(PHONE, 4)) is Refusal.UNREACHABLE
        assert time.monotonic() - begun > 0.08


class Hasty(Limits):
    """Limits of which only the bound of the whole call can end anything."""

    @property
    def call_timeout(self) -> float:
        return 0.1


async def test_a_bound_that_ends_a_try_to_connect_is_unknown(silent: str) -> None:
    async with Mobilgroup(silent, HeaderKey("key"), Hasty()) as client:
        outcome = await client.place(PHONE, 4)
        assert isinstance(outcome, Unknown), "where the request stands is not known then"


async def test_a_full_pool_is_busy_and_nothing_is_sent() -> None:
    async with pair(hang, limits=Limits(pool_size=2, pool_timeout=0.02)) as (provider, client):
        calls = [asyncio.create_task(client.place(PHONE, 4)) for _ in range(2)]
        await provider.read(2)
        assert reason_of(await client.place(PHONE, 4)) is Refusal.BUSY
        assert provider.connections == 2
        for call in calls:
            call.cancel()


async def test_a_connection_that_comes_free_in_time_is_used_and_never_more_at_once() -> None:
    at_once = most = 0

    async def count(writer: asyncio.StreamWriter) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return await answer(OK)(writer)

    async with pair(count, limits=Limits(pool_size=2)) as (provider, client):
        assert await asyncio.gather(*(client.place(PHONE, 4) for _ in range(20))) == [PLACED] * 20
        assert provider.connections == 20
        assert most <= 2


# ---- perhaps sent


async def test_a_close_before_the_request_was_read_is_unknown_and_not_repeated() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with Mobilgroup(f"http://127.0.0.1:{listener.getsockname()[1]}/", HeaderKey("key")) as client:
            call = asyncio.create_task(client.place(PHONE, 4))
            connection, _ = await loop.sock_accept(listener)
            came = asyncio.Event()
            loop.add_reader(connection, came.set)
            await came.wait()
            loop.remove_reader(connection)
            connection.close()
            assert isinstance(await call, Unknown)
            with pytest.raises(BlockingIOError):
                listener.accept()


async def test_a_close_before_the_request_was_written_is_unknown_and_not_repeated() -> None:
    async with pair(answer(OK), accepts=False) as (provider, client):
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert provider.connections == 1


@pytest.mark.parametrize("end", [close, reset, hang])
async def test_a_request_without_an_answer_is_unknown_and_not_repeated(end: Behaviour) -> None:
    async with pair(end, limits=SHORT_READ) as (provider, client):
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert len(provider.requests) == provider.connections == 1


DRIPS = {
    "interim answers": [b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 99,
    "a head": [b"HTTP/1.1 200 OK\r\n", *[b"X-More: a\r\n"] * 99],
    "a body": [whole(b"", length=99), *[b"x"] * 99],
}


@pytest.mark.parametrize("parts", DRIPS.values(), ids=DRIPS)
async def test_an_answer_that_drips_is_unknown_within_the_bound_of_the_call(parts: list[bytes]) -> None:
    async with pair(send(*parts, pause=0.02), limits=Hasty()) as (provider, client):
        begun = time.monotonic()
        outcome = await client.place(PHONE, 4)
        assert isinstance(outcome, Unknown)
        assert "no whole answer" in outcome.detail
        assert time.monotonic() - begun < 1
        assert len(provider.requests) == 1


# ---- cancellation and closing


async def test_cancellation_passes_through_and_frees_the_connection() -> None:
    async with pair(hang, hang, hang, answer(OK), limits=Limits(pool_size=1)) as (provider, client):
        for number in range(1, 4):
            call = asyncio.create_task(client.place(PHONE, 4))
            await provider.read(number)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert await client.place(PHONE, 4) == PLACED


async def test_a_timeout_frees_the_connection(silent: str) -> None:
    async with Mobilgroup(
        silent, HeaderKey("key"), Limits(connect_timeout=0.02, pool_size=1, pool_timeout=0.01)
    ) as client:
        assert [reason_of(await client.place(PHONE, 4)) for _ in range(3)] == [Refusal.UNREACHABLE] * 3


async def test_closing_ends_calls_in_progress_as_unknown() -> None:
    async with pair(hang) as (provider, client):
        call = asyncio.create_task(client.place(PHONE, 4))
        await provider.read(1)
        await client.__aexit__()
        async with asyncio.timeout(5):
            assert isinstance(await call, Unknown)

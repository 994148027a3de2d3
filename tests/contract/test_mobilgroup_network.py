"""What the network does to Mobilgroup's client: a request that may have left is never sent again."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from app.telephony import connections, dialling
from app.telephony.credentials import HeaderKey
from app.telephony.dialling import Address
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from tests.contract.raw_provider import Behaviour, RawProvider, answer, close, drip, hang, reset

PHONE = "+79161234567"
OK = {"result": "ok", "id": "1234", "number": "79161234567", "price": "0.35", "code": "0427"}
PLACED = Placed("0427", "1234", Decimal("0.35"))
LIMITS = Limits(connect_timeout=0.2, read_timeout=0.2, pool_size=2, pool_timeout=0.05)


def client_of(url: str, limits: Limits = LIMITS) -> Mobilgroup:
    return Mobilgroup(url, HeaderKey("key-7d1f9c"), limits)


@contextlib.asynccontextmanager
async def pair(*script: Behaviour, **options: Any) -> AsyncIterator[tuple[RawProvider, Mobilgroup]]:
    async with RawProvider(*script, **options) as provider, client_of(provider.url) as client:
        yield provider, client


def assert_unreachable(outcome: CallOutcome) -> None:
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.UNREACHABLE
    assert outcome.detail


async def read(provider: RawProvider, number: int) -> None:
    """Wait until so many requests were read."""
    async with asyncio.timeout(2), provider.news:
        await provider.news.wait_for(lambda: len(provider.requests) >= number)


# ---- never sent


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_a_refused_connection_is_unreachable() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}/") as client:
        assert_unreachable(await client.place(PHONE, 4))


async def test_an_unknown_name_is_unreachable_after_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    async def nothing(host: str, _port: int) -> list[Address]:
        tries.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(dialling, "look_up", nothing)
    async with client_of("http://provider.example/") as client:
        assert_unreachable(await client.place(PHONE, 4))
    assert tries == ["provider.example"] * 2


async def test_what_was_never_sent_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    async def later(host: str, port: int) -> list[Address]:
        tries.append(host)
        if len(tries) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, ("127.0.0.1", port))]

    async with RawProvider(answer(OK)) as provider:
        monkeypatch.setattr(dialling, "look_up", later)
        async with client_of(f"http://provider.example:{provider.port}/") as client:
            assert await client.place(PHONE, 4) == PLACED
        [request] = provider.requests
        assert request.headers["host"] == f"provider.example:{provider.port}"


async def test_a_connection_that_nobody_accepts_is_unreachable_in_time() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Linux keeps one more than the backlog says, and lets the rest wait.
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        async with client_of(f"http://127.0.0.1:{listener.getsockname()[1]}/") as client:
            begun = time.monotonic()
            assert_unreachable(await client.place(PHONE, 4))
            assert time.monotonic() - begun < 2 * LIMITS.connect_timeout + 0.5


async def test_a_full_pool_is_busy_and_nothing_is_sent() -> None:
    async with pair(hang) as (provider, client):
        under_way = [asyncio.create_task(client.place(PHONE, 4)) for _ in range(LIMITS.pool_size)]
        await read(provider, LIMITS.pool_size)
        outcome = await client.place(PHONE, 4)
        assert isinstance(outcome, Refused)
        assert outcome.reason is Refusal.BUSY
        assert all(isinstance(other, Unknown) for other in await asyncio.gather(*under_way))
    assert len(provider.requests) == LIMITS.pool_size


async def test_a_slot_that_comes_free_in_time_is_used() -> None:
    async with pair(answer(OK)) as (provider, client):
        outcomes = await asyncio.gather(*(client.place(PHONE, 4) for _ in range(20)))
    assert outcomes == [PLACED] * 20
    assert provider.connections <= LIMITS.pool_size


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawProvider(answer(OK | {"code": "6666"})) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        async with pair(answer(OK)) as (_, client):
            assert await client.place(PHONE, 4) == PLACED
    assert proxy.connections == 0


# ---- perhaps sent


async def test_a_close_before_the_request_was_read_is_unknown_and_not_repeated() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with client_of(f"http://127.0.0.1:{listener.getsockname()[1]}/") as client:
            call = asyncio.create_task(client.place(PHONE, 4))
            connection, _ = await loop.sock_accept(listener)
            await readable(connection)
            connection.close()
            assert isinstance(await call, Unknown)
            with pytest.raises(BlockingIOError):
                listener.accept()


async def readable(connection: socket.socket) -> None:
    """Wait until bytes came, and leave them unread."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(connection, came.set)
    await came.wait()
    loop.remove_reader(connection)


async def test_a_close_before_the_request_was_written_is_no_call() -> None:
    """Which of the two comes first is the network's to say: either is told as what it was."""
    async with pair(answer(OK), accepts=False) as (provider, client):
        outcome = await client.place(PHONE, 4)
    assert isinstance(outcome, Unknown) or (isinstance(outcome, Refused) and outcome.reason is Refusal.UNREACHABLE)
    assert provider.connections <= (1 if isinstance(outcome, Unknown) else 2)


@pytest.mark.parametrize("end", [close, reset])
async def test_a_close_after_the_request_was_read_is_unknown_and_not_repeated(end: Behaviour) -> None:
    async with pair(end) as (provider, client):
        assert isinstance(await client.place(PHONE, 4), Unknown)
    assert len(provider.requests) == provider.connections == 1


async def test_an_answer_that_never_comes_is_unknown_in_time() -> None:
    async with pair(hang) as (provider, client):
        begun = time.monotonic()
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert time.monotonic() - begun < LIMITS.read_timeout + 0.5
    assert len(provider.requests) == 1


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize("data", [HEAD * 10, b" " * 400], ids=["whole answers", "blanks"])
async def test_an_answer_that_drips_is_unknown_in_time(data: bytes) -> None:
    patient = Limits(connect_timeout=5, read_timeout=0.2)
    async with RawProvider(drip(data, 0.02)) as provider, client_of(provider.url, patient) as client:
        begun = time.monotonic()
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert time.monotonic() - begun < patient.read_timeout + 0.5
    assert len(provider.requests) == 1


async def test_an_answer_whose_body_drips_is_unknown_in_time_on_a_reused_connection() -> None:
    async def dripping_body(writer: asyncio.StreamWriter) -> bool:
        writer.write(HEAD)
        return await drip(b"x" * 10, 0.1)(writer)

    patient = Limits(connect_timeout=5, read_timeout=0.2)
    async with RawProvider(answer(OK), dripping_body) as provider, client_of(provider.url, patient) as client:
        assert await client.place(PHONE, 4) == PLACED
        begun = time.monotonic()
        assert isinstance(await client.place(PHONE, 4), Unknown)
        assert time.monotonic() - begun < patient.read_timeout + 0.5
    assert provider.connections == 1


async def test_a_kept_connection_that_the_server_closes_on_the_request_is_not_repeated() -> None:
    async with pair(answer(OK), close) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        assert isinstance(await client.place(PHONE, 4), Unknown)
    assert provider.connections == 1
    assert len(provider.requests) == 2


@contextlib.asynccontextmanager
async def one_answer_by_hand() -> AsyncIterator[tuple[Mobilgroup, socket.socket, socket.socket]]:
    """A client that has placed a call, the listener and its kept connection: what is done to them meets no turn of the client's loop."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with asyncio.timeout(5), client_of(url, Limits(1, 1)) as client:
            first = asyncio.create_task(client.place(PHONE, 4))
            connection, _ = await loop.sock_accept(listener)
            with connection:
                connection.setblocking(False)
                await loop.sock_recv(connection, 65536)
                await loop.sock_sendall(connection, whole(OK))
                assert await first == PLACED
                yield client, listener, connection


def whole(body: dict[str, Any]) -> bytes:
    payload = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(payload), payload)


async def test_a_kept_connection_that_was_closed_unnoticed_is_sent_nothing() -> None:
    """The server closes between two calls, and the client's loop has no turn to notice: the kernel knows."""
    loop = asyncio.get_running_loop()
    async with one_answer_by_hand() as (client, listener, connection):
        connection.close()
        second = asyncio.create_task(client.place(PHONE, 4))
        fresh, _ = await loop.sock_accept(listener)
        with fresh:
            fresh.setblocking(False)
            assert (await loop.sock_recv(fresh, 65536)).startswith(b"POST / HTTP/1.1\r\n")
            await loop.sock_sendall(fresh, whole(OK))
            assert await second == PLACED


async def test_a_stray_answer_that_was_not_noticed_is_nobodys_answer() -> None:
    """It comes between two calls, and the client's loop has no turn to read it: the kernel knows."""
    loop = asyncio.get_running_loop()
    async with one_answer_by_hand() as (client, listener, connection):
        connection.send(whole(OK | {"code": "6666"}))
        second = asyncio.create_task(client.place(PHONE, 4))
        fresh, _ = await loop.sock_accept(listener)
        with fresh:
            fresh.setblocking(False)
            await loop.sock_recv(fresh, 65536)
            await loop.sock_sendall(fresh, whole(OK))
            assert await second == PLACED
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b"", "the second request went elsewhere"


async def test_a_kept_connection_that_was_seen_to_close_is_replaced() -> None:
    async with pair(answer(OK, 200, "Connection: close")) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 2


async def test_an_answer_that_nobody_asked_for_is_nobodys_answer() -> None:
    stray = json.dumps(OK | {"code": "6666"}).encode()
    sent = asyncio.Event()

    async def answer_twice(writer: asyncio.StreamWriter) -> bool:
        await answer(OK)(writer)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(stray) + stray)
        sent.set()
        return True

    async with pair(answer_twice, answer(OK)) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        await sent.wait()
        await asyncio.sleep(0.02)
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 2


async def test_kept_connections_are_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEP_ALIVE", 0.1)
    async with pair(answer(OK)) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        async with asyncio.timeout(2), provider.news:
            await provider.news.wait_for(lambda: provider.open == 0)
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 2


async def test_a_connection_that_was_kept_too_long_is_not_used_though_the_loop_had_no_turn_to_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEEP_ALIVE", 0.05)
    async with pair(answer(OK)) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        time.sleep(0.1)  # noqa: ASYNC251  the loop is to stand still
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 2


# ---- cancellation and closing


async def test_cancellation_passes_through_and_gives_the_slot_back() -> None:
    one = Limits(connect_timeout=0.2, read_timeout=5, pool_size=1, pool_timeout=0.05)
    async with RawProvider(hang, answer(OK)) as provider, client_of(provider.url, one) as client:
        task = asyncio.create_task(client.place(PHONE, 4))
        await read(provider, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 2


async def test_a_cancelled_calls_answer_is_nobodys() -> None:
    late = asyncio.Event()

    async def answer_late(writer: asyncio.StreamWriter) -> bool:
        await late.wait()
        return await answer(OK | {"code": "6666"})(writer)

    patient = Limits(connect_timeout=0.2, read_timeout=5)
    async with RawProvider(answer_late, answer(OK)) as provider, client_of(provider.url, patient) as client:
        task = asyncio.create_task(client.place(PHONE, 4))
        await read(provider, 1)
        task.cancel()
        late.set()
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 2


async def test_closing_ends_tries_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def never(_host: str, _port: int) -> list[Address]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(dialling, "look_up", never)
    async with client_of("http://provider.example/", Limits(connect_timeout=5)) as client:
        task = asyncio.create_task(client.place(PHONE, 4))
        await asked.wait()
        await client.close()
        async with asyncio.timeout(1):
            assert_unreachable(await task)


async def test_closing_ends_calls_under_way_as_unknown() -> None:
    patient = Limits(connect_timeout=0.2, read_timeout=5)
    async with RawProvider(hang) as provider, client_of(provider.url, patient) as client:
        task = asyncio.create_task(client.place(PHONE, 4))
        await read(provider, 1)
        await client.close()
        async with asyncio.timeout(1):
            assert isinstance(await task, Unknown)


async def test_it_can_be_opened_again() -> None:
    async with RawProvider(answer(OK)) as provider:
        client = client_of(provider.url)
        for _ in range(2):
            await client.open()
            assert await client.place(PHONE, 4) == PLACED
            await client.close()
            await client.close()
            with pytest.raises(RuntimeError):
                await client.place(PHONE, 4)

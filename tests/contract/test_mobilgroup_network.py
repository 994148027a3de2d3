"""What the network does to Mobilgroup's client: a request that may have left is never sent again."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.telephony.credentials import HeaderKey
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.verification.call import CallOutcome, Placed, Refusal, Refused, Unknown
from tests.contract.raw_provider import Behaviour, RawProvider, answer, close, drip, hang, reset, send

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
    tries: list[Any] = []

    async def nothing(*arguments: Any, **_options: Any) -> Any:
        tries.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing)
    async with client_of("http://provider.example/") as client:
        assert_unreachable(await client.place(PHONE, 4))
    assert len(tries) == 2


async def test_what_was_never_sent_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    async def later(host: str, port: int, **_options: Any) -> Any:
        tries.append(host)
        if len(tries) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with RawProvider(answer(OK)) as provider:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", later)
        async with client_of(f"http://provider.example:{provider.port}/") as client:
            assert await client.place(PHONE, 4) == PLACED
    assert len(provider.requests) == 1


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


async def test_a_handshake_that_fails_is_unreachable_after_two_tries() -> None:
    async with RawProvider(send(b"no TLS here")) as provider:
        provider.accepts = False
        async with client_of(provider.url.replace("http:", "https:")) as client:
            assert_unreachable(await client.place(PHONE, 4))
    assert provider.connections == 2


async def test_a_handshake_that_hangs_is_unreachable_in_time() -> None:
    async with RawProvider(hang) as provider, client_of(provider.url.replace("http:", "https:")) as client:
        begun = time.monotonic()
        assert_unreachable(await client.place(PHONE, 4))
        assert time.monotonic() - begun < 2 * LIMITS.connect_timeout + 0.5
    assert provider.connections == 2


def self_signed(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    (directory / "both.pem").write_bytes(pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "both.pem")
    return context


async def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(tmp_path: Path) -> None:
    async with pair(answer(OK), tls=self_signed(tmp_path)) as (provider, client):
        assert_unreachable(await client.place(PHONE, 4))
    assert provider.requests == []


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
    async with pair(answer(OK), accepts=False) as (provider, client):
        assert isinstance(await client.place(PHONE, 4), Unknown)
    assert provider.connections == 1


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


async def test_a_kept_connection_that_was_closed_unnoticed_is_not_repeated() -> None:
    """The server closes between two calls, and the client's loop has no turn to notice."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with client_of(f"http://127.0.0.1:{listener.getsockname()[1]}/") as client:
            first = asyncio.create_task(client.place(PHONE, 4))
            connection, _ = await loop.sock_accept(listener)
            with connection:
                connection.setblocking(False)
                await loop.sock_recv(connection, 65536)
                body = json.dumps(OK).encode()
                await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                assert await first == PLACED
            assert isinstance(await client.place(PHONE, 4), Unknown)
            with pytest.raises(BlockingIOError):
                listener.accept()


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


async def test_a_server_that_speaks_first_is_given_up() -> None:
    """What it says on a connection that was kept is nobody's answer, and a connection that it has ended by then carries no request."""
    greeted = 0

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted += 1
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as client:
        outcome = await client.place(PHONE, 4)
    assert isinstance(outcome, Unknown | Refused)
    assert 1 <= greeted <= 2


# ---- where an answer ends

BODY = json.dumps(OK).encode()
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKS = (
    b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("data", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\n" + LENGTH + BODY, 1),
        (b"HTTP/1.1 200 OK\r\n" + CHUNKS, 1),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH + BODY, 1),
        (b"HTTP/1.0 200 OK\r\n" + LENGTH + BODY, 2),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + LENGTH + BODY, 2),
        (b"HTTP/1.1 200 OK\r\n" + LENGTH + BODY + b"HTTP/1.1 200 OK\r\n", 2),
    ],
    ids=["length", "chunks", "interim", "HTTP 1.0", "close", "more than one"],
)
async def test_a_connection_is_used_again_after_one_whole_answer_only(data: bytes, connections: int) -> None:
    async with pair(send(data, keep=True)) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == connections


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_an_answer_without_a_length_ends_with_the_connection(head: bytes) -> None:
    async with pair(send(head + BODY)) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
    assert provider.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000,
    ],
    ids=["cut chunks", "interim only", "upgrade", "two lengths", "endless head"],
)
async def test_what_is_no_whole_answer_is_unknown(data: bytes) -> None:
    async with pair(send(data)) as (provider, client):
        assert isinstance(await client.place(PHONE, 4), Unknown)
    assert len(provider.requests) == 1


async def test_the_second_address_of_a_name_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(host: str, port: int, **_options: Any) -> Any:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    async with RawProvider(answer(OK)) as provider:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        async with client_of(f"http://provider.example:{provider.port}/") as client:
            assert await client.place(PHONE, 4) == PLACED


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telephony.http.KEEP_ALIVE", 0.05)
    async with pair(answer(OK)) as (provider, client):
        assert await client.place(PHONE, 4) == PLACED
        await asyncio.sleep(0.1)
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

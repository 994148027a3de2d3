"""Coalesced commands: each answered by itself, none waiting behind a server that hangs, none lost to a neighbour that gave up."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import DataError, NoScriptError, ReadOnlyError, ResponseError

from app.store import coalesce
from app.store.coalesce import MOST_UNANSWERED, Coalescer
from app.store.connection import connect
from app.verification.errors import StoreUnavailable
from tests.contract.conftest import coalescer_of
from tests.contract.test_mobilgroup_tls import identity


async def test_each_command_gets_its_own_answer(server: Any) -> None:
    answers = await asyncio.gather(*(coalescer_of(server).run("ECHO", str(n)) for n in range(1000)))
    assert answers == [str(n).encode() for n in range(1000)]


async def test_one_that_fails_fails_alone(server: Any) -> None:
    run = coalescer_of(server).run
    answers = await asyncio.gather(run("ECHO", "a"), run("NOSUCHCOMMAND"), run("ECHO", "b"), return_exceptions=True)
    assert isinstance(answers[1], ResponseError)
    assert (answers[0], answers[2]) == (b"a", b"b")


async def test_what_cannot_be_sent_fails_alone(server: Any) -> None:
    run = coalescer_of(server).run
    answers = await asyncio.gather(run("ECHO", "a"), run("ECHO", None), run("ECHO", "b"), return_exceptions=True)
    assert isinstance(answers[1], DataError | TypeError)
    assert (answers[0], answers[2]) == (b"a", b"b")


async def test_a_script_that_is_not_there_is_told_from_other_errors(server: Any) -> None:
    with pytest.raises(NoScriptError):
        await coalescer_of(server).run("EVALSHA", "0" * 40, 0)


async def test_one_that_gives_up_takes_nothing_from_its_neighbours(server: Any) -> None:
    coalescer = coalescer_of(server)
    await coalescer.run("PING")
    for turns in range(3):  # before it is sent, while it is under way
        waiting = [asyncio.ensure_future(coalescer.run("ECHO", str(n))) for n in range(10)]
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting[3].cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [a for n, a in enumerate(answers) if n != 3] == [str(n).encode() for n in range(10) if n != 3]


# ---- servers that do what no real one does on demand


class _Scripted(asyncio.Protocol):
    """A server that answers the handshake, and then as the test says."""

    def __init__(self, heard: Callable[[asyncio.Transport, bytes], None]) -> None:
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if b"SETNAME" in data or b"SETINFO" in data:
            self._transport.write(b"+OK\r\n" * data.count(b"CLIENT"))
        else:
            self._heard(self._transport, data)


@asynccontextmanager
async def _scripted(
    directory: Path, heard: Callable[[asyncio.Transport, bytes], None], patience: float = 0.2
) -> AsyncIterator[Coalescer]:
    loop = asyncio.get_running_loop()
    listening = await loop.create_unix_server(lambda: _Scripted(heard), str(directory / "s"))
    client = connect(f"unix://{directory / 's'}", 1.0)
    async with listening:
        async with client, aclosing(Coalescer(client, patience)) as coalescer:
            yield coalescer
        await asyncio.sleep(0.01)  # the server's side of the connections ends too


async def test_a_slow_answer_fails_its_own_caller_and_not_the_neighbours(tmp_path: Path) -> None:
    """The server stops for longer than the first command's patience; one that was sent shortly before it wakes is answered all the same."""

    def heard(transport: asyncio.Transport, data: bytes) -> None:
        if b"first" in data:
            asyncio.get_running_loop().call_later(0.3, transport.write, b"+FIRST\r\n+SECOND\r\n")
        elif b"after" in data:
            transport.write(b"+AFTER\r\n")

    async with _scripted(tmp_path, heard) as coalescer:
        first = asyncio.ensure_future(coalescer.run("GET", "first"))
        await asyncio.sleep(0.15)
        second = asyncio.ensure_future(coalescer.run("GET", "second"))
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await first
        after = await coalescer.run("GET", "after")  # by a new connection, at once
        assert (await second, after) == (b"SECOND", b"AFTER")
        assert not coalescer._retired, "once all is answered, a connection that was slow is closed"


async def test_behind_a_server_that_hangs_a_bounded_number_is_sent(tmp_path: Path) -> None:
    sent = bytearray()
    async with _scripted(tmp_path, lambda _, data: sent.extend(data)) as coalescer:
        answers = await asyncio.gather(*(coalescer.run("GET", f"{n:04}") for n in range(400)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    # Those that waited went to a new connection when the first was given up on, or to none.
    assert MOST_UNANSWERED <= sent.count(b"GET") <= 2 * MOST_UNANSWERED
    assert "never sent" in str(answers[-1])


async def test_what_nobody_waits_for_any_more_is_not_sent(tmp_path: Path) -> None:
    sent = bytearray()
    async with _scripted(tmp_path, lambda _, data: sent.extend(data)) as coalescer:
        giving_up = asyncio.ensure_future(coalescer.run("GET", "never"))
        await asyncio.sleep(0)  # it waits for the connection
        giving_up.cancel()
        with pytest.raises(StoreUnavailable):
            await coalescer.run("GET", "sent")
    assert b"sent" in sent
    assert b"never" not in sent


async def test_a_server_that_takes_connections_and_says_nothing_keeps_nobody(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    listening = await loop.create_unix_server(asyncio.Protocol, str(tmp_path / "s"))
    client = connect(f"unix://{tmp_path / 's'}", 0.2)
    async with listening:
        async with client, aclosing(Coalescer(client, 0.2)) as coalescer:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(coalescer.run("PING"), 1)
        await asyncio.sleep(0.01)


async def test_too_many_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "MOST_WAITING", 10)
    async with _scripted(tmp_path, lambda *_: None) as coalescer:
        waiting = [asyncio.ensure_future(coalescer.run("PING")) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="too many"):
            await coalescer.run("PING")
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_connection_that_ends_fails_what_was_sent_and_the_next_command_opens_another(tmp_path: Path) -> None:
    def heard(transport: asyncio.Transport, data: bytes) -> None:
        transport.close() if b"end" in data else transport.write(b"+OK\r\n")

    async with _scripted(tmp_path, heard) as coalescer:
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            await coalescer.run("GET", "end")
        assert await coalescer.run("GET", "more") == b"OK"


@pytest.mark.parametrize("nonsense", [b"+ONE\r\n+TOO MANY\r\n", b"?what\r\n"])
async def test_an_answer_too_many_or_none_at_all_ends_the_connection(tmp_path: Path, nonsense: bytes) -> None:
    """What comes after it might be taken for another's answer."""
    answers = iter([nonsense, b"+FRESH\r\n"])
    async with _scripted(tmp_path, lambda transport, _: transport.write(next(answers))) as coalescer:
        await asyncio.gather(coalescer.run("GET", "a"), return_exceptions=True)
        assert await coalescer.run("GET", "b") == b"FRESH"


async def test_a_server_that_is_no_primary_any_more_is_left_for_a_new_connection(tmp_path: Path) -> None:
    connections: set[asyncio.Transport] = set()

    def heard(transport: asyncio.Transport, _: bytes) -> None:
        transport.write(b"+OK\r\n" if connections - {transport} else b"-READONLY You can't write\r\n")
        connections.add(transport)

    async with _scripted(tmp_path, heard) as coalescer:
        with pytest.raises(ReadOnlyError):
            await coalescer.run("SET", "a", "1")
        assert await coalescer.run("SET", "a", "1") == b"OK"


async def test_whoever_waits_when_the_service_ends_is_told(tmp_path: Path) -> None:
    async with _scripted(tmp_path, lambda *_: None, 5) as coalescer:
        waiting = [asyncio.ensure_future(coalescer.run("PING")) for _ in range(200)]
        await asyncio.sleep(0.05)
        await coalescer.aclose()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)


async def test_it_speaks_tls_with_a_password_and_a_database(redis_url: str, tmp_path: Path) -> None:
    """A real server's; the connection that redis-py made is taken over with its TLS."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip(f"no redis-server here beside {redis_url}")
    identity(tmp_path, "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "port": 0,
        "tls-port": port,
        "tls-cert-file": tmp_path / "certificate.pem",
        "tls-key-file": tmp_path / "key.pem",
        "tls-auth-clients": "no",
        "requirepass": "s3cret",
        "save": "",
        "dir": tmp_path,
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    server = await asyncio.create_subprocess_exec(binary, *arguments, stdout=asyncio.subprocess.DEVNULL)
    try:
        client = connect(f"rediss://:s3cret@127.0.0.1:{port}/3?ssl_ca_certs={tmp_path / 'certificate.pem'}", 2.0)
        async with client, aclosing(Coalescer(client)) as coalescer:
            for _ in range(100):
                with suppress(StoreUnavailable):
                    await coalescer.run("PING")
                    break
                await asyncio.sleep(0.05)
            answers = await asyncio.gather(*(coalescer.run("ECHO", str(n) * 100) for n in range(500)))
            assert answers == [(str(n) * 100).encode() for n in range(500)]
            assert b" db=3 " in await coalescer.run("CLIENT", "INFO")
    finally:
        server.terminate()
        await server.wait()

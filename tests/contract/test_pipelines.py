"""Pipelines: each command answered by itself, none sent behind a server that hangs, none repeated, none lost to a neighbor that gave up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from app.store import pipelines as module
from app.store.connection import connect
from app.store.pipelines import MAX_COMMANDS, MAX_PIPELINES, Pipelines
from app.verification.errors import StoreUnavailable


@pytest.fixture
async def pipelines(server: Any) -> AsyncIterator[Pipelines]:
    async with aclosing(Pipelines(server, 5.0)) as pipelines:
        yield pipelines


async def test_each_command_gets_its_own_answer(pipelines: Pipelines) -> None:
    answers = await asyncio.gather(*(pipelines.run("ECHO", n) for n in range(2000)))
    assert answers == [str(n).encode() for n in range(2000)]


async def test_one_that_fails_fails_alone(pipelines: Pipelines) -> None:
    run = pipelines.run
    answers = await asyncio.gather(run("ECHO", "a"), run("NOSUCHCOMMAND"), run("ECHO", "b"), return_exceptions=True)
    assert isinstance(answers[1], ResponseError)
    assert (answers[0], answers[2]) == (b"a", b"b")
    with pytest.raises(NoScriptError):
        await run("EVALSHA", "0" * 40, 0)


async def test_what_cannot_be_sent_keeps_no_one_waiting(pipelines: Pipelines) -> None:
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(pipelines.run("ECHO", "\ud800"), 2)
    assert await pipelines.run("ECHO", "a") == b"a"


async def test_one_that_gives_up_takes_nothing_from_its_neighbors(pipelines: Pipelines) -> None:
    for turns in range(4):  # before it is sent, while it is under way
        waiting = [asyncio.ensure_future(pipelines.run("ECHO", n)) for n in range(10)]
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
async def scripted(directory: Path, heard: Callable[[asyncio.Transport, bytes], None]) -> AsyncIterator[Pipelines]:
    loop = asyncio.get_running_loop()
    listening = await loop.create_unix_server(lambda: _Scripted(heard), str(directory / "s"))
    async with listening:
        async with connect(f"unix://{directory / 's'}", 1.0) as client, aclosing(Pipelines(client, 0.5)) as found:
            yield found
        await asyncio.sleep(0.01)  # the server's side of the connections ends too


def answering(transport: asyncio.Transport, data: bytes) -> None:
    transport.write(b"+OK\r\n" * data.count(b"GET"))


async def test_commands_of_one_turn_go_out_together(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def heard(transport: asyncio.Transport, data: bytes) -> None:
        sent.append(data)
        answering(transport, data)

    async with scripted(tmp_path, heard) as pipelines:
        await asyncio.gather(*(pipelines.run("GET", n) for n in range(100)))
        assert [data.count(b"GET") for data in sent] == [100]


async def test_behind_a_server_that_hangs_a_bounded_number_is_sent_and_the_others_never(tmp_path: Path) -> None:
    sent, most = bytearray(), MAX_PIPELINES * MAX_COMMANDS
    async with scripted(tmp_path, lambda _, data: sent.extend(data)) as pipelines:
        answers = await asyncio.gather(*(pipelines.run("GET", n) for n in range(most + 300)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert sum("never sent" in str(answer) for answer in answers) == 300
    assert 0 < sent.count(b"GET") <= most, "fewer where even a connection takes too long"


async def test_a_server_that_hung_gives_no_answer_to_a_later_command(tmp_path: Path) -> None:
    """What it says to a command that was given up on is no other command's answer."""

    def heard(transport: asyncio.Transport, data: bytes) -> None:
        first = b"first" in data
        asyncio.get_running_loop().call_later(
            0.7 if first else 0, transport.write, b"+FIRST\r\n" if first else b"+OK\r\n"
        )

    async with scripted(tmp_path, heard) as pipelines:
        with pytest.raises(StoreUnavailable):
            await pipelines.run("GET", "first")
        for _ in range(10):
            assert await pipelines.run("GET", "after") == b"OK"
            await asyncio.sleep(0.03)


async def test_what_no_one_waits_for_any_more_is_not_sent(tmp_path: Path) -> None:
    sent = bytearray()
    async with scripted(tmp_path, lambda _, data: sent.extend(data)) as pipelines:
        giving_up, other = (asyncio.ensure_future(pipelines.run("GET", name)) for name in ("never", "sent"))
        await asyncio.sleep(0)
        giving_up.cancel()
        with pytest.raises(StoreUnavailable):
            await other
    assert b"sent" in sent
    assert b"never" not in sent


async def test_a_server_that_takes_connections_and_says_nothing_keeps_no_one(tmp_path: Path) -> None:
    listening = await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, str(tmp_path / "s"))
    async with listening:
        async with connect(f"unix://{tmp_path / 's'}", 0.2) as client, aclosing(Pipelines(client, 0.2)) as pipelines:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(pipelines.run("PING"), 1)
        await asyncio.sleep(0.01)


async def test_too_many_fail_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    async with scripted(tmp_path, lambda *_: None) as pipelines:
        waiting = [asyncio.ensure_future(pipelines.run("PING")) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="too many"):
            await pipelines.run("PING")
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_when_the_service_ends_is_answered(tmp_path: Path) -> None:
    async with scripted(tmp_path, lambda *_: None) as pipelines:
        waiting = [asyncio.ensure_future(pipelines.run("PING")) for _ in range(2000)]
        await asyncio.sleep(0.05)
        await pipelines.aclose()
        assert all(each.done() for each in waiting)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)


async def test_a_connection_that_ends_fails_what_was_sent_once_and_the_next_command_opens_another(
    tmp_path: Path,
) -> None:
    sent = bytearray()

    def heard(transport: asyncio.Transport, data: bytes) -> None:
        sent.extend(data)
        transport.close() if b"end" in data else answering(transport, data)

    async with scripted(tmp_path, heard) as pipelines:
        with pytest.raises(StoreUnavailable):
            await pipelines.run("GET", "end")
        assert await pipelines.run("GET", "more") == b"OK"
    assert sent.count(b"end") == 1


@pytest.mark.parametrize("nonsense", [b"+ONE\r\n+TOO MANY\r\n", b"?what\r\n"])
async def test_an_answer_too_many_or_none_at_all_ends_the_connection(tmp_path: Path, nonsense: bytes) -> None:
    """What comes after it might be taken for another's answer."""
    answers = iter([nonsense, b"+FRESH\r\n"])
    async with scripted(tmp_path, lambda transport, _: transport.write(next(answers))) as pipelines:
        await asyncio.gather(pipelines.run("GET", "a"), return_exceptions=True)
        assert await pipelines.run("GET", "b") == b"FRESH"


async def test_a_server_that_is_no_primary_any_more_is_left_for_a_new_connection(tmp_path: Path) -> None:
    connections: set[asyncio.Transport] = set()

    def heard(transport: asyncio.Transport, _: bytes) -> None:
        transport.write(b"+OK\r\n" if connections - {transport} else b"-READONLY You can't write\r\n")
        connections.add(transport)

    async with scripted(tmp_path, heard) as pipelines:
        with pytest.raises(ReadOnlyError):
            await pipelines.run("GET", "a")
        assert await pipelines.run("GET", "a") == b"OK"

"""Pipelines: each command answered by itself, none sent behind a server that hangs, none repeated, none lost to a neighbor that gave up."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from app.store import pipelines as module
from app.store.connection import connect
from app.store.embedded import socket_of
from app.store.pipelines import MAX_COMMANDS, MAX_PIPELINES, Pipelines
from app.verification.errors import StoreUnavailable
from app.verification.ids import IdCodec
from tests.contract.conftest import PEPPER, World
from tests.contract.proxy import Proxy
from tests.server import ask, free_port


@pytest.fixture
async def pipelines(server: Any) -> AsyncIterator[Pipelines]:
    async with aclosing(Pipelines(server, 5.0)) as pipelines:
        yield pipelines


async def test_each_command_gets_its_own_answer(pipelines: Pipelines) -> None:
    answers = await asyncio.gather(*(ask(pipelines, "ECHO", n) for n in range(2000)))
    assert answers == [str(n).encode() for n in range(2000)]


async def test_one_that_fails_fails_alone(pipelines: Pipelines) -> None:
    run = partial(ask, pipelines)
    answers = await asyncio.gather(run("ECHO", "a"), run("NOSUCHCOMMAND"), run("ECHO", "b"), return_exceptions=True)
    assert isinstance(answers[1], ResponseError)
    assert (answers[0], answers[2]) == (b"a", b"b")
    with pytest.raises(NoScriptError):
        await run("EVALSHA", "0" * 40, 0)


async def test_what_cannot_be_sent_keeps_no_one_waiting(pipelines: Pipelines) -> None:
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(ask(pipelines, "ECHO", "\ud800"), 2)
    assert await ask(pipelines, "ECHO", "a") == b"a"


async def test_one_that_gives_up_takes_nothing_from_its_neighbors(pipelines: Pipelines) -> None:
    for turns in range(4):  # before it is sent, while it is under way
        waiting = [asyncio.ensure_future(ask(pipelines, "ECHO", n)) for n in range(10)]
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting[3].cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [a for n, a in enumerate(answers) if n != 3] == [str(n).encode() for n in range(10) if n != 3]


# ---- servers that do what no real one does on demand


@asynccontextmanager
async def scripted(
    directory: Path, answer: Callable[[bytes], bytes | float | None]
) -> AsyncIterator[tuple[Pipelines, list[bytes]]]:
    """A server that answers as the test says: a reply, the seconds until a late one, or None to close the connection; and what it was sent."""
    sent: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            if b"SETNAME" in data or b"SETINFO" in data:
                writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
                continue
            sent.append(data)
            reply = answer(data)
            if isinstance(reply, float):
                await asyncio.sleep(reply)
                reply = b"+LATE\r\n"
            if reply is None:
                break
            writer.write(reply)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(directory / "s")):
        async with connect(f"unix://{directory / 's'}", 1.0) as client, aclosing(Pipelines(client, 0.5)) as found:
            yield found, sent
        await asyncio.sleep(0.01)  # the server's side of the connections ends too


def ok(data: bytes) -> bytes:
    return b"+OK\r\n" * data.count(b"GET")


def silent(_: bytes) -> bytes:
    return b""


async def test_commands_of_one_turn_go_out_together(tmp_path: Path) -> None:
    async with scripted(tmp_path, ok) as (pipelines, sent):
        await asyncio.gather(*(ask(pipelines, "GET", n) for n in range(100)))
        assert [data.count(b"GET") for data in sent] == [100]


async def test_behind_a_server_that_hangs_a_bounded_number_is_sent_and_the_others_never(tmp_path: Path) -> None:
    most = MAX_PIPELINES * MAX_COMMANDS
    async with scripted(tmp_path, silent) as (pipelines, sent):
        answers = await asyncio.gather(*(ask(pipelines, "GET", n) for n in range(most + 300)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert [isinstance(answer, StoreUnavailable) and answer.sent for answer in answers].count(False) == 300
    assert 0 < b"".join(sent).count(b"GET") <= most, "fewer where even a connection takes too long"


async def test_a_server_that_hung_gives_no_answer_to_a_later_command(tmp_path: Path) -> None:
    """What it says to a command that was given up on is no other command's answer."""
    async with scripted(tmp_path, lambda data: 0.7 if b"first" in data else ok(data)) as (pipelines, _):
        with pytest.raises(StoreUnavailable):
            await ask(pipelines, "GET", "first")
        for _ in range(10):
            assert await ask(pipelines, "GET", "after") == b"OK"
            await asyncio.sleep(0.03)


async def test_what_no_one_waits_for_any_more_is_not_sent(tmp_path: Path) -> None:
    async with scripted(tmp_path, silent) as (pipelines, sent):
        giving_up, other = (asyncio.ensure_future(ask(pipelines, "GET", name)) for name in ("never", "sent"))
        await asyncio.sleep(0)
        giving_up.cancel()
        with pytest.raises(StoreUnavailable):
            await other
    assert (b"sent" in b"".join(sent), b"never" in b"".join(sent)) == (True, False)


async def test_a_server_that_takes_connections_and_says_nothing_keeps_no_one(tmp_path: Path) -> None:
    async with await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, str(tmp_path / "s")):
        async with connect(f"unix://{tmp_path / 's'}", 0.2) as client, aclosing(Pipelines(client, 0.2)) as pipelines:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(ask(pipelines, "PING"), 1)
        await asyncio.sleep(0.01)


async def test_too_many_fail_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    async with scripted(tmp_path, silent) as (pipelines, _):
        waiting = [asyncio.ensure_future(ask(pipelines, "PING")) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="too many") as failed:
            await ask(pipelines, "PING")
        assert not failed.value.sent
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_when_the_service_ends_is_answered(tmp_path: Path) -> None:
    async with scripted(tmp_path, silent) as (pipelines, _):
        waiting = [asyncio.ensure_future(ask(pipelines, "PING")) for _ in range(2000)]
        await asyncio.sleep(0.05)
        await pipelines.aclose()
        assert {type(each.exception()) for each in waiting} == {StoreUnavailable}


async def test_a_connection_that_ends_fails_what_was_sent_once_and_the_next_command_opens_another(
    tmp_path: Path,
) -> None:
    async with scripted(tmp_path, lambda data: None if b"end" in data else ok(data)) as (pipelines, sent):
        with pytest.raises(StoreUnavailable):
            await ask(pipelines, "GET", "end")
        assert await ask(pipelines, "GET", "more") == b"OK"
    assert b"".join(sent).count(b"end") == 1


@pytest.mark.parametrize("nonsense", [b"+ONE\r\n+TOO MANY\r\n", b"?what\r\n"])
async def test_an_answer_too_many_or_none_at_all_ends_the_connection(tmp_path: Path, nonsense: bytes) -> None:
    """What comes after it might be taken for another's answer."""
    answers = iter([nonsense, b"+FRESH\r\n"])
    async with scripted(tmp_path, lambda _: next(answers)) as (pipelines, _):
        await asyncio.gather(ask(pipelines, "GET", "a"), return_exceptions=True)
        assert await ask(pipelines, "GET", "b") == b"FRESH"


async def test_a_server_that_is_no_primary_any_more_is_left_for_a_new_connection(tmp_path: Path) -> None:
    connections = set()

    def answer(_: bytes) -> bytes:
        connections.add(asyncio.current_task())  # each connection has a task of its own
        return b"-READONLY You can't write\r\n" if len(connections) == 1 else b"+OK\r\n"

    async with scripted(tmp_path, answer) as (pipelines, _):
        with pytest.raises(ReadOnlyError):
            await ask(pipelines, "GET", "a")
        assert await ask(pipelines, "GET", "a") == b"OK"


# ---- replies that are lost


async def lose_replies(pipelines: Pipelines, proxy: Proxy, key: str) -> None:
    """Each of three increments is executed once, and its reply is lost."""
    for number in range(1, 4):
        proxy.lose = b"INCR"
        with pytest.raises((StoreUnavailable, RedisError)):
            await ask(pipelines, "INCR", key)
        assert (proxy.lost, int(await ask(pipelines, "GET", key))) == (number, number)


async def test_no_command_is_repeated_whose_reply_was_lost(url: str, tmp_path: Path) -> None:
    proxy = Proxy()
    async with (
        proxy.between(url, tmp_path / "relay") as address,
        connect(address, 0.5) as client,
        aclosing(Pipelines(client, 0.5)) as pipelines,
    ):
        await lose_replies(pipelines, proxy, f"lost:{tmp_path}")
        await client.delete(f"lost:{tmp_path}")


@pytest.fixture(scope="session")
def cluster_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A cluster of one node, which announces another port than it listens on: a relay's."""
    port, bus, relay = (free_port() for _ in range(3))
    options = f"--port {port} --bind 127.0.0.1 --cluster-enabled yes --cluster-port {bus} --save"
    announced = f"--cluster-announce-ip 127.0.0.1 --cluster-announce-port {relay} --dir"
    command = ["redis-server", *options.split(), "", *announced.split(), str(tmp_path_factory.mktemp("cluster"))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 100)) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.05)
        yield port, relay
    finally:
        process.terminate()
        process.wait(5)


@pytest.mark.redis
async def test_no_command_is_repeated_on_a_cluster_and_the_scripts_run_there(
    cluster_port: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, relay = cluster_port
    proxy = Proxy()
    async with (
        proxy.between(f"redis://127.0.0.1:{port}", relay),
        connect(f"redis+cluster://127.0.0.1:{relay}", 1.0) as client,
    ):
        pipelines = Pipelines(client, 1.0)
        await ask(pipelines, "DEL", "{t}lost")
        await lose_replies(pipelines, proxy, "{t}lost")
        world = World(client, monkeypatch, pipelines)
        ref = await world.place()
        world.rule(codec=IdCodec(b"another pepper for the cluster, 32 bytes", PEPPER))
        await world.approve(ref)


async def test_a_url_names_the_database(embedded_url: str) -> None:
    socket = socket_of(Path(embedded_url.removeprefix("embedded://")))
    async with connect(f"unix://{socket}?db=3", 2.0) as client, aclosing(Pipelines(client, 2.0)) as pipelines:
        assert b" db=3 " in await ask(pipelines, "CLIENT", "INFO")

"""Pipelines to real servers through a relay that loses replies, on a cluster, and over TLS: no command is ever repeated."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.store.connection import connect
from app.store.pipelines import Pipelines
from app.verification.errors import StoreUnavailable
from app.verification.ids import IdCodec
from app.verification.model import Approval
from tests.contract.conftest import World
from tests.contract.proxy import Proxy
from tests.contract.test_mobilgroup_tls import identity


def arguments_of(settings: dict[str, Any]) -> list[str]:
    """A redis-server's command line."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="session")
def cluster_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A cluster of one node, which announces another port than it listens on: a relay's."""
    where, ports = tmp_path_factory.mktemp("cluster"), []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    port, bus, relay = ports
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "cluster-enabled": "yes",
        "cluster-port": bus,
        "cluster-announce-ip": "127.0.0.1",
        "cluster-announce-port": relay,
        "save": "",
        "dir": where,
    }
    process = subprocess.Popen(["redis-server", *arguments_of(settings)], stdout=subprocess.DEVNULL)
    try:
        _own_all_slots(port)
        yield port, relay
    finally:
        process.terminate()
        process.wait(5)


def _own_all_slots(port: int) -> None:
    with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 100)) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.05)


async def test_no_command_is_repeated_whose_reply_was_lost(url: str, server: Any, tmp_path: Path) -> None:
    proxy = Proxy()
    async with (
        proxy.between(url, tmp_path / "relay") as address,
        connect(address, 0.5) as client,
        aclosing(Pipelines(client, 0.5)) as pipelines,
    ):
        for number in range(1, 4):
            proxy.lose = b"INCR"
            with pytest.raises(StoreUnavailable):
                await pipelines.run("INCR", f"lost:{tmp_path}")
            assert proxy.lost == number
            assert int(await server.get(f"lost:{tmp_path}")) == number
    await server.delete(f"lost:{tmp_path}")


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
        await pipelines.run("SET", "{t}lost", 0)
        for number in range(1, 4):
            proxy.lose = b"INCR"
            with pytest.raises((StoreUnavailable, RedisError)):
                await pipelines.run("INCR", "{t}lost")
            assert int(await pipelines.run("GET", "{t}lost")) == number
        world = World(client, monkeypatch, pipelines)
        ref = await world.place()
        world.rule(
            codec=IdCodec(b"another pepper for the cluster, 32 bytes", b"pepper of the contract tests 0123456789")
        )
        assert isinstance(await world.right(ref), Approval)


@pytest.mark.redis
async def test_it_speaks_tls_with_a_password_and_a_database(tmp_path: Path) -> None:
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
    server = await asyncio.create_subprocess_exec(
        "redis-server", *arguments_of(settings), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        client = connect(f"rediss://:s3cret@127.0.0.1:{port}/3?ssl_ca_certs={tmp_path / 'certificate.pem'}", 2.0)
        async with client, aclosing(Pipelines(client, 2.0)) as pipelines:
            for _ in range(100):
                with suppress(StoreUnavailable):
                    await pipelines.run("PING")
                    break
                await asyncio.sleep(0.05)
            answers = await asyncio.gather(*(pipelines.run("ECHO", str(n) * 100) for n in range(500)))
            assert answers == [(str(n) * 100).encode() for n in range(500)]
            assert b" db=3 " in await pipelines.run("CLIENT", "INFO")
    finally:
        server.terminate()
        await server.wait()

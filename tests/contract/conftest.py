"""The servers that every store must behave the same on."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import uvloop
from redis.asyncio import Redis

from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.embedded import embedded_server
from app.store.redis_store import RedisStore
from app.verification.challenge import When
from app.verification.guard import Guard
from app.verification.guess_budget import GuessBudget
from app.verification.ids import IdCodec
from app.verification.money import Spending
from app.verification.phone import PhoneRules
from app.verification.policy import Policy
from app.verification.rates import Rate, parse_rates

POLICY = Policy(
    phones=PhoneRules("RU", frozenset({"RU"})),
    code_length=4,
    ttl=300,
    max_attempts=3,
    cooldowns=(30, 60, 300),
    calls_per_phone=parse_rates("5/hour, 10/day"),
    calls_per_ip=parse_rates("3/hour"),
    calls_total=parse_rates("100000/second"),
    wrong_guesses_per_ip=parse_rates("4/hour"),
    guesses=GuessBudget.of(0.001, 3, parse_rates("5/hour, 10/day")),
    spending=Spending(3500, (Rate(4_000_000_000, 3600), Rate(4_000_000_000, 86400))),
    challenge=When.NEVER,
    guard=Guard.of(0, 1, 1, 0),
    test_numbers={},
    approval_repeat_window=60,
    call_deadline=30,
)


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Under both loops whatever speaks to a network by itself: their transports differ in how they end."""
    plain = {"asyncio": asyncio.new_event_loop}
    both = "mobilgroup" in item.path.name or "coalesce" in item.path.name
    return {**plain, "uvloop": uvloop.new_event_loop} if both else plain


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("embedded")
    with embedded_server(path):
        yield f"embedded://{path}"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server that TEST_REDIS_URL names, or Debian's redis-server if it is installed; `make test-redis` sees to that."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server here: make test-redis runs this with one")
    where: Path = tmp_path_factory.mktemp("redis")
    arguments = ["--port", "0", "--unixsocket", str(where / "s"), "--save", "", "--dir", str(where)]
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
    try:
        while not (where / "s").exists():
            time.sleep(0.02)
        yield f"unix://{where / 's'}"
    finally:
        process.terminate()
        process.wait(5)


@pytest.fixture(params=["embedded_url", "redis_url"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator["Redis"]:
    """A client of each server in turn."""
    async with connected(request.getfixturevalue(request.param)) as client:
        yield client


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Redis"]:
    """A client of a server, and what `coalescer_of` makes for it."""
    async with connect(url, 5.0) as client, aclosing(Coalescer(client)) as coalescer:
        _COALESCERS[client] = coalescer
        yield client


_COALESCERS: WeakKeyDictionary["Redis", Coalescer] = WeakKeyDictionary()


def coalescer_of(server: Any) -> Coalescer:
    """What sends a store's commands to the server of a test."""
    return _COALESCERS[server]


@pytest.fixture
def codec() -> IdCodec:
    return IdCodec(b"pepper of the contract tests 0123456789")


@pytest.fixture
def store(server: Any) -> RedisStore:
    return RedisStore(coalescer_of(server), POLICY)

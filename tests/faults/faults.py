"""The faults: each injects itself, lasts a moment, and repairs what it broke. docs/reliability.md has a row for each."""

import asyncio
import os
import random
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from operator import attrgetter
from typing import NamedTuple

from app.store.connection import connect
from tests.faults.deployment import Deployment
from tests.faults.relay import DOWN, UP, Direction, Link, Mode, Relay, Trap

Fault = Callable[[Deployment, random.Random], Awaitable[None]]


class Kind(NamedTuple):
    """A kind of fault: how it is injected, for docs/reliability.md, and what injects it."""

    how: str
    inject: Fault


MIN_ANSWER = 50  # bytes; shorter ones are of handshakes
MAX_WAIT = 3.0
"""Seconds that a trap waits for what it wants to see."""


def _moment(rng: random.Random, longest: float = 1.2) -> float:
    return rng.uniform(0.1, longest)


# ---- the network


def _mode(of: Callable[[Deployment], Relay], mode: Mode) -> Fault:
    async def fault(deployment: Deployment, rng: random.Random) -> None:
        relay = of(deployment)
        relay.mode = mode
        if mode is Mode.CUT:
            relay.reset()
        await asyncio.sleep(_moment(rng))
        relay.heal()

    return fault


def _slow(of: Callable[[Deployment], Relay], *, throttled: bool = False) -> Fault:
    async def fault(deployment: Deployment, rng: random.Random) -> None:
        relay = of(deployment)
        relay.delay, relay.rate = (
            (0.0, rng.choice((2000, 20_000))) if throttled else (rng.choice((0.05, 0.3, 0.8)), None)
        )
        await asyncio.sleep(_moment(rng))
        relay.heal()

    return fault


def _once(of: Callable[[Deployment], Relay], act: Callable[[Relay], None]) -> Fault:
    async def fault(deployment: Deployment, rng: random.Random) -> None:
        for _ in range(rng.randint(1, 3)):
            act(of(deployment))
            await asyncio.sleep(0.05)

    return fault


_store: Callable[[Deployment], Relay] = attrgetter("store")
_provider: Callable[[Deployment], Relay] = attrgetter("provider")


def _cut_short(of: Callable[[Deployment], Relay]) -> Fault:
    """Pass half of an answer, and then nothing."""

    async def fault(deployment: Deployment, rng: random.Random) -> None:
        cut = asyncio.Event()

        async def trap(link: Link, where: Direction, data: bytes) -> bool:
            if where == UP or len(data) < MIN_ANSWER:
                return True
            link.client.write(data[: rng.randrange(1, len(data))])
            await link.client.drain()
            link.reset()
            cut.set()
            return False

        await _until(of(deployment), trap, cut)

    return fault


async def _until(relay: Relay, trap: Trap, sprung: asyncio.Event) -> None:
    """Set a trap, and take it away when it has sprung, or when it waited long enough."""
    relay.trap = trap
    try:
        async with asyncio.timeout(MAX_WAIT):
            await sprung.wait()
    except TimeoutError:
        pass
    finally:
        relay.heal()


# ---- workers


def _kill(of: Callable[[Deployment], Relay], direction: Direction, seen: bytes, *, passes: bool) -> Fault:
    """Kill the worker on whose connection something is seen, before or after it passes."""

    async def fault(deployment: Deployment, _: random.Random) -> None:
        sprung = asyncio.Event()

        async def trap(link: Link, where: Direction, data: bytes) -> bool:
            if sprung.is_set() or where != direction or not re.search(seen, data):
                return True
            sprung.set()
            owners = deployment.owners_of(link.client_port)  # it may close the connection as soon as it has its answer
            if passes:
                (link.client if where == DOWN else link.server).write(data)
            for worker in owners:
                deployment.kill(worker)
            return False

        await _until(of(deployment), trap, sprung)

    return fault


async def _kill_any(deployment: Deployment, rng: random.Random) -> None:
    for worker in deployment.service.workers()[: rng.randint(1, 2)]:
        deployment.kill(worker)


async def _stop_any(deployment: Deployment, rng: random.Random) -> None:
    if workers := deployment.service.workers():
        stopped = rng.choice(workers)
        os.kill(stopped, signal.SIGSTOP)
        await asyncio.sleep(_moment(rng, 2.5))
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(stopped, signal.SIGCONT)


# ---- the store


@asynccontextmanager
async def _configured(deployment: Deployment, setting: str, value: str, after: str) -> AsyncIterator[None]:
    await deployment.command("CONFIG", "SET", setting, value)
    try:
        yield
    finally:
        await deployment.command("CONFIG", "SET", setting, after)


async def _restart(deployment: Deployment, _: random.Random) -> None:
    await deployment.restart_store()


async def _restart_empty(deployment: Deployment, _: random.Random) -> None:
    await deployment.restart_store(empty=True)


async def _loading(deployment: Deployment, rng: random.Random) -> None:
    await deployment.command("EVAL", "for n = 1, 300 do redis.call('SET', 'filler:' .. n, n, 'PX', 3000) end", 0)
    await deployment.command("BGREWRITEAOF")
    await asyncio.sleep(0.3)
    await deployment.restart_store(key_load_delay="2000", loading_process_events_interval_bytes="1024")
    await asyncio.sleep(_moment(rng, 0.4))


async def _freeze(deployment: Deployment, rng: random.Random) -> None:
    deployment.server.freeze()
    await asyncio.sleep(_moment(rng))
    deployment.server.thaw()


async def _fill(deployment: Deployment, rng: random.Random) -> None:
    async with _configured(deployment, "maxmemory", "1", "0"):
        await asyncio.sleep(_moment(rng))


async def _evict(deployment: Deployment, rng: random.Random) -> None:
    async with _configured(deployment, "maxmemory-policy", "allkeys-lru", "noeviction"):
        await asyncio.sleep(_moment(rng))


async def _read_only(deployment: Deployment, rng: random.Random) -> None:
    await deployment.command("REPLICAOF", "127.0.0.1", "1")
    await asyncio.sleep(_moment(rng))
    await deployment.command("REPLICAOF", "NO", "ONE")


async def _no_replicas(deployment: Deployment, rng: random.Random) -> None:
    async with _configured(deployment, "min-replicas-to-write", "1", "0"):
        await asyncio.sleep(_moment(rng))


_BUSY = """
local time = redis.call('TIME')
local begun = time[1] * 1000 + time[2] / 1000
repeat
  time = redis.call('TIME')
until time[1] * 1000 + time[2] / 1000 > begun + ARGV[1]
"""


async def _busy(deployment: Deployment, rng: random.Random) -> None:
    async with _configured(deployment, "busy-reply-threshold", "50", "5000"):
        await deployment.command("EVAL", _BUSY, 0, round(_moment(rng) * 1000))


async def _flush_scripts(deployment: Deployment, _: random.Random) -> None:
    await deployment.command("SCRIPT", "FLUSH")


async def _too_many_connections(deployment: Deployment, rng: random.Random) -> None:
    async with connect(deployment.server.url, 2) as admin:  # the one that is accepted
        await admin.config_set("maxclients", 1)
        deployment.store.reset()
        await asyncio.sleep(_moment(rng))
        await admin.config_set("maxclients", 10_000)


async def _clock(deployment: Deployment, rng: random.Random) -> None:
    """As if the store's clock were ahead by some seconds from now on: all that it holds is that much older."""
    await asyncio.to_thread(deployment.service.later, rng.uniform(0.5, 5))


FAULTS: dict[str, Kind] = {
    "store: answers are late": Kind("each piece 0.05, 0.3 or 0.8 s later", _slow(_store)),
    "store: the line is slow": Kind("2 or 20 kB a second", _slow(_store, throttled=True)),
    "store: the network holds everything": Kind("nothing passes, then all of it", _mode(_store, Mode.HOLD)),
    "store: requests are lost": Kind(
        "what the service sends is dropped, connections stay", _mode(_store, Mode.DROP_REQUESTS)
    ),
    "store: answers are lost": Kind(
        "requests pass, answers are dropped, then a reset", _mode(_store, Mode.DROP_ANSWERS)
    ),
    "store: no connection": Kind("connections are reset, none is accepted", _mode(_store, Mode.CUT)),
    "store: connections are reset": Kind("RST, one to three times", _once(_store, Relay.reset)),
    "store: connections are half closed": Kind("its side ends, one to three times", _once(_store, Relay.half_close)),
    "store: an answer is cut short": Kind("half of it passes, then a reset", _cut_short(_store)),
    "store: it hangs": Kind("SIGSTOP, then SIGCONT", _freeze),
    "store: it is killed and restarted": Kind("SIGKILL; its append-only file stays", _restart),
    "store: it is restarted empty": Kind("SIGKILL; its files are deleted", _restart_empty),
    "store: it loads its data": Kind("restart with `key-load-delay`", _loading),
    "store: it is full": Kind("`maxmemory 1`", _fill),
    "store: it evicts": Kind("`maxmemory-policy allkeys-lru`", _evict),
    "store: it is read-only": Kind("`REPLICAOF` a port where no one listens", _read_only),
    "store: it lacks replicas": Kind("`min-replicas-to-write 1`", _no_replicas),
    "store: another's script blocks it": Kind("a script that runs on, `busy-reply-threshold 50`", _busy),
    "store: its scripts are flushed": Kind("`SCRIPT FLUSH`", _flush_scripts),
    "store: it accepts no more connections": Kind("`maxclients 1`, connections are reset", _too_many_connections),
    "store: its clock jumps": Kind("all that it holds is 0.5 to 5 s older at once", _clock),
    "provider: answers are late": Kind("each piece 0.05, 0.3 or 0.8 s later", _slow(_provider)),
    "provider: the line is slow": Kind("2 or 20 kB a second", _slow(_provider, throttled=True)),
    "provider: the network holds everything": Kind("nothing passes, then all of it", _mode(_provider, Mode.HOLD)),
    "provider: requests are lost": Kind(
        "what the service sends is dropped, connections stay", _mode(_provider, Mode.DROP_REQUESTS)
    ),
    "provider: answers are lost": Kind(
        "requests pass, answers are dropped, then a reset", _mode(_provider, Mode.DROP_ANSWERS)
    ),
    "provider: no connection": Kind("connections are reset, none is accepted", _mode(_provider, Mode.CUT)),
    "provider: connections are reset": Kind("RST, one to three times", _once(_provider, Relay.reset)),
    "provider: connections are half closed": Kind(
        "its side ends, one to three times", _once(_provider, Relay.half_close)
    ),
    "provider: an answer is cut short": Kind("half of it passes, then a reset", _cut_short(_provider)),
    "worker: stopped for a moment": Kind("SIGSTOP, then SIGCONT", _stop_any),
    "worker: killed at any moment": Kind("SIGKILL", _kill_any),
    "worker: killed before its reservation arrives": Kind(
        "SIGKILL as the relay sees the script of a start", _kill(_store, UP, rb'"code_length":', passes=False)
    ),
    "worker: killed when a call is reserved": Kind(
        "SIGKILL as it sees the reply to that", _kill(_store, DOWN, rb'"outcome":"reserved"', passes=False)
    ),
    "worker: killed before its call is requested": Kind(
        "SIGKILL as it sees the request, which is dropped", _kill(_provider, UP, rb"POST ", passes=False)
    ),
    "worker: killed while its call is placed": Kind(
        "SIGKILL as it passes the request on", _kill(_provider, UP, rb"POST ", passes=True)
    ),
    "worker: killed when its call was answered": Kind(
        "SIGKILL as it passes the answer on", _kill(_provider, DOWN, rb"HTTP/1", passes=True)
    ),
    "worker: killed before its code is stored": Kind(
        "SIGKILL as it sees the script that stores it, which is dropped",
        _kill(_store, UP, rb'"reserved_price":', passes=False),
    ),
    "worker: killed when its code is stored": Kind(
        "SIGKILL as it sees the reply to that", _kill(_store, DOWN, rb'"outcome":"settled"', passes=False)
    ),
}

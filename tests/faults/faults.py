"""The faults: each injects itself, lasts a moment, and repairs what it broke. docs/reliability.md has a row for each."""

import asyncio
import os
import random
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from app.store.connection import connect
from tests.faults.deployment import DOWN, UP, Deployment, Link, Relay, Trap

Fault = Callable[[Deployment, random.Random], Awaitable[None]]
Network = Callable[[Relay, random.Random], Awaitable[None]]


class Kind(NamedTuple):
    """A kind of fault: how it is injected, for docs/reliability.md, and what injects it."""

    how: str
    inject: Fault


MIN_ANSWER = 50  # bytes; shorter ones are of handshakes
MAX_WAIT = 3.0
"""Seconds that a trap waits for what it wants to see."""


async def _moment(rng: random.Random, longest: float = 1.2) -> None:
    await asyncio.sleep(rng.uniform(0.1, longest))


# ---- the network


async def _late(relay: Relay, rng: random.Random) -> None:
    seconds = rng.choice((0.05, 0.3, 0.8))

    async def trap(_: Link, __: str, data: bytes) -> bytes:
        await asyncio.sleep(seconds)
        return data

    with relay.trapping(trap):
        await _moment(rng)


async def _slow(relay: Relay, rng: random.Random) -> None:
    piece = rng.choice((2000, 20_000)) // 50

    async def trap(link: Link, direction: str, data: bytes) -> bytes:
        for at in range(0, len(data), piece):
            await link.send(direction, data[at : at + piece])
            await asyncio.sleep(0.02)
        return b""

    with relay.trapping(trap):
        await _moment(rng)


async def _hold(relay: Relay, rng: random.Random) -> None:
    released = asyncio.Event()

    async def trap(_: Link, __: str, data: bytes) -> bytes:
        await released.wait()
        return data

    with relay.trapping(trap):
        await _moment(rng)
    released.set()


def _lose(lost: str) -> Network:
    async def fault(relay: Relay, rng: random.Random) -> None:
        async def trap(_: Link, direction: str, data: bytes) -> bytes:
            return b"" if direction == lost else data

        with relay.trapping(trap):
            await _moment(rng)
        if lost == DOWN:  # else the next answer would be taken for the lost one
            relay.reset()

    return fault


async def _cut(relay: Relay, rng: random.Random) -> None:
    relay.accepts = False
    relay.reset()
    await _moment(rng)
    relay.accepts = True


def _few_times(act: Callable[[Relay], None]) -> Network:
    async def fault(relay: Relay, rng: random.Random) -> None:
        for _ in range(rng.randint(1, 3)):
            act(relay)
            await asyncio.sleep(0.05)

    return fault


async def _cut_short(relay: Relay, rng: random.Random) -> None:
    cut = asyncio.Event()

    async def trap(link: Link, direction: str, data: bytes) -> bytes:
        if direction == UP or len(data) < MIN_ANSWER:
            return data
        await link.send(direction, data[: rng.randrange(1, len(data))])
        link.reset()
        cut.set()
        return b""

    await _until(relay, trap, cut)


async def _until(relay: Relay, trap: Trap, sprung: asyncio.Event) -> None:
    """Set a trap, and take it away when it has sprung, or when it waited long enough."""
    with relay.trapping(trap), suppress(TimeoutError):
        async with asyncio.timeout(MAX_WAIT):
            await sprung.wait()


# ---- workers


def _kill(relay_of: str, direction: str, seen: bytes, *, passes: bool = False) -> Fault:
    """Kill the worker on whose connection something is seen, before or after it passes."""

    async def fault(deployment: Deployment, _: random.Random) -> None:
        sprung = asyncio.Event()

        async def trap(link: Link, where: str, data: bytes) -> bytes:
            if sprung.is_set() or where != direction or not re.search(seen, data):
                return data
            sprung.set()
            owners = deployment.owners_of(link.client_port)  # it may close the connection as soon as it has its answer
            if passes:
                (link.client if where == DOWN else link.server).write(data)
            for worker in owners:
                deployment.kill(worker)
            return b""

        await _until(getattr(deployment, relay_of), trap, sprung)

    return fault


async def _kill_any(deployment: Deployment, rng: random.Random) -> None:
    for worker in deployment.service.workers()[: rng.randint(1, 2)]:
        deployment.kill(worker)


async def _stop_any(deployment: Deployment, rng: random.Random) -> None:
    if workers := deployment.service.workers():
        stopped = rng.choice(workers)
        os.kill(stopped, signal.SIGSTOP)
        await _moment(rng, 2.5)
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(stopped, signal.SIGCONT)


# ---- the store


def _configured(setting: str, value: str, after: str) -> Fault:
    async def fault(deployment: Deployment, rng: random.Random) -> None:
        await deployment.command("CONFIG", "SET", setting, value)
        try:
            await _moment(rng)
        finally:
            await deployment.command("CONFIG", "SET", setting, after)

    return fault


async def _restart(deployment: Deployment, _: random.Random) -> None:
    await deployment.restart_store()


async def _restart_empty(deployment: Deployment, _: random.Random) -> None:
    await deployment.restart_store(empty=True)


async def _loading(deployment: Deployment, rng: random.Random) -> None:
    await deployment.command("EVAL", "for n = 1, 300 do redis.call('SET', 'filler:' .. n, n, 'PX', 3000) end", 0)
    await deployment.command("BGREWRITEAOF")
    await asyncio.sleep(0.3)
    await deployment.restart_store(key_load_delay="2000", loading_process_events_interval_bytes="1024")
    await _moment(rng, 0.4)


async def _freeze(deployment: Deployment, rng: random.Random) -> None:
    deployment.server.freeze()
    await _moment(rng)
    deployment.server.thaw()


async def _read_only(deployment: Deployment, rng: random.Random) -> None:
    await deployment.command("REPLICAOF", "127.0.0.1", "1")
    await _moment(rng)
    await deployment.command("REPLICAOF", "NO", "ONE")


_BUSY = """
local time = redis.call('TIME')
local begun = time[1] * 1000 + time[2] / 1000
repeat
  time = redis.call('TIME')
until time[1] * 1000 + time[2] / 1000 > begun + ARGV[1]
"""


async def _busy(deployment: Deployment, rng: random.Random) -> None:
    await deployment.command("CONFIG", "SET", "busy-reply-threshold", "50")
    await deployment.command("EVAL", _BUSY, 0, round(rng.uniform(0.1, 1.2) * 1000))
    await deployment.command("CONFIG", "SET", "busy-reply-threshold", "5000")


async def _flush_scripts(deployment: Deployment, _: random.Random) -> None:
    await deployment.command("SCRIPT", "FLUSH")


async def _too_many_connections(deployment: Deployment, rng: random.Random) -> None:
    async with connect(deployment.server.url, 2) as admin:  # the one that is accepted
        await admin.config_set("maxclients", 1)
        deployment.store.reset()
        await _moment(rng)
        await admin.config_set("maxclients", 10_000)


async def _clock(deployment: Deployment, rng: random.Random) -> None:
    await asyncio.to_thread(deployment.service.later, rng.uniform(0.5, 5))


NETWORK: dict[str, tuple[str, Network]] = {
    "answers are late": ("each piece 0.05, 0.3 or 0.8 s later", _late),
    "the line is slow": ("2 or 20 kB a second", _slow),
    "the network holds everything": ("nothing passes, then all of it", _hold),
    "requests are lost": ("what the service sends is dropped, connections stay", _lose(UP)),
    "answers are lost": ("requests pass, answers are dropped, then a reset", _lose(DOWN)),
    "no connection": ("connections are reset, none is accepted", _cut),
    "connections are reset": ("RST, one to three times", _few_times(Relay.reset)),
    "connections are half closed": ("its side ends, one to three times", _few_times(Relay.half_close)),
    "an answer is cut short": ("half of it passes, then a reset", _cut_short),
}


def _network_of(relay_of: str) -> dict[str, Kind]:
    def fault(network: Network) -> Fault:
        return lambda deployment, rng: network(getattr(deployment, relay_of), rng)

    return {f"{relay_of}: {name}": Kind(how, fault(network)) for name, (how, network) in NETWORK.items()}


STORE = {
    "it hangs": Kind("SIGSTOP, then SIGCONT", _freeze),
    "it is killed and restarted": Kind("SIGKILL; its append-only file stays", _restart),
    "it is restarted empty": Kind("SIGKILL; its files are deleted", _restart_empty),
    "it loads its data": Kind("restart with `key-load-delay`", _loading),
    "it is full": Kind("`maxmemory 1`", _configured("maxmemory", "1", "0")),
    "it evicts": Kind("`maxmemory-policy allkeys-lru`", _configured("maxmemory-policy", "allkeys-lru", "noeviction")),
    "it is read-only": Kind("`REPLICAOF` a port where no one listens", _read_only),
    "it lacks replicas": Kind("`min-replicas-to-write 1`", _configured("min-replicas-to-write", "1", "0")),
    "another's script blocks it": Kind("a script that runs on, `busy-reply-threshold 50`", _busy),
    "its scripts are flushed": Kind("`SCRIPT FLUSH`", _flush_scripts),
    "it accepts no more connections": Kind("`maxclients 1`, connections are reset", _too_many_connections),
    "its clock jumps": Kind("all that it holds is 0.5 to 5 s older at once", _clock),
}

RESERVES, RESERVED = rb'"code_length":', rb'"outcome":"reserved"'
SETTLES, SETTLED = rb'"reserved_price":', rb'"outcome":"settled"'
WORKER = {
    "stopped for a moment": Kind("SIGSTOP, then SIGCONT", _stop_any),
    "killed at any moment": Kind("SIGKILL", _kill_any),
    "killed before its reservation arrives": Kind(
        "SIGKILL as the relay sees the script of a start", _kill("store", UP, RESERVES)
    ),
    "killed when a call is reserved": Kind("SIGKILL as it sees the reply to that", _kill("store", DOWN, RESERVED)),
    "killed before its call is requested": Kind(
        "SIGKILL as it sees the request, which is dropped", _kill("provider", UP, rb"POST ")
    ),
    "killed while its call is placed": Kind(
        "SIGKILL as it passes the request on", _kill("provider", UP, rb"POST ", passes=True)
    ),
    "killed when its call was answered": Kind(
        "SIGKILL as it passes the answer on", _kill("provider", DOWN, rb"HTTP/1", passes=True)
    ),
    "killed before its code is stored": Kind(
        "SIGKILL as it sees the script that stores it, which is dropped", _kill("store", UP, SETTLES)
    ),
    "killed when its code is stored": Kind("SIGKILL as it sees the reply to that", _kill("store", DOWN, SETTLED)),
}

FAULTS: dict[str, Kind] = {
    **_network_of("store"),
    **{f"store: {name}": kind for name, kind in STORE.items()},
    **_network_of("provider"),
    **{f"worker: {name}": kind for name, kind in WORKER.items()},
}

"""Check and start on one core, against baselines on the same core in the same run: `make bench`.

In turn one core has: the service (one worker, everything on), a bare FastAPI route, a plain FastAPI route with one EVALSHA, and bare ASGI with
nothing but the same script (bench/baselines.py). The load generator, Valkey and a provider that answers at once have the other. Prints medians of
the repeats with their least and most, and ratios of the medians; writes bench/results/throughput.json. Bounded, on loopback only.

python -m bench.throughput --least 0.35     ends with 1 if a check reaches less than that of bare ASGI: a ratio, so it holds on any machine
"""

import argparse
import itertools
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from redis import Redis

from app.api.clients import Kind, clients_entry, new_key
from app.store.embedded import embedded_server, socket_of
from app.verification.signing import new_signing_key, write_signing_keys
from bench.generator import NAME, Requests, Seen, blast
from bench.load import load, post

REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
CONNECTIONS = 32
ROOT = Path(__file__).parent.parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _pinned(core: int) -> list[str]:
    """A prefix that pins a command, where this machine can and there are two cores."""
    if len(CORES) < 2:
        return []
    pin = f"import os,sys; os.sched_setaffinity(0, {{{CORES[core]}}}); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", pin]


@contextmanager
def _process(
    core: int, arguments: list[str], environ: dict[str, str] | None = None, stdout: IO[str] | int | None = None
) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*_pinned(core), sys.executable, *arguments],
        text=True,
        cwd=ROOT,
        env=environ,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _await_port(port: int) -> None:
    for _ in range(400):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


@dataclass(frozen=True)
class Ports:
    """Where everything listens, and the service's key."""

    service: int
    route: int
    plain: int
    bare: int
    provider: int
    key: str


@contextmanager
def _everything() -> Iterator[Ports]:
    """Everything that runs while it is measured."""
    key = new_key(Kind.SECRET)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        if len(CORES) > 1:
            os.sched_setaffinity(0, {CORES[1]})  # for this process and the Valkey that it starts
        stack.enter_context(embedded_server(directory / "store"))
        with Redis(unix_socket_path=str(socket_of(directory / "store"))) as server:
            # As most run it. What a disk does would be measured else: with the file rewritten every few seconds, p99 is three times as long.
            server.config_set("appendonly", "no")
        provider = stack.enter_context(_process(1, ["-m", "bench.lean_provider"], stdout=subprocess.PIPE))
        assert provider.stdout
        provider_port = int(provider.stdout.readline())
        (directory / "clients.toml").write_text(clients_entry("bench", Kind.SECRET, key))
        (directory / "signing-keys.json").write_text(write_signing_keys((new_signing_key(),)))
        valkey = str(socket_of(directory / "store"))
        ports = Ports(_free_port(), _free_port(), _free_port(), _free_port(), provider_port, key)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")} | {
            "LASTDIGITS_PORT": str(ports.service),
            "LASTDIGITS_PROVIDER_URL": f"http://127.0.0.1:{provider_port}/api/call-password/send/",
            "LASTDIGITS_PROVIDER_API_KEY": "bench",
            "LASTDIGITS_CLIENTS_FILE": str(directory / "clients.toml"),
            "LASTDIGITS_SIGNING_KEYS_FILE": str(directory / "signing-keys.json"),
            "LASTDIGITS_REDIS_URL": f"unix://{valkey}",
            "LASTDIGITS_PEPPER": secrets.token_hex(32),
            "LASTDIGITS_MAX_ATTEMPTS": "10",
            # Wide open, so that each check is compared and each start calls; what they count costs the same.
            "LASTDIGITS_GUESS_BOUND": "0.9",
            "LASTDIGITS_SPEND_PER_HOUR": "400000",
            "LASTDIGITS_SPEND_PER_DAY": "400000",
            "LASTDIGITS_STARTS_IN_ALL": "100000000/second",
            "LASTDIGITS_GUARD_CALLS_PER_RANGE": "1000000",
            "LASTDIGITS_GUARD_CALLS_PER_COUNTRY": "1000000000",
            "LASTDIGITS_SPRAY_ALARM": "1000000000",
            "LASTDIGITS_LOG_FORMAT": "json",
            "LASTDIGITS_LOG_LEVEL": os.environ.get("BENCH_LOG_LEVEL", "warning"),
        }
        stack.enter_context(_process(0, ["-m", "app.cli", "serve"], environ=environ, stdout=subprocess.DEVNULL))
        stack.enter_context(_process(0, ["-m", "bench.baselines", "route", str(ports.route)], environ=environ))
        stack.enter_context(_process(0, ["-m", "bench.baselines", "plain", str(ports.plain), valkey], environ=environ))
        stack.enter_context(_process(0, ["-m", "bench.baselines", "bare", str(ports.bare), valkey], environ=environ))
        for port in (ports.service, ports.route, ports.plain, ports.bare):
            _await_port(port)
        yield ports


def _starts(key: str) -> Requests:
    """A phone that was never called, each time."""
    first = secrets.randbelow(10_000_000)
    numbers = itertools.count(first)
    lua = f"""
local n = {first}
function body() n = n + 1; return string.format('{{"phone": "+7916%07d"}}', n % 10000000) end
"""
    return Requests("/verify/start", key, lua, lambda: b'{"phone": "+7916%07d"}' % (next(numbers) % 10_000_000))


def _checks(key: str, ids: list[str]) -> Requests:
    """Wrong codes, each verification in turn, so that none is locked before it has to be."""
    turn = itertools.cycle(ids)
    lua = f"""
local ids, n = {{{",".join(f"'{each}'" for each in ids)}}}, 0
function body() n = n % #ids + 1; return '{{"id": "' .. ids[n] .. '", "code": "9999"}}' end
"""
    return Requests("/verify/check", key, lua, lambda: b'{"id": "%s", "code": "9999"}' % next(turn).encode())


def _begin(ports: Ports, count: float) -> list[str]:
    """Verifications to guess at."""
    requests = _starts(ports.key)
    make = lambda: post(requests.path, requests.make(), Authorization=f"Bearer {ports.key}")  # noqa: E731
    found = load(ports.service, make, connections=CONNECTIONS, seconds=count, keep=True)
    if set(found.statuses) != {201}:
        raise SystemExit(f"starts were answered with {dict(found.statuses)}")
    return [json.loads(body)["id"] for body in found.bodies]


def _one_repeat(ports: Ports) -> dict[str, float]:
    def run(port: int, requests: Requests) -> Seen:
        return blast(port, requests, CONNECTIONS, SECONDS)

    # Enough of them that most have attempts left at the end: the rest are answered sooner.
    ids = _begin(ports, SECONDS)
    checks = _checks(ports.key, ids)
    route, plain, bare = (run(port, checks) for port in (ports.route, ports.plain, ports.bare))
    check = run(ports.service, checks)
    start = run(ports.service, _starts(ports.key))
    send = post("/api/call-password/send/", b'{"number": "79161234567", "capacity": "4"}', Authorization="bench")
    alone = load(ports.provider, lambda: send, connections=1, seconds=1)
    starts = _starts(ports.key)
    light = load(
        ports.service,
        lambda: post(starts.path, starts.make(), Authorization=f"Bearer {ports.key}"),
        connections=1,
        seconds=1,
    )
    return {
        "route_rate": route.rate,
        "route_p99": route.p99,
        "plain_rate": plain.rate,
        "plain_p99": plain.p99,
        "bare_rate": bare.rate,
        "bare_p99": bare.p99,
        "check_rate": check.rate,
        "check_p99": check.p99,
        "check_guesses_per_id": check.rate * SECONDS / len(ids),
        "start_rate": start.rate,
        "start_p99": start.p99,
        "start_light_median": light.percentile(0.5),
        "provider_median": alone.percentile(0.5),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=0.0, help="the least ratio of a check's rate to bare ASGI's")
    least = parser.parse_args().least
    with _everything() as ports:
        _begin(ports, 1)  # warms up
        for port in (ports.route, ports.plain, ports.bare):
            blast(port, _checks(ports.key, ["x"]), 4, 1)
        rows = [_one_repeat(ports) for _ in range(REPEATS)]
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print(
        f"{REPEATS} repeats of {SECONDS:g} s, {CONNECTIONS} connections, {NAME}, Python {sys.version.split()[0]}, cores {CORES}"
    )
    for name, value in median.items():
        values = [row[name] for row in rows]
        print(f"  {name:<20} {value:10.2f}   ({min(values):.2f} to {max(values):.2f})")
    ratios = {
        "check / bare ASGI": median["check_rate"] / median["bare_rate"],
        "check / plain": median["check_rate"] / median["plain_rate"],
        "check / bare route": median["check_rate"] / median["route_rate"],
        "check p99 / route p99": median["check_p99"] / median["route_p99"],
        "start / bare route": median["start_rate"] / median["route_rate"],
        "start adds, ms": median["start_light_median"] - median["provider_median"],
    }
    for name, value in ratios.items():
        print(f"  {name:<22} {value:8.2f}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "throughput.json").write_text(json.dumps({"rows": rows, "median": median, "ratios": ratios}, indent=1))
    if ratios["check / bare ASGI"] < least:
        sys.exit(
            f"a check reaches {ratios['check / bare ASGI']:.2f} of bare ASGI with the same script: it was {least} at least"
        )


if __name__ == "__main__":
    main()

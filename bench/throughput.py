"""Check and start on one core, against a bare FastAPI route in the same run: `make bench`.

The service (one worker) and the floor share one core in turn; the load generator, Valkey and a provider that answers at once have the other. Prints
medians of the repeats with their least and most, and ratios of the medians; writes bench/results/throughput.json. Bounded, on loopback only.
"""

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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from app.api.clients import Kind, clients_entry, new_key
from app.store.embedded import embedded_server, socket_of
from app.verification.signing import new_signing_key, write_signing_keys
from bench.load import Result, load, post

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


@contextmanager
def _everything() -> Iterator[tuple[int, int, int, str]]:
    """The ports of service, floor and provider, and the key."""
    key = new_key(Kind.SECRET)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        if len(CORES) > 1:
            os.sched_setaffinity(0, {CORES[1]})  # for this process and the Valkey that it starts
        stack.enter_context(embedded_server(directory / "store"))
        provider = stack.enter_context(_process(1, ["-m", "bench.lean_provider"], stdout=subprocess.PIPE))
        assert provider.stdout
        provider_port = int(provider.stdout.readline())
        (directory / "clients.toml").write_text(clients_entry("bench", Kind.SECRET, key))
        (directory / "signing-keys.json").write_text(write_signing_keys((new_signing_key(),)))
        port, floor = _free_port(), _free_port()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")} | {
            "LASTDIGITS_PORT": str(port),
            "LASTDIGITS_PROVIDER_URL": f"http://127.0.0.1:{provider_port}/api/call-password/send/",
            "LASTDIGITS_PROVIDER_API_KEY": "bench",
            "LASTDIGITS_CLIENTS_FILE": str(directory / "clients.toml"),
            "LASTDIGITS_SIGNING_KEYS_FILE": str(directory / "signing-keys.json"),
            "LASTDIGITS_REDIS_URL": f"unix://{socket_of(directory / 'store')}",
            "LASTDIGITS_PEPPER": secrets.token_hex(32),
            "LASTDIGITS_MAX_ATTEMPTS": "10",
            # Wide open, so that each check is compared and each start calls; what they count costs the same.
            "LASTDIGITS_GUESS_BOUND": "0.9",
            "LASTDIGITS_SPEND_PER_HOUR": "400000",
            "LASTDIGITS_SPEND_PER_DAY": "400000",
            "LASTDIGITS_LOG_FORMAT": "json",
            "LASTDIGITS_LOG_LEVEL": os.environ.get("BENCH_LOG_LEVEL", "warning"),
        }
        stack.enter_context(_process(0, ["-m", "app.cli", "serve"], environ=environ, stdout=subprocess.DEVNULL))
        stack.enter_context(_process(0, ["-m", "bench.floor", str(floor)]))
        _await_port(port)
        _await_port(floor)
        yield port, floor, provider_port, key


def _starts(key: str, numbers: Iterator[int]) -> Callable[[], bytes]:
    def make() -> bytes:
        body = b'{"phone": "+7916%07d"}' % (next(numbers) % 10_000_000)
        return post("/verify/start", body, Authorization=f"Bearer {key}")

    return make


def _checks(key: str, ids: list[str]) -> Callable[[], bytes]:
    """Wrong codes, each verification in turn, so that none is locked before it has to be."""
    turn = itertools.cycle(ids)
    return lambda: post(
        "/verify/check", b'{"id": "%s", "code": "9999"}' % next(turn).encode(), Authorization=f"Bearer {key}"
    )


def _ids(result: Result) -> list[str]:
    if set(result.statuses) != {201}:
        raise SystemExit(f"starts were answered with {dict(result.statuses)}")
    return [json.loads(body)["id"] for body in result.bodies]


def _one_repeat(port: int, floor: int, provider: int, key: str, numbers: Iterator[int]) -> dict[str, float]:
    bare = load(
        floor, lambda: post("/verify/check", b'{"id": "x", "code": "9999"}'), connections=CONNECTIONS, seconds=SECONDS
    )
    start = load(port, _starts(key, numbers), connections=CONNECTIONS, seconds=SECONDS, keep=True)
    check = load(port, _checks(key, _ids(start)), connections=CONNECTIONS, seconds=SECONDS)
    if not check.statuses[422]:
        raise SystemExit(f"checks were answered with {dict(check.statuses)}")
    send = post("/api/call-password/send/", b'{"number": "79161234567", "capacity": "4"}', Authorization="bench")
    alone = load(provider, lambda: send, connections=1, seconds=1)
    light = load(port, _starts(key, numbers), connections=1, seconds=1)
    return {
        "floor_rate": bare.rate,
        "floor_p99": bare.percentile(0.99),
        "check_rate": check.rate,
        "check_p99": check.percentile(0.99),
        "check_wrong_share": check.statuses[422] / sum(check.statuses.values()),
        "start_rate": start.rate,
        "start_p99": start.percentile(0.99),
        "start_light_median": light.percentile(0.5),
        "provider_median": alone.percentile(0.5),
    }


def main() -> None:
    """Measure, print, write."""
    numbers = itertools.count(secrets.randbelow(10_000_000))
    with _everything() as (port, floor, provider, key):
        load(port, _starts(key, numbers), connections=4, seconds=1)  # warm up
        load(floor, lambda: post("/verify/check", b'{"id": "x", "code": "9999"}'), connections=4, seconds=1)
        rows = [_one_repeat(port, floor, provider, key, numbers) for _ in range(REPEATS)]
    median = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print(
        f"{REPEATS} repeats of {SECONDS:g} s, {CONNECTIONS} connections, Python {sys.version.split()[0]}, cores {CORES}"
    )
    for name, value in median.items():
        values = [row[name] for row in rows]
        print(f"  {name:<20} {value:10.2f}   ({min(values):.2f} to {max(values):.2f})")
    ratios = {
        "check rate / floor": median["check_rate"] / median["floor_rate"],
        "check p99 / floor p99": median["check_p99"] / median["floor_p99"],
        "start rate / floor": median["start_rate"] / median["floor_rate"],
        "start adds, ms": median["start_light_median"] - median["provider_median"],
    }
    for name, value in ratios.items():
        print(f"  {name:<20} {value:10.2f}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "throughput.json").write_text(json.dumps({"rows": rows, "median": median, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()

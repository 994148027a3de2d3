"""What every bench needs beside what it measures: processes pinned to cores, a store, a provider that answers at once, the service, its baselines.

The service, or a baseline, has the first core; the load generator, the store and the provider have the second. Everything is on loopback and ends
with the block that began it.
"""

import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from redis import Redis

from app.api.clients import Kind, clients_entry, new_key
from app.processes import die_with_parent
from app.store.embedded import embedded_server, socket_of
from app.verification.signing_keys import new_signing_key, write_signing_keys
from bench.generator import Requests
from bench.load import load, post

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CONNECTIONS = 32

WIDE_OPEN = {
    "LASTDIGITS_MAX_ATTEMPTS": "10",
    "LASTDIGITS_MAX_GUESS_PROBABILITY": "0.9",
    "LASTDIGITS_SPEND_PER_HOUR": "400000",
    "LASTDIGITS_SPEND_PER_DAY": "400000",
    "LASTDIGITS_CALLS_TOTAL": "100000000/second",
    "LASTDIGITS_FRAUD_CALLS_PER_RANGE": "1000000",
    "LASTDIGITS_FRAUD_CALLS_PER_COUNTRY": "1000000000",
    "LASTDIGITS_SPRAY_ALERT": "1000000000",
}
"""So that each check is compared and each start calls; what the limits count costs the same."""


@dataclass(frozen=True)
class Served:
    """A server that is measured.

    Attributes:
        port: where it listens.
        pid: of its first process.
    """

    port: int
    pid: int

    def cpu(self) -> float:
        """Seconds of CPU that it and its workers have taken."""
        return sum(cpu_of(pid) for pid in family(self.pid))


@dataclass(frozen=True)
class Stand:
    """Everything that runs while it is measured."""

    service: Served
    baselines: dict[str, Served]
    store: Served
    socket: Path
    provider_port: int
    key: str


def pinned(*cores: int) -> list[str]:
    """A prefix that pins a command, where this machine can and there are two cores."""
    if len(CORES) < 2:
        return []
    wanted = {CORES[core] for core in cores}
    return [
        sys.executable,
        "-c",
        f"import os,sys; os.sched_setaffinity(0, {wanted}); os.execvp(sys.argv[1], sys.argv[1:])",
    ]


@contextmanager
def process(
    cores: tuple[int, ...],
    arguments: list[str],
    environ: dict[str, str] | None = None,
    stdout: IO[str] | int | None = subprocess.DEVNULL,
) -> Iterator["subprocess.Popen[str]"]:
    """Run this Python with arguments, on some cores."""
    command = [*pinned(*cores), sys.executable, *arguments]
    child = subprocess.Popen(
        command,
        text=True,
        cwd=ROOT,
        env=environ,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  one system call, before any thread of this process exists
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def await_port(port: int) -> None:
    """Wait until something listens."""
    for _ in range(400):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def cpu_of(pid: int) -> float:
    """Seconds of CPU, its own and the kernel's for it, that a process has taken; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def family(pid: int) -> list[int]:
    """A process and its descendants, except the store."""
    found = [pid]
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split():
            if "valkey-server" not in Path(f"/proc/{child}/cmdline").read_text("utf-8"):
                found += family(int(child))
    return found


def settings(directory: Path, key: str, **others: str) -> dict[str, str]:
    """The environment of a service whose client has a key; its files lie in a directory."""
    (directory / "clients.toml").write_text(clients_entry("bench", Kind.SECRET, key), "utf-8")
    (directory / "signing-keys.json").write_text(write_signing_keys((new_signing_key(),)), "utf-8")
    own = {
        "LASTDIGITS_PROVIDER_API_KEY": "bench",
        "LASTDIGITS_CLIENTS_FILE": str(directory / "clients.toml"),
        "LASTDIGITS_SIGNING_KEYS_FILE": str(directory / "signing-keys.json"),
        "LASTDIGITS_PEPPER": secrets.token_hex(32),
        "LASTDIGITS_LOG_FORMAT": "json",
        "LASTDIGITS_LOG_LEVEL": os.environ.get("BENCH_LOG_LEVEL", "warning"),
    }
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
    return outer | own | WIDE_OPEN | others


@contextmanager
def guard_status(
    *baselines: str, workers: int = 1, cores: tuple[int, ...] = (0,), serve: str = "app.cli"
) -> Iterator[Stand]:
    """Run a store, a provider, the service and baselines.

    Args:
        baselines: of bench/baselines.py.
        workers: of the service.
        cores: of the service and the baselines.
        serve: the module that serves: `app.cli`, or a variant of it.
    """
    key = new_key(Kind.SECRET)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        if len(CORES) > 1:
            os.sched_setaffinity(0, {CORES[1]})  # for this process and the store that it starts
        store = stack.enter_context(embedded_server(directory / "store"))
        valkey = socket_of(directory / "store")
        with Redis(unix_socket_path=str(valkey)) as server:
            # As most run it. Else what the disk does is measured: while the file is rewritten, every few seconds here, p99 is three times as long.
            server.config_set("appendonly", "no")
        provider = stack.enter_context(process((1,), ["-m", "bench.lean_provider"], stdout=subprocess.PIPE))
        assert provider.stdout
        provider_port = int(provider.stdout.readline())
        port = free_port()
        environ = settings(
            directory,
            key,
            LASTDIGITS_PORT=str(port),
            LASTDIGITS_WORKERS=str(workers),
            LASTDIGITS_PROVIDER_URL=f"http://127.0.0.1:{provider_port}/api/call-password/send/",
            LASTDIGITS_REDIS_URL=f"unix://{valkey}",
        )
        service = stack.enter_context(process(cores, ["-m", serve, "serve"], environ))
        others = {}
        for baseline in baselines:
            its_port = free_port()
            where = [] if baseline == "route" else [str(valkey)]
            child = stack.enter_context(
                process(cores, ["-m", "bench.baselines", baseline, str(its_port), *where], environ)
            )
            others[baseline] = Served(its_port, child.pid)
        for each in (port, *(served.port for served in others.values())):
            await_port(each)
        yield Stand(Served(port, service.pid), others, Served(0, store.pid), valkey, provider_port, key)


def starts(key: str) -> Requests:
    """A phone that was never called, each time."""
    first = secrets.randbelow(10_000_000)
    numbers = itertools.count(first)
    lua = f"""
local n = {first}
function body() n = n + 1; return string.format('{{"phone": "+7916%07d"}}', n % 10000000) end
"""
    return Requests("/verify/start", key, lua, lambda: b'{"phone": "+7916%07d"}' % (next(numbers) % 10_000_000))


def checks(key: str, ids: list[str]) -> Requests:
    """Wrong codes, each verification in turn, so that none is locked before it has to be."""
    turn = itertools.cycle(ids)
    lua = f"""
local ids, n = {{{",".join(f"'{each}'" for each in ids)}}}, 0
function body() n = n % #ids + 1; return '{{"id": "' .. ids[n] .. '", "code": "9999"}}' end
"""
    return Requests("/verify/check", key, lua, lambda: b'{"id": "%s", "code": "9999"}' % next(turn).encode())


def begin(stand: Stand, seconds: float) -> list[str]:
    """Verifications to guess at: as many as are started in so long."""
    requests = starts(stand.key)
    make = lambda: post(requests.path, requests.make(), Authorization=f"Bearer {stand.key}")  # noqa: E731
    found = load(stand.service.port, make, connections=CONNECTIONS, seconds=seconds, keep=True)
    if set(found.statuses) != {201}:
        raise SystemExit(f"starts were answered with {dict(found.statuses)}")
    return [json.loads(body)["id"] for body in found.bodies]


def write_result(name: str, result: object) -> None:
    """Keep a bench's figures as bench/results/NAME.json, which bench/plot.py draws."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")

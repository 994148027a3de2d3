"""What every bench runs: a Valkey over TCP, a provider that answers at once, and servers, all on loopback; they end with the block that began them.

What is measured has the first core. The load generator, the store and the provider have the second.
"""

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

from app.api.clients import Kind, clients_entry, new_key
from app.processes import die_with_parent
from app.store.embedded import server_binary
from app.verification.signing_keys import new_signing_key, write_signing_keys
from bench.records import CLIENT

ROOT = Path(__file__).parent.parent
CORES = sorted(os.sched_getaffinity(0))
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
"""No limit is off: each counts as ever, and lets everything through."""

UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
SERVERS = {
    "service": ("app.cli", "serve"),
    "a command each": ("bench.variants", "single_commands"),
    "FastAPI's route": ("bench.variants", "fastapi_routes"),
    "plain": ("uvicorn", "bench.plain:app", *UVICORN),
    "forty lines": ("uvicorn", "bench.forty_lines:app", *UVICORN),
}
"""What can be measured, by the module that serves it and its arguments."""


@dataclass(frozen=True)
class Served:
    """A server: where it listens, and its process."""

    port: int
    process: "subprocess.Popen[str]"

    def cpu(self) -> float:
        """Seconds of CPU that it has taken, the kernel's work for it included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MiB that it holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Stand:
    """Everything that runs while it is measured."""

    key: str
    store: Served
    servers: dict[str, Served]


@contextmanager
def process(
    core: int | None, *command: str, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL, **environ: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command on a core, or on any."""

    def prepare(parent: int) -> None:
        os.sched_setaffinity(0, CORES if core is None else {CORES[core % len(CORES)]})
        die_with_parent(parent)

    child = subprocess.Popen(
        command,
        text=True,
        cwd=ROOT,
        env=os.environ | environ,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=partial(prepare, os.getpid()),  # noqa: PLW1509  system calls only, before any thread of this process exists
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
    for _ in range(600):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


@contextmanager
def valkey(core: int = 1) -> Iterator[Served]:
    """A store of its own, without a file on disk: else what the disk does is measured."""
    port = free_port()
    with process(core, str(server_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "") as child:
        await_port(port)
        yield Served(port, child)


@contextmanager
def lean_provider() -> Iterator[int]:
    """A provider that answers at once; yields its port."""
    with process(1, sys.executable, "-m", "bench.lean_provider", stdout=subprocess.PIPE) as child:
        assert child.stdout
        yield int(child.stdout.readline())


def configure(directory: Path) -> str:
    """Set the environment of the service and of this process, with its files in a directory; returns the client's key."""
    key = new_key(Kind.SECRET)
    (directory / "clients.toml").write_text(clients_entry(CLIENT.id, Kind.SECRET, key), "utf-8")
    (directory / "signing-keys.json").write_text(write_signing_keys((new_signing_key(),)), "utf-8")
    for name in [name for name in os.environ if name.startswith("LASTDIGITS_")]:
        del os.environ[name]
    os.environ |= WIDE_OPEN | {
        "LASTDIGITS_PROVIDER_API_KEY": "bench",
        "LASTDIGITS_CLIENTS_FILE": str(directory / "clients.toml"),
        "LASTDIGITS_SIGNING_KEYS_FILE": str(directory / "signing-keys.json"),
        "LASTDIGITS_PEPPER": secrets.token_hex(32),
        "LASTDIGITS_REDIS_TIMEOUT": "10",  # a busy machine is slow, and that is not what is measured
        "LASTDIGITS_LOG_FORMAT": "json",
        "LASTDIGITS_LOG_LEVEL": "warning",
    }
    return key


@contextmanager
def stand(
    *servers: str, provider_port: int | None = None, log: int = subprocess.DEVNULL, **settings: str
) -> Iterator[Stand]:
    """Run a store, a provider, and some of `SERVERS`.

    Args:
        servers: their names.
        provider_port: where another provider listens.
        log: the file that the servers write their logs to.
        settings: of the service, without their prefix.
    """
    with ExitStack() as stack:
        key = configure(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        os.sched_setaffinity(0, {CORES[-1]})
        store = stack.enter_context(valkey())
        url = f"http://127.0.0.1:{provider_port or stack.enter_context(lean_provider())}/"
        redis_url = f"redis://127.0.0.1:{store.port}/0"
        os.environ |= {"LASTDIGITS_REDIS_URL": redis_url, "LASTDIGITS_PROVIDER_URL": url}
        os.environ |= {f"LASTDIGITS_{name}": value for name, value in settings.items()}
        # For those that are no part of the service.
        os.environ |= {"REDIS_URL": redis_url, "PROVIDER_URL": url, "PROVIDER_API_KEY": "bench"}
        found = {}
        for name in servers:
            module, *arguments = SERVERS[name]
            port = free_port()
            at = ("--port", str(port)) if module == "uvicorn" else ()
            command = (sys.executable, "-m", module, *arguments, *at)
            child = stack.enter_context(process(0, *command, stderr=log, LASTDIGITS_PORT=str(port)))
            found[name] = Served(port, child)
        for served in found.values():
            await_port(served.port)
        yield Stand(key, store, found)

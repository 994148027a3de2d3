"""The service, the simulator and the processes they run in, as tests use them."""

import asyncio
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.clients import Kind, clients_entry, new_key
from app.store.connection import connect
from app.store.keys import Names
from app.verification.ids import IdCodec, VerificationRef
from app.verification.signing_keys import new_signing_key, write_signing_keys
from tests.older import PassingTime, make_older

PROVIDER_KEY = "provider-key-7d1f9c"
PEPPER = "pepper-of-the-tests-0123456789abcdef"
PREFIX = "{lastdigits}:"
ROOT = Path(__file__).parent.parent

_numbers = itertools.count(secrets.randbelow(5_000_000))


def fresh_phone() -> str:
    """A valid Russian mobile number that no other test uses."""
    return f"+7916{next(_numbers) % 10_000_000:07d}"


# ---- processes


def environment(given: dict[str, str]) -> dict[str, str]:
    """This process's, with `given` for its settings."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")}
    return plain | {"PYTHONPATH": str(ROOT)} | given


@contextmanager
def running(
    arguments: list[str], environ: dict[str, str], log: Path, ready: Callable[[str], str | None]
) -> Iterator[tuple[Any, str]]:
    """Run a command of ours until the block ends; yields the process and what `ready` found in its output."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments],
            env=environment(environ),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    try:
        yield process, _await(process, log, ready)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


MAX_START = 120
"""Seconds that a process may take until it is ready, on the busiest machine."""


def _await(process: Any, log: Path, ready: Callable[[str], str | None]) -> str:
    deadline = time.monotonic() + MAX_START
    while time.monotonic() < deadline and process.poll() is None:
        if found := ready(log.read_text("utf-8", "replace")):
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not get ready:\n{log.read_text('utf-8', 'replace')}")


def logged_address(output: str) -> str | None:
    """Where the service says that it listens."""
    for line in output.splitlines():
        if '"serving"' in line:
            return str(json.loads(line)["address"])
    return None


# ---- the provider


@dataclass(frozen=True)
class Simulator:
    url: str
    http: httpx.Client

    @property
    def send_url(self) -> str:
        return f"{self.url}/api/call-password/send/"

    def calls(self, phone: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self.http.get(f"/calls/{phone.lstrip('+')}").json()["calls"]
        return answer

    def count(self, phone: str) -> int:
        return int(self.http.get(f"/calls/{phone.lstrip('+')}").json()["count"])

    def code(self, phone: str) -> str:
        """The code of the last call to a phone."""
        return str(self.calls(phone)[0]["code"])

    def behave(self, phone: str, **behaviour: Any) -> None:
        answer = self.http.put(f"/behaviour/{phone.lstrip('+')}", json=behaviour)
        assert answer.status_code < 300, answer.text


@contextmanager
def simulating(directory: Path, *options: str) -> Iterator[Simulator]:
    """Run the provider's stand-in.

    Args:
        directory: where its output goes.
        options: of its command line, besides.
    """
    directory.mkdir(parents=True, exist_ok=True)
    accounts = ("--api-key", PROVIDER_KEY, "--login", "user", "--password", "provider-password-1")
    command = ["simulator", "--port", "0", *accounts, *options]

    def address(output: str) -> str | None:
        return output.partition("simulator on ")[2].split("\n")[0] or None

    with running(command, {}, directory / "log", address) as (_, url), httpx.Client(base_url=url, timeout=10) as http:
        yield Simulator(url, http)


# ---- the service


@dataclass
class Service:
    url: str
    process: Any
    log: Path
    keys: dict[str, str]
    settings: dict[str, str]
    directory: Path
    http: httpx.Client = field(init=False)
    passed: int = 0
    """Milliseconds that have passed by `later`."""

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def headers(self, client: str = "backend") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[client]}"}

    def post(self, path: str, body: Any = None, client: str = "backend", **options: Any) -> httpx.Response:
        return self.http.post(
            path, json=body, headers={**self.headers(client), **options.pop("headers", {})}, **options
        )

    def get(self, path: str, client: str = "backend") -> httpx.Response:
        return self.http.get(path, headers=self.headers(client))

    def start(
        self, phone: str, client: str = "backend", headers: Mapping[str, Any] | None = None, /, **members: Any
    ) -> httpx.Response:
        return self.post("/verify/start", {"phone": phone, **members}, client, headers=headers or {})

    def check(self, verification_id: str, code: str, client: str = "backend") -> httpx.Response:
        return self.post("/verify/check", {"id": verification_id, "code": code}, client)

    def begin(self, simulator: Simulator, phone: str = "", client: str = "backend", **members: Any) -> tuple[str, str]:
        """Start a verification, of a phone of its own unless one is given; its id and its code."""
        phone = phone or fresh_phone()
        answer = self.start(phone, client, **members)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"], simulator.code(phone)

    def asynchronous(self, client: str = "backend") -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=120)
        return httpx.AsyncClient(base_url=self.url, headers=self.headers(client), timeout=30, limits=limits)

    def at_once(
        self, path: str, bodies: Iterable[Any], client: str = "backend", headers: Iterable[Mapping[str, str]] = ()
    ) -> list[httpx.Response]:
        """Send all of these in parallel, each with headers of its own if there are any."""

        async def send() -> list[httpx.Response]:
            async with self.asynchronous(client) as http:
                pairs: Any = itertools.zip_longest(bodies, headers, fillvalue={})
                return await asyncio.gather(*(http.post(path, json=body, headers=own) for body, own in pairs))

        return asyncio.run(send())

    def later(self, seconds: float) -> None:
        """As if so much time had passed for all that the service keeps."""

        async def run() -> None:
            async with connect(self.settings["REDIS_URL"], 5) as client:
                passes = PassingTime(client, self.settings.get("KEY_PREFIX", PREFIX), self.passed)
                await passes(seconds)
                self.passed = passes.passed

        asyncio.run(run())

    def workers(self) -> list[int]:
        """The processes that answer requests: the children that uvicorn spawned."""
        command = ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(self.process.pid)]
        listing = subprocess.run(command, capture_output=True, text=True, check=True)
        return [int(line.split()[0]) for line in listing.stdout.splitlines() if "spawn_main" in line]

    def memory(self) -> float:
        """MiB that the process has: with one worker, it is that."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines() if line.startswith("{")]


CLIENTS: dict[str, dict[str, Any]] = {
    "backend": {"kind": Kind.SECRET},
    "other": {"kind": Kind.SECRET},
    "limited": {"kind": Kind.SECRET, "calls": "3/hour, 100/day"},
    "web": {"kind": Kind.PUBLIC, "origins": ("https://shop.example",), "audience": "backend"},
    "app": {"kind": Kind.PUBLIC, "native": True, "audience": "backend"},
    "hosted": {
        "kind": Kind.PUBLIC,
        "return_urls": ("https://shop.example/verified", "https://shop.example/v?step=2&next=/cart"),
        "audience": "backend",
    },
}


DEFAULTS = {
    "SPEND_PER_HOUR": "100",
    "SPEND_PER_DAY": "1000",
    "FRAUD_MIN_CONVERSION": "0.2",
    "SPRAY_ALERT": "100",
    "CALLS_TOTAL": "100/second",
}
"""What `serving` sets otherwise, as it comes."""


def clients_toml(keys: dict[str, str]) -> str:
    """A clients file for these keys, by the names of CLIENTS."""
    return "\n".join(clients_entry(name, key=key, **CLIENTS[name]) for name, key in keys.items())


@contextmanager
def serving(
    directory: Path, provider_url: str, keys: dict[str, str] | None = None, ready: int = 200, /, **settings: str
) -> Iterator[Service]:
    """Run the service as an operator does: a provider's key, a clients file, a store.

    Args:
        directory: where its files are.
        provider_url: where it asks for calls.
        keys: its clients' keys, by the names of CLIENTS; None makes them.
        ready: what /readyz answers at first.
        settings: without their prefix.
    """
    directory.mkdir(parents=True, exist_ok=True)
    keys = keys or {name: new_key(member["kind"]) for name, member in CLIENTS.items()}
    (directory / "clients.toml").write_text(clients_toml(keys), "utf-8")
    (directory / "signing-keys.json").write_text(write_signing_keys((new_signing_key(),)), "utf-8")
    given = {
        "PORT": "0",
        "LOG_FORMAT": "json",
        "PROVIDER_URL": provider_url,
        "PROVIDER_API_KEY": PROVIDER_KEY,
        "PROVIDER_CONNECT_TIMEOUT": "1",
        "PROVIDER_READ_TIMEOUT": "2",
        "PROVIDER_BREAKER_FAILURES": "0",  # tests that share a service have the provider fail many times in a row
        "CLIENTS_FILE": str(directory / "clients.toml"),
        "SIGNING_KEYS_FILE": str(directory / "signing-keys.json"),
        "REDIS_URL": f"embedded://{directory}/data",
        "PEPPER": PEPPER,
        "REDIS_TIMEOUT": "5",  # a machine that runs all tests at once is slower than an operator's
        "REDIS_START_WAIT": "0",  # tests that start without a store look at what it says then
        "WORKERS": "2",
        "SPEND_PER_HOUR": "100000",
        "SPEND_PER_DAY": "100000",
        "FRAUD_MIN_CONVERSION": "0",  # the phones of the tests lie in a few ranges, and most calls are never confirmed
        "SPRAY_ALERT": "0",
        "CALLS_TOTAL": "100000/second",
    } | settings
    environ = {f"LASTDIGITS_{name}": value for name, value in given.items()}
    with running(["serve"], environ, directory / "log", logged_address) as (process, url):
        service = Service(url, process, directory / "log", keys, given, directory)
        until(lambda: answers_with(service, "/readyz", ready), MAX_START, f"never ready: {directory}/log")
        try:
            yield service
        finally:
            service.http.close()


def service_with(**settings: str) -> Any:
    """A fixture of a module: a service with these settings."""

    @pytest.fixture(scope="module")
    def of_module(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Service]:
        with serving(tmp_path_factory.mktemp("service"), simulator.send_url, **settings) as service:
            yield service

    return of_module


def answers_with(service: Service, path: str, status: int) -> bool:
    """Whether a route answers so; one that does not answer at all does not."""
    try:
        return service.http.get(path).status_code == status
    except httpx.TransportError:
        return False


def until(holds: Callable[[], object], seconds: float = 20, why: str = "") -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def wrong(code: str, nth: int = 1) -> str:
    """A code that is not this one."""
    return f"{(int(code) + nth) % 10 ** len(code):0{len(code)}d}"


def names_of(service: Service) -> Names:
    """The names of the service's keys."""
    codec = IdCodec(service.settings["PEPPER"].encode())
    return Names(service.settings.get("KEY_PREFIX", PREFIX), codec.pepper, None)  # type: ignore[arg-type]  # no limit is named


def ref_of(service: Service, verification_id: str) -> VerificationRef:
    """What an id opens to."""
    ref = IdCodec(service.settings["PEPPER"].encode()).open(verification_id)
    assert ref
    return ref


async def wait_out_the_cooldown(service: Service, verification_id: str, seconds: float = 30) -> None:
    """As if a resend cooldown, by default the first, had passed since the last call."""
    async with connect(service.settings["REDIS_URL"], 5) as client:
        await make_older(client, names_of(service), seconds, ref_of(service, verification_id))

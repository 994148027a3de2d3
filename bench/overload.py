"""More than the service can take: a provider that hangs, idle connections, a flood of bad requests, twice the load that it can serve.

python -m bench.overload [hang] [idle] [flood] [load]      without a name all four, some four minutes

The service is one worker on the first core, with the log as it comes; everything else has the second. docs/reliability.md has what came out.
"""

import argparse
import asyncio
import gc
import itertools
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import uvloop

from bench.records import opened_store
from bench.stand import CORES, Served, await_port, configure, free_port, process, valkey
from bench.throughput import starts

CHECKED, PATIENCE = '"code":"code_incorrect"', 20.0
"""A right answer to a check, and seconds after which a request counts as never answered."""

CHECKS_PER_START = 3
RECOVERED = 2.0
"""Times its quiet value that a check's p99 may be when the service counts as back to normal."""


@dataclass(frozen=True)
class Subject:
    """The service under load, its log, its client's key, and its store."""

    served: Served
    log: Path
    key: str

    @property
    def port(self) -> int:
        return self.served.port

    def memory(self) -> float:
        """MiB that it holds."""
        status = Path(f"/proc/{self.served.process.pid}/status").read_text("utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def counted(self, name: str) -> dict[str, float]:
        """A counter's series in /metrics, by their labels."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        return {labels: float(value) for labels, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)}


@contextmanager
def serving(provider_port: int, **settings: str) -> Iterator[Subject]:
    """Run the service with a store of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key = configure(directory)
        os.sched_setaffinity(0, {CORES[-1]})
        store = stack.enter_context(valkey())
        os.environ |= {
            "LASTDIGITS_REDIS_URL": f"redis://127.0.0.1:{store.port}/0",
            "LASTDIGITS_PROVIDER_URL": f"http://127.0.0.1:{provider_port}/",
            "LASTDIGITS_REDIS_TIMEOUT": "1",  # as it comes: it is part of what happens under load
            "LASTDIGITS_LOG_LEVEL": "info",
            "LASTDIGITS_TRUSTED_PROXIES": "127.0.0.1",  # as behind nginx: the connections of a proxy have no bound
        } | {f"LASTDIGITS_{name}": value for name, value in settings.items()}
        log, port = directory / "log", free_port()
        with log.open("wb") as output:
            command = (sys.executable, "-m", "app.cli", "serve")
            child = stack.enter_context(process(0, *command, stderr=output.fileno(), LASTDIGITS_PORT=str(port)))
        await_port(port)
        yield Subject(Served(port, child), log, key)


# ---- a client that sends on time, whether or not answers come


@dataclass
class Seen:
    """What became of requests: codes and their numbers, seconds until an answer, and those never answered."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    lost: int = 0

    def add(self, code: str, seconds: float) -> None:
        self.codes[code] += 1
        self.seconds.setdefault(code, []).append(seconds)

    def p99(self, *codes: str) -> float:
        """Milliseconds."""
        every = sorted(itertools.chain.from_iterable(self.seconds.get(code, []) for code in codes or self.seconds))
        return every[int(len(every) * 0.99)] * 1e3 if every else float("nan")


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, free: list["Connection"]) -> None:
        self._free = free
        self._buffer = b""
        self.answered: Callable[[str | None], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, answered: Callable[[str | None], None]) -> None:
        self.answered = answered
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        code = re.search(rb'"code":"(\w+)"', rest)
        closing, self._buffer = b"connection: close" in head.lower(), b""
        self._end(code[1].decode() if code else head.split(b" ", 2)[1].decode())
        if not closing:
            self._free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self in self._free:
            self._free.remove(self)
        self._end(None)

    def _end(self, code: str | None) -> None:
        if self.answered:
            answered, self.answered = self.answered, None
            answered(code)


def _answer(answered: "asyncio.Future[str | None]", code: str | None) -> None:
    if not answered.done():
        answered.set_result(code)


class Client:
    """Sends each request when it is due: over a connection that is free, or else a new one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[Connection] = []
        self._opened: list[Connection] = []

    async def send(self, request: bytes, seen: Seen) -> None:
        began = time.perf_counter()
        answered: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PATIENCE):
                connection = self._free.pop() if self._free else await self._connect()
                connection.send(request, partial(_answer, answered))
                code = await answered
        except (OSError, TimeoutError):
            code = None
        if code is None:
            seen.lost += 1
        else:
            seen.add(code, time.perf_counter() - began)

    async def at_rate(self, rate: float, seconds: float, requests: Iterator[tuple[str, bytes]]) -> dict[str, Seen]:
        """Send so many a second, for so long; then wait for what is under way."""
        seen: dict[str, Seen] = {}
        begun, tasks = time.perf_counter(), set[asyncio.Task[None]]()
        for number in range(int(rate * seconds)):
            if (early := begun + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            elif number % 32 == 0:
                await asyncio.sleep(0)
            kind, request = next(requests)
            task = asyncio.ensure_future(self.send(request, seen.setdefault(kind, Seen())))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.wait(tasks)
        return seen

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._free), "127.0.0.1", self._port)
        self._opened.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._opened:
            connection.transport.abort()


def post(key: str, path: str, body: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def checks_of(subject: Subject, count: int) -> Iterator[bytes]:
    """Wrong codes, without end: ten for each of so many verifications, again and again: later ones are locked."""
    async with opened_store(os.environ["LASTDIGITS_REDIS_URL"]) as records:
        refs = await records.open(count)
    bodies = [f'{{"id":"{ref.id}","code":"9999"}}' for ref in refs for _ in range(10)]
    return itertools.cycle([post(subject.key, "/verify/check", body) for body in bodies])


def starts_of(subject: Subject) -> Iterator[bytes]:
    """Starts of phones that no one called before."""
    while True:
        for body in starts(subject.key, 1000).bodies:
            yield post(subject.key, "/verify/start", body)


async def probe(client: Client, checks: Iterator[bytes], count: int = 300, rate: float = 100) -> float:
    """The p99 of a check in milliseconds, under a light load."""
    seen = await client.at_rate(rate, count / rate, (("check", request) for request in checks))
    if seen["check"].lost:
        raise SystemExit(f"{seen['check'].lost} checks were not answered")
    return seen["check"].p99()


async def measure(subject: Subject, client: Client, checks: Iterator[bytes]) -> tuple[float, float]:
    """A check's p99 in milliseconds, and its CPU in microseconds, under a light load: other programs add much to the one, and little to the other."""
    before, count = subject.served.cpu(), 1000
    p99 = await probe(client, checks, count, 200)
    return p99, (subject.served.cpu() - before) / count * 1e6


# ---- a provider that hangs


@asynccontextmanager
async def hanging_provider() -> AsyncIterator[int]:
    """Accepts everything, and answers nothing."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0, backlog=2048)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def hang(waves: int = 3) -> None:
    """A thousand starts at once, while the provider answers nothing for 10 s; and again. The breaker is off: it would refuse the second thousand."""
    async with hanging_provider() as provider_port:
        with serving(provider_port, PROVIDER_BREAKER_FAILURES="0") as subject:
            client, starts = Client(subject.port), starts_of(subject)
            checks = await checks_of(subject, 2000)
            await probe(client, checks)
            memory = subject.memory()
            print(
                f"hang: {waves} times 1,000 starts at once, and the provider answers nothing; {memory:.1f} MiB before"
            )
            for _ in range(waves):
                quiet, ended, cpu = await measure(subject, client, checks), Seen(), subject.served.cpu()
                waiting = [asyncio.ensure_future(client.send(next(starts), ended)) for _ in range(1000)]
                while sum(not task.done() for task in waiting) > 200:  # noqa: ASYNC110  twice the pool's size are let in
                    await asyncio.sleep(0.02)
                cpu = subject.served.cpu() - cpu
                hung = await measure(subject, client, checks)
                still = sum(not task.done() for task in waiting)
                await asyncio.gather(*waiting)
                print(f"  {dict(ended.codes)}, {ended.lost} lost; the thousand took {cpu:.2f} s of CPU")
                print(f"    a check: {compared(quiet, hung)}, with 200 starts waiting, {still} of them to the end")
                print(f"    memory: {subject.memory():.1f} MiB after")
            client.close()


def compared(quiet: tuple[float, float], now: tuple[float, float]) -> str:
    return f"p99 {quiet[0]:.1f} ms when quiet, {now[0]:.1f} now; CPU {quiet[1]:.0f} µs, {now[1]:.0f} now"


# ---- idle connections


async def idle() -> None:
    """Ten thousand connections that have made one request and are kept; 125 from each of 80 addresses."""
    async with hanging_provider() as provider_port:
        with serving(provider_port) as subject:
            client = Client(subject.port)
            checks = await checks_of(subject, 2000)
            await probe(client, checks)
            quiet, memory = await measure(subject, client, checks), subject.memory()
            loop, free, lost = asyncio.get_running_loop(), list[Connection](), Seen()
            began = time.perf_counter()
            for number in range(10_000):
                _, held = await loop.create_connection(
                    lambda: Connection(free), "127.0.0.1", subject.port, local_addr=(f"127.0.1.{1 + number // 125}", 0)
                )
                held.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", lambda code: lost.add(str(code), 0))
            took = time.perf_counter() - began
            during = await measure(subject, client, checks)
            print(
                f"idle: {len(free)} of 10,000 connections are kept {took:.0f} s after the first; answers {dict(lost.codes)}"
            )
            print(f"  a check: {compared(quiet, during)}")
            print(f"  memory: {memory:.1f} MiB before, {subject.memory():.1f} with them")
            for connection in list(free):
                connection.transport.abort()
            client.close()


# ---- a flood of bad requests

BAD: dict[str, Callable[[str, int], bytes]] = {
    "no key": lambda _, n: (
        f"POST /verify/check HTTP/1.1\r\nHost: a\r\nContent-Length: {len(str(n))}\r\n\r\n{n}".encode()
    ),
    "an unknown key": lambda _, n: post(f"sk_unknown{n}", "/verify/check", "{}"),
    "an invented path": lambda _, n: f"GET /wp-login-{n}.php HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "no JSON": lambda key, n: post(key, "/verify/start", f"{{{n}"),
    "invalid fields": lambda key, n: post(key, "/verify/start", f'{{"phone": {n}}}'),
    "no phone": lambda key, n: post(key, "/verify/start", f'{{"phone": "{n}"}}'),
    "an invented id": lambda key, n: post(key, "/verify/check", f'{{"id": "vrf_{n}", "code": "1234"}}'),
    "no HTTP": lambda _, n: f"\x16\x03\x01 {n}\r\n\r\n".encode(),
}


async def flood(seconds: int = 20) -> None:
    """Each kind of bad request, as fast as answers come."""
    async with hanging_provider() as provider_port:
        with serving(provider_port) as subject:
            total, size = 0, subject.log.stat().st_size
            lines = subject.log.read_bytes().count(b"\n")
            print("flood: as fast as 64 connections take answers")
            for name, make in BAD.items():
                before, began = subject.counted("lastdigits_http_requests_total"), time.perf_counter()
                sent = await _blast(subject, make, seconds / len(BAD))
                took = time.perf_counter() - began
                after = subject.counted("lastdigits_http_requests_total")
                counted = sum(after.values()) - sum(before.values()) - 1  # the scrape before
                total += sent
                print(f"  {name}: {sent} in {took:.1f} s, {counted:.0f} counted")
            await asyncio.sleep(11)  # the lines that say how many were left out
            more = subject.log.read_bytes().count(b"\n") - lines
            grown = subject.log.stat().st_size - size
            print(f"  log: {more} lines, {grown} bytes for {total} requests: {grown / total:.3f} bytes a request")


async def _blast(subject: Subject, make: Callable[[str, int], bytes], seconds: float) -> int:
    client, seen, end = Client(subject.port), Seen(), time.perf_counter() + seconds
    numbers = itertools.count()

    async def loop() -> None:
        while time.perf_counter() < end:
            await client.send(make(subject.key, next(numbers)), seen)

    await asyncio.gather(*(loop() for _ in range(64)))
    client.close()
    if seen.lost:
        print(f"  {seen.lost} were not answered")
    return seen.codes.total()


# ---- twice the load


async def load(seconds: int = int(os.environ.get("BENCH_SECONDS", "60"))) -> None:
    """Three checks to a start, twice as many as it can serve."""
    with ExitStack() as stack:
        provider = stack.enter_context(process(1, sys.executable, "-m", "bench.lean_provider", stdout=-1))
        assert provider.stdout
        subject = stack.enter_context(serving(int(provider.stdout.readline())))
        client, starts = Client(subject.port), starts_of(subject)
        checks = await checks_of(subject, 5000)
        mixed = _mixed(checks, starts)
        await probe(client, checks)
        quiet = await probe(client, checks, 500)
        sustainable = await _sustainable(client, mixed)
        rate, memory, cpu = 2 * sustainable, subject.memory(), subject.served.cpu()
        print(f"load: serves {sustainable:.0f} requests/s, three checks to a start; gets {rate:.0f} for {seconds} s")
        seen = await client.at_rate(rate, seconds, mixed)
        ended, cpu = time.perf_counter(), subject.served.cpu() - cpu
        print(f"  it had {cpu:.1f} s of CPU, {cpu / seen_total(seen) * 1e6:.0f} µs an answer")
        for kind, what in seen.items():
            served = {"check": ("code_incorrect", "attempts_exhausted"), "start": ("201",)}[kind]
            share = sum(what.codes[code] for code in served) / what.codes.total()
            print(
                f"  {kind}: {dict(what.codes)}, {what.lost} never answered; {share:.0%} served, p99 of all {what.p99():.0f} ms"
            )
        print(f"  memory: {memory:.1f} MiB before, {subject.memory():.1f} after; p99 of a check before {quiet:.1f} ms")
        await _recovery(client, checks, quiet, ended)
        client.close()


def seen_total(seen: dict[str, Seen]) -> int:
    return sum(what.codes.total() for what in seen.values())


def _mixed(checks: Iterator[bytes], starts: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    for number in itertools.count():
        yield ("check", next(checks)) if number % (CHECKS_PER_START + 1) else ("start", next(starts))


async def _sustainable(client: Client, mixed: Iterator[tuple[str, bytes]], seconds: float = 8) -> float:
    """Requests a second that 32 connections get answered."""
    seen, end, count = Seen(), time.perf_counter() + seconds, 0

    async def loop() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await client.send(next(mixed)[1], seen)
            count += 1

    await asyncio.gather(*(loop() for _ in range(32)))
    return count / seconds


async def _recovery(client: Client, checks: Iterator[bytes], quiet: float, ended: float) -> None:
    """Seconds until a check is as quick as it was, twice its quiet value at most."""
    for _ in range(30):
        began = time.perf_counter() - ended
        now = await probe(client, checks, 100)
        print(f"  {began:.1f} s after the last answer: p99 {now:.1f} ms")
        if now <= RECOVERED * quiet:
            return
    raise SystemExit("it did not get back to normal")


BENCHES: dict[str, Callable[[], Awaitable[None]]] = {"hang": hang, "idle": idle, "flood": flood, "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="of what to measure")
    gc.disable()  # the client's pauses are not what is measured
    for name in parser.parse_args().names or BENCHES:
        print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
        uvloop.run(cast("Callable[[], asyncio.coroutines.Coroutine]", BENCHES[name])())  # type: ignore[name-defined]


if __name__ == "__main__":
    main()

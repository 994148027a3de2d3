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
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import uvloop

from bench import throughput
from bench.load import post, read_answer
from bench.stand import Served, stand

TIMEOUT = 20.0
"""Seconds after which a request counts as never answered."""

CHECKS_PER_START = 3
RECOVERED = 2.0
"""Times its quiet value that a check's p99 may be when the service counts as back to normal."""

AS_IT_COMES = {
    "REDIS_TIMEOUT": "1",
    "LOG_LEVEL": "info",
    "TRUSTED_PROXIES": "127.0.0.1",  # as behind nginx: the connections of a proxy have no bound
}


@dataclass(frozen=True)
class Subject:
    """The service under load, its log, and its client's key."""

    served: Served
    log: Path
    key: str

    def counted(self) -> float:
        """Requests that /metrics has counted."""
        with urlopen(f"http://127.0.0.1:{self.served.port}/metrics") as answer:
            text = answer.read().decode()
        return sum(map(float, re.findall(r"^lastdigits_http_requests_total{.*} (\S+)$", text, re.MULTILINE)))


@contextmanager
def serving(provider_port: int | None = None, **settings: str) -> Iterator[Subject]:
    with (
        tempfile.NamedTemporaryFile() as log,
        stand("service", provider_port=provider_port, log=log.fileno(), **AS_IT_COMES | settings) as bench,
    ):
        yield Subject(bench.servers["service"], Path(log.name), bench.key)


def hanging_provider() -> socket.socket:
    """Takes connections, and answers nothing: no one accepts what the kernel has accepted."""
    return socket.create_server(("127.0.0.1", 0), backlog=4096)


# ---- a client that sends on time, whether or not answers come


@dataclass
class Seen:
    """What became of requests: codes and their numbers, seconds until an answer, and those never answered."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    lost: int = 0

    def p99(self) -> float:
        """Milliseconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] * 1e3 if self.seconds else float("nan")


class Client:
    """Sends each request when it is due: over a connection that is free, or else a new one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._opened: list[asyncio.StreamWriter] = []

    async def send(self, request: bytes, seen: Seen) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await self._connection()
                writer.write(request)
                head, body = await read_answer(reader)
        except (OSError, EOFError, TimeoutError):
            seen.lost += 1
            return
        if b"connection: close" not in head:
            self._free.append((reader, writer))
        code = re.search(rb'"code":"(\w+)"', body)
        seen.codes[(code[1] if code else head.split(b" ", 2)[1]).decode()] += 1
        seen.seconds.append(time.perf_counter() - began)

    async def at_rate(self, rate: float, seconds: float, requests: Iterator[tuple[str, bytes]]) -> dict[str, Seen]:
        """Send so many a second, for so long; then wait for what is under way."""
        seen: dict[str, Seen] = {}
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                if (early := begun + number / rate - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                elif number % 32 == 0:
                    await asyncio.sleep(0)
                kind, request = next(requests)
                group.create_task(self.send(request, seen.setdefault(kind, Seen())))
        return seen

    async def at_once(self, connections: int, seconds: float, requests: Iterator[bytes]) -> Seen:
        """Send as fast as so many connections take answers."""
        seen, end = Seen(), time.perf_counter() + seconds

        async def one_after_another() -> None:
            while time.perf_counter() < end:
                await self.send(next(requests), seen)

        await asyncio.gather(*(one_after_another() for _ in range(connections)))
        return seen

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._opened.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._opened:
            writer.transport.abort()


async def checks_of(subject: Subject, count: int) -> Iterator[bytes]:
    """Wrong codes, without end: ten for each of so many verifications, again and again: later ones are locked."""
    requests = await throughput.checks(subject.key, "", 10 * count)
    return itertools.cycle([post(subject.key, requests.path, body) for body in requests.bodies])


def starts_of(subject: Subject) -> Iterator[bytes]:
    """Starts of phones that no one called before."""
    while True:
        requests = throughput.starts(subject.key, 1000)
        yield from (post(subject.key, requests.path, body) for body in requests.bodies)


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


def compared(quiet: tuple[float, float], now: tuple[float, float]) -> str:
    return f"p99 {quiet[0]:.1f} ms when quiet, {now[0]:.1f} now; CPU {quiet[1]:.0f} µs, {now[1]:.0f} now"


# ---- a provider that hangs


async def hang(waves: int = 3) -> None:
    """A thousand starts at once, while the provider answers nothing for 10 s; and again. The breaker is off: it would refuse the second thousand."""
    with hanging_provider() as provider, serving(provider.getsockname()[1], PROVIDER_BREAKER_FAILURES="0") as subject:
        served, client, starts = subject.served, Client(subject.served.port), starts_of(subject)
        checks = await checks_of(subject, 2000)
        await probe(client, checks)
        memory = served.memory()
        print(f"hang: {waves} times 1,000 starts at once, and the provider answers nothing; {memory:.1f} MiB before")
        for _ in range(waves):
            quiet, ended, cpu = await measure(subject, client, checks), Seen(), served.cpu()
            waiting = [asyncio.ensure_future(client.send(next(starts), ended)) for _ in range(1000)]
            while sum(not task.done() for task in waiting) > 200:  # noqa: ASYNC110  twice the pool's size are let in
                await asyncio.sleep(0.02)
            cpu = served.cpu() - cpu
            hung = await measure(subject, client, checks)
            still = sum(not task.done() for task in waiting)
            await asyncio.gather(*waiting)
            print(f"  {dict(ended.codes)}, {ended.lost} lost; the thousand took {cpu:.2f} s of CPU")
            print(f"    a check: {compared(quiet, hung)}, with 200 starts waiting, {still} of them to the end")
            print(f"    memory: {served.memory():.1f} MiB after")
        client.close()


# ---- idle connections


async def idle() -> None:
    """Ten thousand connections that have made one request and are kept; 125 from each of 80 addresses."""
    with hanging_provider() as provider, serving(provider.getsockname()[1]) as subject:
        served, client = subject.served, Client(subject.served.port)
        checks = await checks_of(subject, 2000)
        await probe(client, checks)
        quiet, memory = await measure(subject, client, checks), served.memory()
        held, began = [], time.perf_counter()
        for number in range(10_000):
            local = (f"127.0.1.{1 + number // 125}", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=local)
            held.append((reader, writer))
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.gather(*(read_answer(reader) for reader, _ in held))
        took = time.perf_counter() - began
        during = await measure(subject, client, checks)
        kept = sum(not reader.at_eof() for reader, _ in held)
        print(f"idle: {kept} of 10,000 connections are kept {took:.0f} s after the first")
        print(f"  a check: {compared(quiet, during)}")
        print(f"  memory: {memory:.1f} MiB before, {served.memory():.1f} with them")
        for _, writer in held:
            writer.transport.abort()
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
    with hanging_provider() as provider, serving(provider.getsockname()[1]) as subject:
        total, before = 0, subject.log.read_bytes()
        print("flood: as fast as 64 connections take answers")
        for name, make in BAD.items():
            client, counted, began = Client(subject.served.port), subject.counted(), time.perf_counter()
            requests = (make(subject.key, number) for number in itertools.count())
            seen = await client.at_once(64, seconds / len(BAD), requests)
            took = time.perf_counter() - began
            client.close()
            counted = subject.counted() - counted - 1  # the scrape before
            sent = seen.codes.total()
            total += sent
            print(f"  {name}: {sent} in {took:.1f} s, {counted:.0f} counted, {seen.lost} not answered")
        await asyncio.sleep(11)  # the lines that say how many were left out
        grown = subject.log.read_bytes().removeprefix(before)
        lines = grown.count(b"\n")
        print(
            f"  log: {lines} lines, {len(grown)} bytes for {total} requests: {len(grown) / total:.3f} bytes a request"
        )


# ---- twice the load


async def load(seconds: int = int(os.environ.get("BENCH_SECONDS", "60"))) -> None:
    """Three checks to a start, twice as many as it can serve."""
    with serving() as subject:
        served, client = subject.served, Client(subject.served.port)
        checks = await checks_of(subject, 5000)
        mixed = _mixed(checks, starts_of(subject))
        await probe(client, checks)
        quiet = await probe(client, checks, 500)
        fastest = await client.at_once(32, 8, (request for _, request in mixed))
        sustainable = fastest.codes.total() / 8
        rate, memory, cpu = 2 * sustainable, served.memory(), served.cpu()
        print(f"load: serves {sustainable:.0f} requests/s, three checks to a start; gets {rate:.0f} for {seconds} s")
        seen = await client.at_rate(rate, seconds, mixed)
        ended, cpu = time.perf_counter(), served.cpu() - cpu
        answers = sum(what.codes.total() for what in seen.values())
        print(f"  it had {cpu:.1f} s of CPU, {cpu / answers * 1e6:.0f} µs an answer")
        for kind, what in seen.items():
            good = {"check": ("code_incorrect", "attempts_exhausted"), "start": ("201",)}[kind]
            share = sum(what.codes[code] for code in good) / what.codes.total()
            print(
                f"  {kind}: {dict(what.codes)}, {what.lost} never answered; {share:.0%} served, p99 {what.p99():.0f} ms"
            )
        print(f"  memory: {memory:.1f} MiB before, {served.memory():.1f} after; p99 of a check before {quiet:.1f} ms")
        await _recovery(client, checks, quiet, ended)
        client.close()


def _mixed(checks: Iterator[bytes], starts: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    for number in itertools.count():
        yield ("check", next(checks)) if number % (CHECKS_PER_START + 1) else ("start", next(starts))


async def _recovery(client: Client, checks: Iterator[bytes], quiet: float, ended: float) -> None:
    """Seconds until a check is as quick as it was, twice its quiet value at most."""
    for _ in range(30):
        began = time.perf_counter() - ended
        now = await probe(client, checks, 100)
        print(f"  {began:.1f} s after the last answer: p99 {now:.1f} ms")
        if now <= RECOVERED * quiet:
            return
    raise SystemExit("it did not get back to normal")


BENCHES: dict[str, Callable[[], Coroutine[None, None, None]]] = {
    "hang": hang,
    "idle": idle,
    "flood": flood,
    "load": load,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="of what to measure")
    gc.disable()  # the client's pauses are not what is measured
    for name in parser.parse_args().names or BENCHES:
        print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
        uvloop.run(BENCHES[name]())


if __name__ == "__main__":
    main()

"""Check and start on one core, against what people write, and both together: `make bench`.

python -m bench.throughput               some four minutes
python -m bench.throughput --floor 2.0   ends with 1 if a check costs more CPU than a plain one divided by this: less than a minute

Servers take turns on the first core; the load generator, the store and the provider have the second. A figure is the median of the repeats, with their
least and most. A ratio is the median of each repeat's own ratio. Rates and latencies suffer from whatever else the machine does, CPU much less.
"""

import argparse
import asyncio
import itertools
import os
import secrets
import statistics
import time
from dataclasses import dataclass

import uvloop

from bench.load import WRK, Load, Requests, blast, send
from bench.records import opened_store
from bench.stand import CONNECTIONS, Stand, stand

REPEATS = int(os.environ.get("BENCH_REPEATS", "7"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
MAX_RATE = {"check": 10_000, "start": 5_000}
"""Requests a second that no server here exceeds: so many bodies are made."""

CHECKS, STARTS = 300, 100
"""A second, together."""

CHECKED = {
    "service": '"code":"code_incorrect"',
    "plain": '"outcome":"incorrect"',
    "a command each": '"code":"code_incorrect"',
    "FastAPI's route": '"code":"code_incorrect"',
}
STARTED = '"status":"pending"'

phones = itertools.count(secrets.randbelow(10**7))


@dataclass(frozen=True)
class Seen:
    """One run: requests a second, p99 in milliseconds, and CPU microseconds a request, of the server and of the store."""

    rate: float
    p99: float
    cpu: float
    store_cpu: float

    @property
    def core(self) -> float:
        """Percent of its core that the server had: near 100 on a quiet machine, since the load is as much as it can take."""
        return self.rate * self.cpu / 1e4


def starts(key: str, count: int) -> Requests:
    """Phones that no one called before, each from an address of its own."""
    bodies = []
    for phone in itertools.islice(phones, count):
        number = phone % 10**7
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        bodies.append(f'{{"phone":"+7916{number:07d}","client_ip":"{address}"}}')
    return Requests(key, "/verify/start", bodies, STARTED)


async def checks(key: str, kind: str, count: int) -> Requests:
    """Wrong codes: ten for each verification, in a row."""
    async with opened_store(os.environ["REDIS_URL"]) as records:
        refs = await records.open(count // 10 + 1)
    return Requests(
        key, "/verify/check", [f'{{"id":"{ref.id}","code":"9999"}}' for ref in refs for _ in range(10)], kind
    )


def measure(bench: Stand, name: str, requests: Requests) -> Seen:
    """Load one server."""
    served = bench.servers[name]
    before = served.cpu(), bench.store.cpu()
    load = blast(served.port, requests, CONNECTIONS, SECONDS)
    cpu, store_cpu = (
        (after - was) / load.requests * 1e6
        for after, was in zip((served.cpu(), bench.store.cpu()), before, strict=True)
    )
    return Seen(load.requests / load.seconds, load.p99, cpu, store_cpu)


def requests_of(bench: Stand, kind: str, name: str) -> Requests:
    """Enough for one repeat."""
    count = MAX_RATE[kind] * SECONDS
    if kind == "start":
        return starts(bench.key, count)
    return uvloop.run(checks(bench.key, CHECKED[name], count if name != "plain" else 1))


def repeat(bench: Stand, turns: list[tuple[str, str]], repeats: int) -> dict[tuple[str, str], list[Seen]]:
    """All turns, again and again: forth and back, so that a drift of the machine hits all alike."""
    found: dict[tuple[str, str], list[Seen]] = {turn: [] for turn in turns}
    for number in range(repeats + 1):
        # All requests are made first: while this process has the second core, other programs move to the first.
        prepared = {turn: requests_of(bench, *turn) for turn in turns}
        time.sleep(1)
        for turn in turns if number % 2 else reversed(turns):
            seen = measure(bench, turn[1], prepared[turn])
            if number:  # the first one warms up
                found[turn].append(seen)
    return found


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def least(found: dict[tuple[str, str], list[Seen]], turn: tuple[str, str]) -> float:
    """How many times the service's CPU a server takes, each at its least: what else runs on the machine only adds to it."""
    return min(row.cpu for row in found[turn]) / min(row.cpu for row in found[turn[0], "service"])


def report(found: dict[tuple[str, str], list[Seen]]) -> None:
    """Two tables in Markdown: figures, and ratios to the service."""
    print("| | requests/s | p99, ms | CPU µs a request | of the store | % of its core |\n|---|---|---|---|---|---|")
    for (kind, name), rows in found.items():
        cells = (("rate", ",.0f"), ("p99", ".1f"), ("cpu", ".0f"), ("store_cpu", ".0f"), ("core", ".0f"))
        print(f"| {kind}, {name} |", " | ".join(spread([getattr(r, cell) for r in rows], f) for cell, f in cells), "|")
    print("\n| service to | rate | p99 | CPU, the other to the service | of the least |\n|---|---|---|---|---|")
    for (kind, name), rows in found.items():
        if name != "service":
            pairs = list(zip(found[kind, "service"], rows, strict=True))
            rate, p99 = ([getattr(a, cell) / getattr(b, cell) for a, b in pairs] for cell in ("rate", "p99"))
            cpu = [b.cpu / a.cpu for a, b in pairs]
            print(
                f"| {kind}, {name} | {spread(rate, '.2f')} | {spread(p99, '.2f')} | {spread(cpu, '.2f')} | {least(found, (kind, name)):.2f} |"
            )


async def mixed(bench: Stand, seconds: int) -> tuple[Load, Load]:
    """Checks and starts together, each at its rate."""
    port = bench.servers["service"].port
    guesses = await checks(bench.key, CHECKED["service"], CHECKS * seconds * 2)
    calls = starts(bench.key, STARTS * seconds * 2)
    return await asyncio.gather(
        send(port, guesses, CONNECTIONS, seconds, CHECKS), send(port, calls, CONNECTIONS, seconds, STARTS)
    )


def report_mixed(bench: Stand) -> None:
    found = [uvloop.run(mixed(bench, 2 * SECONDS)) for _ in range(REPEATS)]
    print(f"\n{CHECKS} checks and {STARTS} starts a second together, at random times:")
    for name, loads in zip(("check", "start"), zip(*found, strict=True), strict=True):
        print(f"  {name}: p99 {spread([load.p99 for load in loads], '.1f')} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floor", type=float, help="of a plain check's CPU to a check's: nothing else is measured")
    floor = parser.parse_args().floor
    turns = [("check", "service"), ("check", "plain")]
    if not floor:
        turns += [
            ("check", "a command each"),
            ("check", "FastAPI's route"),
            ("start", "service"),
            ("start", "forty lines"),
        ]
    print(
        f"{REPEATS} repeats of {SECONDS} s, {CONNECTIONS} connections, {WRK or 'bench/load.py'}, load {os.getloadavg()[0]:.1f}\n"
    )
    with stand(*dict.fromkeys(name for _, name in turns)) as bench:
        found = repeat(bench, turns, REPEATS)
        report(found)
        if not floor:
            report_mixed(bench)
    if floor and (ratio := least(found, ("check", "plain"))) < floor:
        raise SystemExit(f"a plain check costs {ratio:.2f} times the CPU of a check: it was {floor} at least")


if __name__ == "__main__":
    main()

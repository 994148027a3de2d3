"""Check and start on one core, against baselines on the same core in the same run: `make bench`.

In turn one core has: the service (one worker, everything on), a bare FastAPI route, a plain FastAPI route with one EVALSHA, and bare ASGI with
nothing but the same script (bench/baselines.py). The load generator, the store and a provider that answers at once have the other. Prints medians of
the repeats with their least and most: requests a second, p99, and CPU microseconds for each request, of the server and of the store. The last are the
steadier figures: what else the machine does takes time, but little CPU from them. Writes bench/results/throughput.json.

python -m bench.throughput --least 0.35     ends with 1 if a check takes more CPU than bare ASGI's by that ratio: it holds on any machine
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys

from app.store.connection import connect
from bench.baselines import guess
from bench.generator import NAME, Requests, blast
from bench.load import load, post
from bench.stand import CONNECTIONS, CORES, Served, Stand, begin, checks, guard_status, pinned, starts, write_result

REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
BASELINES = ("route", "plain", "bare")
LEAST = "check / bare, CPU"

Row = dict[str, float]


def measure(stand: Stand, served: Served, requests: Requests, seconds: float) -> Row:
    """One run against one server."""
    before = served.cpu(), stand.store.cpu()
    seen = blast(served.port, requests, CONNECTIONS, seconds)
    after = served.cpu(), stand.store.cpu()
    answered = seen.rate * max(1, round(seconds))
    cpu, store = ((end - start) / answered * 1e6 for start, end in zip(before, after, strict=True))
    return {"rate": seen.rate, "p99": seen.p99, "cpu": cpu, "store_cpu": store}


def one_repeat(stand: Stand) -> dict[str, Row]:
    """Everything once, so that a drift of the machine hits all alike."""
    # Enough of them that most have attempts left at the end: the rest are answered sooner.
    guesses = checks(stand.key, begin(stand, SECONDS))
    rows = {name: measure(stand, served, guesses, SECONDS) for name, served in stand.baselines.items()}
    rows["check"] = measure(stand, stand.service, guesses, SECONDS)
    rows["start"] = measure(stand, stand.service, starts(stand.key), SECONDS)
    send = post("/api/call-password/send/", b'{"number": "79161234567", "capacity": "4"}', Authorization="bench")
    alone = load(stand.provider_port, lambda: send, connections=1, seconds=1)
    calls = starts(stand.key)
    light = load(
        stand.service.port,
        lambda: post(calls.path, calls.make(), Authorization=f"Bearer {stand.key}"),
        connections=1,
        seconds=1,
    )
    rows["light"] = {"start": light.percentile(0.5), "provider": alone.percentile(0.5)}
    return rows


def median(rows: list[dict[str, Row]]) -> dict[str, Row]:
    """Of each figure over the repeats."""
    return {
        kind: {name: statistics.median(row[kind][name] for row in rows) for name in figures}
        for kind, figures in rows[0].items()
    }


def ratios_of(middle: dict[str, Row]) -> Row:
    """What stands against the baselines, as far as they were measured."""
    check, found = middle["check"], {}
    for baseline in BASELINES:
        if baseline in middle:
            found[f"check / {baseline}, requests/s"] = check["rate"] / middle[baseline]["rate"]
            if check["cpu"]:
                found[f"check / {baseline}, CPU"] = middle[baseline]["cpu"] / check["cpu"]
    found["start adds, ms"] = middle["light"]["start"] - middle["light"]["provider"]
    return found


def server_alone(stand: Stand) -> Row:
    """What the store answers to the same script by redis-benchmark, which has the first core: one command at a time, and 16 at once."""
    binary = shutil.which("redis-benchmark")
    if binary is None:
        return {}
    found = {}
    for depth in (1, 16):
        command = [*pinned(0), binary, "-s", str(stand.socket), "-n", "100000", "-P", str(depth), "-q"]
        script = asyncio.run(_without_nul(stand))
        done = subprocess.run([*command, *script], capture_output=True, check=True, timeout=120)
        rates = re.findall(rb"([\d.]+) requests per second", done.stdout)
        found[f"pipeline {depth}"] = float(rates[-1])
    return found


async def _without_nul(stand: Stand) -> list[bytes]:
    """The script's command; a process takes no argument with a NUL in it."""
    async with connect(f"unix://{stand.socket}", 5) as server:
        while True:
            command = [part if isinstance(part, bytes) else str(part).encode() for part in await guess(server)]
            if not any(b"\0" in part for part in command):
                return command


def report(rows: list[dict[str, Row]], ratios: Row, alone: Row) -> str:
    """A table for a person."""
    lines = [
        f"{REPEATS} repeats of {SECONDS:g} s, {CONNECTIONS} connections, {NAME}, Python {sys.version.split()[0]}, cores {CORES}",
        f"  {'':<8}{'requests/s':>28}{'p99, ms':>24}{'CPU µs a request':>26}{'of the store':>24}",
    ]
    for kind in [*(name for name in BASELINES if name in rows[0]), "check", "start"]:
        line = f"  {kind:<8}"
        for name, width in (("rate", 28), ("p99", 24), ("cpu", 26), ("store_cpu", 24)):
            values = [row[kind][name] for row in rows]
            form = ",.0f" if name != "p99" else ".1f"
            line += f"{f'{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})':>{width}}"
        lines.append(line)
    lines += [f"  {name:<28}{value:8.2f}" for name, value in ratios.items()]
    lines += [f"  the store alone, {name:<12}{value:10,.0f} scripts/s" for name, value in alone.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=0.0, help=f"the least that “{LEAST}” may be")
    least = parser.parse_args().least
    baselines = ("bare",) if least else BASELINES
    with guard_status(*baselines) as stand:
        begin(stand, 1)  # warms up
        for served in stand.baselines.values():
            blast(served.port, checks(stand.key, ["x"]), 4, 1)
        rows = [one_repeat(stand) for _ in range(REPEATS)]
        alone = {} if least else server_alone(stand)
    middle = median(rows)
    ratios = ratios_of(middle)
    print(report(rows, ratios, alone))
    if not alone and not least:
        print("  the store alone: left out, there is no redis-benchmark here")
    if not least:
        write_result("throughput", {"rows": rows, "median": middle, "ratios": ratios, "store alone": alone})
    ratio = ratios.get(LEAST, ratios["check / bare, requests/s"])
    if ratio < least:
        sys.exit(f"a check stands at {ratio:.2f} of bare ASGI with the same script: it was {least} at least")


if __name__ == "__main__":
    main()

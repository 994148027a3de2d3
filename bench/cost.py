"""What a worker takes: resident memory when it is fresh and after 100,000 requests, and the time until it is ready.

python -m bench.cost          some two minutes
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
import urllib.request

import uvloop

from bench.load import Requests, send
from bench.records import opened_store
from bench.stand import CONNECTIONS, Stand, free_port, process, stand
from bench.throughput import starts

REQUESTS = int(os.environ.get("BENCH_REQUESTS", "100000"))
STARTUPS = 5


async def use(bench: Stand, phones: int) -> None:
    """For each of so many phones a start; and for as many verifications a wrong code, the right one, and a body that is refused."""
    async with opened_store(os.environ["REDIS_URL"]) as records:
        ids = [ref.id for ref in await records.open(phones)]
    for requests in (
        starts(bench.key, phones),
        Requests(bench.key, "/verify/check", [f'{{"id":"{each}","code":"9999"}}' for each in ids], "code_incorrect"),
        Requests(bench.key, "/verify/check", [f'{{"id":"{each}","code":"0123"}}' for each in ids], "approved"),
        Requests(bench.key, "/verify/check", [f'{{"id":"{each}","code":5}}' for each in ids], "invalid_request"),
    ):
        await send(bench.servers["service"].port, requests, CONNECTIONS, float("inf"))


def ready(workers: int) -> float:
    """Seconds from the command until all workers have started and /readyz says 200."""
    port = free_port()
    os.environ |= {"LASTDIGITS_PORT": str(port), "LASTDIGITS_WORKERS": str(workers), "LASTDIGITS_LOG_LEVEL": "info"}
    begun = time.perf_counter()
    core = 0 if workers == 1 else None
    with process(core, sys.executable, "-m", "app.cli", "serve", stderr=subprocess.PIPE) as child:
        assert child.stderr
        started = (line for line in child.stderr if "startup complete" in line)
        if len(list(itertools.islice(started, workers))) < workers:
            raise SystemExit("a worker did not start")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):  # raises for another status than 200
            return time.perf_counter() - begun


def main() -> None:
    with stand("service") as bench:
        for workers in (1, 2):
            seconds = [ready(workers) for _ in range(STARTUPS + 1)][1:]  # the first one reads its files from the disk
            print(
                f"{workers} worker(s) ready after {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
            )
        worker = bench.servers["service"]
        print(f"a worker: {worker.memory():.1f} MiB when fresh", flush=True)
        for sent in range(REQUESTS // 5, REQUESTS + 1, REQUESTS // 5):
            uvloop.run(use(bench, REQUESTS // 20))
            print(f"a worker: {worker.memory():.1f} MiB after {sent:,} requests", flush=True)


if __name__ == "__main__":
    main()

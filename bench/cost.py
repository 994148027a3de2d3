"""What a worker costs: memory over a million requests, and the time from its start to its readiness.

python -m bench.cost                        1,000,000 requests; BENCH_REQUESTS=100000 for fewer

For each phone a start, a wrong code, the right one, and a body that is refused. Memory is resident (VmRSS), in MiB, told ten
times on the way; growth is the slope of its second half. Start-up is from the command to the first 200 of /readyz, median of five: with a Redis that
runs, and in the sandbox, which starts a store and a simulator of its own. Writes bench/results/cost.json.
"""

import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from app.api.clients import Kind, new_key
from bench.load import Result, load, post
from bench.stand import CONNECTIONS, ROOT, Stand, free_port, guard_status, pinned, settings, write_result

REQUESTS = int(os.environ.get("BENCH_REQUESTS", "1000000"))
STARTS = 5
TOLD = 10


def resident(pid: int) -> float:
    """MiB that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def send(stand: Stand, requests: Iterable[bytes]) -> Result:
    """All of these, over many connections."""
    left = iter(requests)
    return load(stand.service.port, lambda: next(left, None), connections=CONNECTIONS, seconds=600, keep=True)


def mixed(stand: Stand, phones: Iterable[int]) -> int:
    """For each phone a start, a wrong code, the right one, and a body that says nothing; how many requests that were."""
    key = f"Bearer {stand.key}"
    begun = send(
        stand, (post("/verify/start", b'{"phone": "+7917%07d"}' % phone, Authorization=key) for phone in phones)
    )
    if set(begun.statuses) != {201}:
        raise SystemExit(f"starts were answered with {dict(begun.statuses)}")
    ids = [json.loads(body)["id"].encode() for body in begun.bodies]
    bodies = (b'{"id": "%s", "code": "9999"}', b'{"id": "%s", "code": "0123"}', b'{"id": 5}')
    rest = send(
        stand,
        (
            post("/verify/check", body % each if b"%s" in body else body, Authorization=key)
            for body in bodies
            for each in ids
        ),
    )
    if set(rest.statuses) != {200, 422}:
        raise SystemExit(f"checks were answered with {dict(rest.statuses)}")
    return len(begun.latencies) + len(rest.latencies)


def memory() -> dict[str, object]:
    """Resident memory of one worker on the way."""
    with guard_status() as stand:
        fresh, told, sent = resident(stand.service.pid), [], 0
        print(f"  fresh {fresh:.1f} MiB", flush=True)
        phones = iter(range(10_000_000))
        for _ in range(TOLD):
            sent += mixed(stand, list(itertools.islice(phones, REQUESTS // TOLD // 4)))
            told.append((sent, resident(stand.service.pid)))
            print(f"  after {sent:>9,} requests {told[-1][1]:.1f} MiB", flush=True)
    half = told[len(told) // 2 :]
    slope = statistics.linear_regression(*zip(*half, strict=True)).slope * 1e6
    print(f"  growth over the second half: {slope:+.2f} MiB a million requests")
    return {"fresh": fresh, "told": told, "growth": slope}


def ready(environ: dict[str, str], port: int) -> float:
    """Seconds from the command to the first 200 of /readyz."""
    begun = time.perf_counter()
    command = [*pinned(0), sys.executable, "-m", "app.cli", "serve"]
    child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - begun < 30:
            with (
                suppress(OSError, urllib.error.URLError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer,
            ):
                if answer.status == 200:
                    return time.perf_counter() - begun
            time.sleep(0.005)
        raise SystemExit("the service was never ready")
    finally:
        child.terminate()
        child.wait(30)


def start_up() -> dict[str, list[float]]:
    """With a Redis that runs, and in the sandbox."""
    found: dict[str, list[float]] = {"configured": [], "sandbox": []}
    with tempfile.TemporaryDirectory() as name, guard_status() as stand:
        for turn in range(STARTS + 1):
            port = free_port()
            configured = settings(
                Path(name),
                new_key(Kind.SECRET),
                LASTDIGITS_PORT=str(port),
                LASTDIGITS_REDIS_URL=f"unix://{stand.socket}",
            )
            sandbox = {name: value for name, value in os.environ.items() if not name.startswith("LASTDIGITS_")} | {
                "LASTDIGITS_PORT": str(port),
                "LASTDIGITS_SIMULATOR_PORT": str(free_port()),
                "LASTDIGITS_REDIS_URL": f"embedded://{name}/store{turn}",
            }
            for kind, environ in (("configured", configured), ("sandbox", sandbox)):
                seconds = ready(environ, port)
                if turn:  # the first one reads its files from the disk
                    found[kind].append(seconds)
    for kind, values in found.items():
        print(f"  {kind:<11} ready after {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})")
    return found


def main() -> None:
    """Measure, print, write."""
    result = {"start-up": start_up(), "memory": memory()}
    write_result("cost", result)


if __name__ == "__main__":
    main()

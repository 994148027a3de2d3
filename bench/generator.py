"""Load on one address: by wrk where it is installed (Debian: `apt install wrk`), since it takes the least of its core, else by bench/load.py."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load import load, post

WRK = shutil.which("wrk")
NAME = "wrk" if WRK else "bench/load.py"

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Seen:
    """What a run saw: requests a second, and the 99th percentile of latency in milliseconds."""

    rate: float
    p99: float


@dataclass(frozen=True)
class Requests:
    """POSTs of JSON to a path: `lua` and `make` give the bodies in turn, to wrk and to bench/load.py."""

    path: str
    key: str
    lua: str
    make: Callable[[], bytes]


def blast(port: int, requests: Requests, connections: int, seconds: float) -> Seen:
    """Send as fast as the answers come, over so many connections."""
    if WRK is None:
        authorization = f"Bearer {requests.key}"
        seen = load(
            port,
            lambda: post(requests.path, requests.make(), Authorization=authorization),
            connections=connections,
            seconds=seconds,
        )
        return Seen(seen.rate, seen.percentile(0.99))
    script = "\n".join(
        [
            'wrk.method = "POST"',
            'wrk.headers["Content-Type"] = "application/json"',
            f'wrk.headers["Authorization"] = "Bearer {requests.key}"',
            requests.lua,
            f'function request() return wrk.format(nil, "{requests.path}", nil, body()) end',
        ]
    )
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "requests.lua"
        file.write_text(script, "utf-8")
        command = [WRK, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", str(file)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True, timeout=seconds + 60
        )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if not rate or not p99 or "Socket errors" in done.stdout:
        sys.exit(f"wrk said:\n{done.stdout}{done.stderr}")
    return Seen(float(rate[1]), float(p99[1]) * _UNITS[p99[2]])

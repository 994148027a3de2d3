"""Load on one address. As fast as the answers come: by wrk where it is installed (Debian: `apt install wrk`), since it takes least of its core. At a
rate: by this file. Both hold every answer to its kind.
"""

import asyncio
import itertools
import random
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

WRK = shutil.which("wrk")

_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %(key)s"
local bodies, at, threads = {}, 0, {}
for body in io.lines("%(file)s") do bodies[#bodies + 1] = body end
wrong = ""
function setup(thread) table.insert(threads, thread) end
function request()
  at = at %% #bodies + 1
  return wrk.format(nil, "%(path)s", nil, bodies[at])
end
function response(_, _, body)
  if not body:find([[%(kind)s]], 1, true) then wrong = body end
end
function done(summary, latency)
  local errors = summary.errors
  print("found", summary.requests, summary.duration, latency:percentile(99), errors.connect + errors.read + errors.write + errors.timeout)
  print("wrong" .. threads[1]:get("wrong"))
end
"""


@dataclass(frozen=True)
class Requests:
    """POSTs of JSON.

    Attributes:
        key: the client's.
        path: where to.
        bodies: in turn.
        kind: a text that every right answer has.
    """

    key: str
    path: str
    bodies: list[str]
    kind: str


def post(key: str, path: str, body: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head, in small letters, and the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return head, await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))


@dataclass(frozen=True)
class Load:
    """What a run saw: how many requests, in how many seconds, and the 99th percentile of their latencies in milliseconds."""

    requests: int
    seconds: float
    p99: float


def blast(port: int, requests: Requests, connections: int, seconds: int) -> Load:
    """Send as fast as the answers come, over so many connections."""
    if WRK is None:
        return uvloop.run(send(port, requests, connections, seconds))
    with tempfile.TemporaryDirectory() as directory:
        script, bodies = Path(directory, "requests.lua"), Path(directory, "bodies")
        bodies.write_text("\n".join(requests.bodies), "utf-8")
        script.write_text(_LUA % (vars(requests) | {"file": bodies}), "utf-8")
        command = [WRK, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True, timeout=seconds + 60
        )
    (found,) = (line.split()[1:] for line in done.stdout.splitlines() if line.startswith("found"))
    count, duration, p99, errors = map(float, found)
    wrong = done.stdout.rpartition("wrong")[2].strip()
    if wrong or errors:
        raise SystemExit(f"{errors:.0f} requests to {requests.path} failed; an answer: {wrong}")
    return Load(int(count), duration / 1e6, p99 / 1e3)


async def send(port: int, requests: Requests, connections: int, seconds: float, rate: float = 0) -> Load:
    """Send as fast as the answers come, or at random times, so many a second on average, until the time or the bodies are at an end.

    A latency counts from when its request was due: it has the wait for a free connection in it.
    """
    clock = time.perf_counter
    begun = due = clock()
    bodies = iter(requests.bodies) if seconds == float("inf") else itertools.cycle(requests.bodies)
    latencies: list[float] = []

    async def connection() -> None:
        nonlocal due
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in bodies:
            at = due = due + random.expovariate(rate) if rate else clock()
            if at > begun + seconds:
                break
            if (early := at - clock()) > 0:
                await asyncio.sleep(early)
                at = clock()  # the loop's timers count milliseconds
            writer.write(post(requests.key, requests.path, body))
            _, answer = await read_answer(reader)
            latencies.append(clock() - at)
            if requests.kind.encode() not in answer:
                raise SystemExit(f"an answer of {requests.path}: {answer.decode()}")
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return Load(len(latencies), clock() - begun, sorted(latencies)[int(len(latencies) * 0.99)] * 1e3)

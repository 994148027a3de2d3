"""What one call to the provider costs: CPU time a request in this process, by client.

    python -m bench.clients

Three clients take turns, so that other load on the machine falls on all of them alike. The ratios hold between machines, the
times do not. The server is `bench.lean_provider` on another core, if there is one, over loopback and without TLS.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from statistics import median

import httpx2
import uvloop

from app.provider.mobilgroup import Limits, Mobilgroup, header_key
from app.verification.ports import Placed

REQUESTS = 1000
REPEATS = 7
IN_FLIGHT = (5, 50)
BODY = json.dumps({"number": "79161234567", "capacity": "4"}).encode()
HEADERS = {"Content-Type": "application/json", "Authorization": "key"}
HEAD = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: key\r\nContent-Length: %d\r\n\r\n"

Send = Callable[[], Awaitable[None]]
Client = Callable[[int], AbstractAsyncContextManager[Send]]


@asynccontextmanager
async def ours(port: int) -> AsyncIterator[Send]:
    async with Mobilgroup(f"http://127.0.0.1:{port}/", header_key("key"), Limits(pool_size=max(IN_FLIGHT))) as client:

        async def send() -> None:
            assert isinstance(await client.place("+79161234567", 4), Placed)

        yield send


@asynccontextmanager
async def keep_alive(port: int) -> AsyncIterator[Send]:
    async with httpx2.AsyncClient(trust_env=False, headers=HEADERS, timeout=10) as client:

        async def send() -> None:
            response = await client.post(f"http://127.0.0.1:{port}/", content=BODY)
            assert response.json()["result"] == "ok"

        yield send


@asynccontextmanager
async def plain(port: int) -> AsyncIterator[Send]:
    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD % len(BODY) + BODY)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))
        writer.close()
        assert json.loads(answer)["result"] == "ok"

    yield send


CLIENTS: dict[str, Client] = {
    "Mobilgroup (httpx2, a connection a call)": ours,
    "httpx2 with keep-alive": keep_alive,
    "plain asyncio streams, a connection a call": plain,
}
YARDSTICK = "httpx2 with keep-alive"


async def cpu_us(client: Client, port: int, in_flight: int) -> float:
    """CPU microseconds a request."""
    async with client(port) as send:
        await many(send, 2 * in_flight, in_flight)
        begun = time.process_time()
        await many(send, REQUESTS, in_flight)
        return (time.process_time() - begun) / REQUESTS * 1e6


async def many(send: Send, requests: int, in_flight: int) -> None:
    left = iter(range(requests))

    async def one_after_another() -> None:
        for _ in left:
            await send()

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))


async def measure(port: int) -> None:
    print("| client | in flight | CPU µs a request: median (min to max) | ratio |\n|---|---|---|---|")
    for in_flight in IN_FLIGHT:
        taken: dict[str, list[float]] = {name: [] for name in CLIENTS}
        for _ in range(REPEATS):
            for name, client in CLIENTS.items():
                taken[name].append(await cpu_us(client, port, in_flight))
        for name, samples in taken.items():
            ratio = median(samples) / median(taken[YARDSTICK])
            times = f"{median(samples):.0f} ({min(samples):.0f} to {max(samples):.0f})"
            print(f"| {name} | {in_flight} | {times} | {ratio:.2f} |")


def main() -> None:
    with subprocess.Popen([sys.executable, "-m", "bench.lean_provider"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            port = int(server.stdout.readline())
            if hasattr(os, "sched_setaffinity"):
                cores = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(server.pid, {cores[-1]})
                os.sched_setaffinity(0, {cores[0]})
            uvloop.run(measure(port))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

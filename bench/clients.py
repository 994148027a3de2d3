"""What one outgoing call costs, by HTTP client: CPU time a request and requests a second, 50 in flight.

    python bench/clients.py

httpx, httpx over aiohttp, the service's own connections under httpx's interface, bare aiohttp, and the service's client.
The clients take turns, so that what else the machine does falls on all of them alike; the ratios hold between machines,
the figures do not. The server is another process, on another core where there is one, as lean as it can be, and only on
loopback. Never takes more than 50 s.
"""

import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import cast

import aiohttp
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

# Run as a script, Python looks for modules in bench/ only.
sys.path.insert(0, str(Path(__file__).parents[1]))

from app.telephony.connections import Connections
from app.telephony.credentials import HeaderKey
from app.telephony.mobilgroup import Limits, Mobilgroup
from app.telephony.target import target_of
from app.verification.call import Placed

IN_FLIGHT = 50
REQUESTS = 2500
REQUESTS_OF_HTTPX = 1000
REPEATS = 5
MOST_SECONDS = 45.0

KEY = "key"
BODY = json.dumps({"number": "79161234567", "capacity": "4"}).encode()
HEADERS = {"Content-Type": "application/json", "Authorization": KEY}
ANSWER = b'{"result": "ok", "id": "1234", "number": "79161234567", "price": "0.35", "code": "0427"}'
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER

Send = Callable[[], Awaitable[None]]
Client = Callable[[str], AbstractAsyncContextManager[Send]]


# ---- the server


class Lean(asyncio.Protocol):
    """Answers each whole request with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self.transport = cast("asyncio.WriteTransport", transport)
        self.unread = b""

    def data_received(self, data: bytes) -> None:
        self.unread += data
        _, end, body = self.unread.partition(b"\r\n\r\n")
        if end and len(body) >= len(BODY):
            self.unread = b""
            self.transport.write(RESPONSE)


def serve(port: Connection, core: int) -> None:
    pin(core)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Lean, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        # The other end closes when the parent is done, or dead.
        await asyncio.to_thread(port.poll, 2 * MOST_SECONDS)

    uvloop.run(run())


def pin(nth: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[nth % len(cores)]})


# ---- the clients


def check(status: int, body: bytes) -> None:
    assert status == 200
    assert json.loads(body)["result"] == "ok"


@asynccontextmanager
async def plain_httpx(url: str, transport: httpx.AsyncBaseTransport | None = None) -> AsyncIterator[Send]:
    limits = httpx.Limits(max_connections=IN_FLIGHT)
    timeout = httpx.Timeout(10, connect=2)
    async with httpx.AsyncClient(
        transport=transport, limits=limits, timeout=timeout, trust_env=False, headers=HEADERS
    ) as client:

        async def send() -> None:
            response = await client.post(url, content=BODY)
            check(response.status_code, response.content)

        yield send


@asynccontextmanager
async def httpx_over_aiohttp(url: str) -> AsyncIterator[Send]:
    transport = AiohttpTransport(limits=httpx.Limits(max_connections=IN_FLIGHT), trust_env=False)
    async with plain_httpx(url, transport) as send:
        yield send


class LeanTransport(httpx.AsyncBaseTransport):
    """The service's connections under httpx's interface: as little as httpx lets a transport do."""

    def __init__(self, url: str) -> None:
        self.connections = Connections(target_of(url), 2, 10)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        lines = b"".join(b"%s: %s\r\n" % pair for pair in request.headers.raw)
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (request.method.encode(), request.url.raw_path, lines)
        status, body = await self.connections.exchange(head + await request.aread())
        return httpx.Response(status, content=body)

    async def aclose(self) -> None:
        await self.connections.close()


@asynccontextmanager
async def httpx_over_ours(url: str) -> AsyncIterator[Send]:
    async with plain_httpx(url, LeanTransport(url)) as send:
        yield send


@asynccontextmanager
async def bare_aiohttp(url: str) -> AsyncIterator[Send]:
    timeout = aiohttp.ClientTimeout(total=10, connect=2)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=HEADERS) as session:

        async def send() -> None:
            async with session.post(url, data=BODY, allow_redirects=False) as response:
                check(response.status, await response.read())

        yield send


@asynccontextmanager
async def mobilgroup(url: str) -> AsyncIterator[Send]:
    async with Mobilgroup(url, HeaderKey(KEY), Limits(pool_size=IN_FLIGHT)) as client:

        async def send() -> None:
            assert isinstance(await client.place("+79161234567", 4), Placed)

        yield send


CLIENTS: dict[str, Client] = {
    "httpx": plain_httpx,
    "httpx over aiohttp": httpx_over_aiohttp,
    "httpx over our connections": httpx_over_ours,
    "bare aiohttp": bare_aiohttp,
    "our Mobilgroup client": mobilgroup,
}
YARDSTICK = "bare aiohttp"


# ---- the measuring


@dataclass(frozen=True)
class Sample:
    cpu_us: float
    per_second: float


async def sample(client: Client, url: str, requests: int) -> Sample:
    async with client(url) as send:
        await many(send, 2 * IN_FLIGHT)
        cpu, wall = time.process_time(), time.perf_counter()
        await many(send, requests)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Sample(cpu / requests * 1e6, requests / wall)


async def many(send: Send, requests: int) -> None:
    left = iter(range(requests))

    async def one_after_another() -> None:
        for _ in left:
            await send()

    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))


async def measure(url: str) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in CLIENTS}
    begun = time.monotonic()
    async with asyncio.timeout(MOST_SECONDS):
        for _ in range(REPEATS):
            for name, client in CLIENTS.items():
                samples[name].append(
                    await sample(client, url, REQUESTS_OF_HTTPX if client is plain_httpx else REQUESTS)
                )
            if (time.monotonic() - begun) * (1 + 1 / len(samples[YARDSTICK])) > MOST_SECONDS:
                break
    return samples


def table(samples: dict[str, list[Sample]]) -> str:
    yardstick = median(sample.cpu_us for sample in samples[YARDSTICK])
    lines = [
        f"{REQUESTS} requests a sample ({REQUESTS_OF_HTTPX} of httpx's), {len(samples[YARDSTICK])} samples a client, {IN_FLIGHT} in flight",
        "",
        "| client | CPU µs a request: median (least to most) | ratio | requests/s |",
        "|---|---|---|---|",
    ]
    for name, taken in samples.items():
        cpu = [sample.cpu_us for sample in taken]
        rate = [sample.per_second for sample in taken]
        lines.append(
            f"| {name} | {median(cpu):.0f} ({min(cpu):.0f} to {max(cpu):.0f}) | {median(cpu) / yardstick:.2f} "
            f"| {median(rate):,.0f} ({min(rate):,.0f} to {max(rate):,.0f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, 1), daemon=True)
    server.start()
    theirs.close()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/api/call-password/send/"
        pin(0)
        print(table(uvloop.run(measure(url))))
    finally:
        ours.close()
        server.join(5)
        if server.is_alive():
            server.terminate()


if __name__ == "__main__":
    main()

"""A lean load generator: keep-alive connections over loopback, one request under way on each, every latency kept."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True)
class Result:
    """What a run saw. Latencies in milliseconds, sorted."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int]
    bodies: list[bytes]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class _Connection(asyncio.Protocol):
    """One connection: sends the next request when the answer of the one before is whole."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = self._run.next_request()
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        length = int(lower[lower.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._run.note(time.perf_counter() - self._sent_at, int(head[9:12]), rest[:length])
        self._buffer = b""
        self._send()

    def connection_lost(self, exception: Exception | None) -> None:
        self._run.ended(exception)


class _Run:
    def __init__(self, make: Callable[[], bytes | None], connections: int, seconds: float, keep: bool) -> None:
        self._make = make
        self._left = connections
        self._until = time.perf_counter() + seconds
        self._keep = keep
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.bodies: list[bytes] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        return self._make() if time.perf_counter() < self._until else None

    def note(self, seconds: float, status: int, body: bytes) -> None:
        self.latencies.append(seconds * 1000)
        self.statuses[status] += 1
        if self._keep:
            self.bodies.append(body)

    def ended(self, exception: Exception | None) -> None:
        self._left -= 1
        if exception and not self.over.done():
            self.over.set_exception(exception)
        elif self._left == 0 and not self.over.done():
            self.over.set_result(None)


def load(
    port: int, make: Callable[[], bytes | None], *, connections: int, seconds: float, keep: bool = False
) -> Result:
    """Ask for so many seconds; `make` gives the next request's bytes, or None to end early."""

    async def run() -> Result:
        loop = asyncio.get_running_loop()
        state = _Run(make, connections, seconds, keep)
        began = time.perf_counter()
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(state), "127.0.0.1", port)
        await state.over
        return Result(time.perf_counter() - began, sorted(state.latencies), state.statuses, state.bodies)

    return uvloop.run(run())


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A request's bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

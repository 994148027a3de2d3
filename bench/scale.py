"""What each script costs the server, against how many phones are live: a thousand to a million.

python -m bench.scale           runs a Valkey of its own, and ends it; a million phones take 600 MB for a minute or two

The figures are the server's own: microseconds for each run of a script, the commands inside included (`INFO commandstats`), and microseconds of its
one core for each operation, with reading, answering and all else (`INFO cpu`). Live phones are copies of one that was started, called and
guessed at. Writes bench/results/scale.json.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from app.settings import load_settings
from app.store.coalesce import Coalescer
from app.store.connection import connect
from app.store.embedded import embedded_server
from app.store.redis_store import RedisStore
from app.verification.client import Client
from app.verification.guard import Guard
from app.verification.ids import IdCodec, VerificationRef
from app.verification.money import Spending, parse_caps
from app.verification.ports import RequestContext, Reserved
from app.verification.rates import parse_rates
from bench.stand import write_result

LIVE = (1_000, 10_000, 100_000, 1_000_000)
RUNS = 2000
REPEATS = 5
AT_ONCE = 50
Cost = dict[str, float]
"""Microseconds: of the script alone, and of the server's core with all that stands around it."""

_COPY = """
for n = 1, tonumber(ARGV[1]) do
  local tag = redis.sha1hex(ARGV[2] .. n)
  redis.call('COPY', KEYS[1], 'ld:v:{' .. string.sub(tag, 1, 16) .. '}:' .. string.sub(tag, 17, 32))
  redis.call('COPY', KEYS[2], 'ld:p:{' .. string.sub(tag, 1, 16) .. '}')
end
"""


@dataclass
class Bench:
    """A store whose limits let everything through, and phones that nobody called before."""

    server: Any
    store: RedisStore
    codec: IdCodec
    numbers: int = 0

    def refs(self, count: int) -> list[VerificationRef]:
        """So many new phones, spread over the ranges of one operator."""
        first, self.numbers = self.numbers, self.numbers + count
        return [self.codec.new(f"+7916{number * 7919 % 10_000_000:07d}", 4) for number in range(first, first + count)]

    def ask(self, ref: VerificationRef) -> RequestContext:
        """From an address of its own."""
        return RequestContext(Client("web", "web"), self.codec.address(ref.phone))

    async def start(self, ref: VerificationRef) -> Reserved:
        """Reserve its call."""
        call = await self.store.start([ref, ref.longer(5), ref.longer(6)], self.ask(ref), None, None)
        assert isinstance(call, Reserved), call
        return call

    async def cost(self, work: list[Awaitable[Any]]) -> Cost:
        """What each script of a piece of work costs the server."""
        await self.server.config_resetstat()
        before = await self._core()
        for first in range(0, len(work), AT_ONCE):
            await asyncio.gather(*work[first : first + AT_ONCE])
        stats = (await self.server.info("commandstats"))["cmdstat_evalsha"]
        core = (await self._core() - before) / len(work) * 1e6
        return {"script": float(stats["usec"]) / float(stats["calls"]), "core": core}

    async def _core(self) -> float:
        """Seconds of CPU that the server's one thread has taken."""
        info = await self.server.info("cpu")
        return float(info["used_cpu_sys_main_thread"]) + float(info["used_cpu_user_main_thread"])

    async def round(self) -> dict[str, Cost]:
        """A start, its settling, a wrong code and the right one, each for phones of its own."""
        refs = self.refs(RUNS)
        calls: dict[str, Reserved] = {}

        async def started(ref: VerificationRef) -> None:
            calls[ref.id] = await self.start(ref)

        steps: dict[str, Callable[[VerificationRef], Awaitable[Any]]] = {
            "start": started,
            "settle": lambda each: self.store.settle(each, self.ask(each), calls[each.id], each.digest("0123"), 3500),
            "check, wrong": lambda each: self.store.check(each, self.ask(each), each.digest("9999")),
            "check, right": lambda each: self.store.check(each, self.ask(each), each.digest("0123")),
        }
        return {name: await self.cost([step(ref) for ref in refs]) for name, step in steps.items()}


async def settled(server: "Redis") -> None:
    """Wait until the tables that grew with the copies are moved into their new room."""
    while int((await server.info("memory")).get("mem_overhead_db_hashtable_rehashing", 0)):
        await server.randomkey()
        await asyncio.sleep(0.1)


async def measure(url: str, live: tuple[int, ...]) -> dict[int, dict[str, list[Cost]]]:
    """Each script's cost by how many phones are live, several times over."""
    found: dict[int, dict[str, list[Cost]]] = {}
    policy = replace(
        load_settings(None).policy,
        calls_total=parse_rates("100000/second"),
        spending=Spending(3500, parse_caps("400000/hour, 400000/day")),
        guard=Guard.of(0.2, 10**9, 10**6, 10**9),
    )
    async with connect(url, 60) as server, aclosing(Coalescer(server, 60)) as coalescer:
        await server.flushall()
        # The copies would fill the append-only file, and its rewriting would be measured.
        await server.config_set("appendonly", "no")
        bench = Bench(server, RedisStore(coalescer, policy), IdCodec(b"a pepper for measuring, of 32 bytes and more"))
        (pattern,) = bench.refs(1)
        call = await bench.start(pattern)
        await bench.store.settle(pattern, bench.ask(pattern), call, pattern.digest("0123"), 3500)
        await bench.store.check(pattern, bench.ask(pattern), pattern.digest("9999"))
        keys = [f"ld:v:{{{pattern.tag}}}:{pattern.ref}", f"ld:p:{{{pattern.tag}}}"]
        await bench.round()  # warms up
        there = 0
        for count in live:
            for first in range(there, count, 10_000):
                await server.eval(_COPY, 2, *keys, min(10_000, count - first), f"{first}:")
            there = count
            await settled(server)
            rounds = [await bench.round() for _ in range(REPEATS)]
            found[count] = {name: [each[name] for each in rounds] for name in rounds[0]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, nargs="+", default=LIVE)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, embedded_server(Path(directory)):
        found = asyncio.run(measure(f"embedded://{directory}", tuple(asked.live)))
    names = list(next(iter(found.values())))
    for measured, told in (
        ("script", "µs of each script (commandstats)"),
        ("core", "µs of the server's core in all (INFO cpu)"),
    ):
        print(f"{told}\n  live phones  " + "".join(f"{name:>24}" for name in names))
        for count, costs in found.items():
            several = [[each[measured] for each in costs[name]] for name in names]
            cells = (f"{statistics.median(cost):.1f} ({min(cost):.1f} to {max(cost):.1f})" for cost in several)
            print(f"  {count:11,}  " + "".join(f"{cell:>24}" for cell in cells))
        middles = [
            {name: statistics.median(each[measured] for each in costs[name]) for name in names}
            for costs in found.values()
        ]
        print("  last / first " + "".join(f"{middles[-1][name] / middles[0][name]:>24.2f}" for name in names))
    write_result("scale", found)


if __name__ == "__main__":
    main()

"""What each script costs a store with a thousand live phones, and one with a million: some four minutes and 2 GiB of memory.

python -m bench.scale

Two stores take turns, so that a drift of the machine hits both alike. They are filled with copies of one verification and of all its own keys. A cost is
the time in the script (INFO commandstats) of a round, each with phones that are new. That is time, not CPU: another program on the core adds to it, so the
least of the rounds is the steadier figure.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import uvloop

from app.verification.ids import VerificationRef
from app.verification.ports import RequestContext, Reserved
from bench.records import AT_ONCE, PREFIX, Records, opened_store
from bench.stand import configure, valkey

LIVE = (1_000, 1_000_000)
RUNS, ROUNDS, BATCH = 500, 30, 10_000

COPY = """
for n = ARGV[1], ARGV[1] + ARGV[2] - 1 do
  for _, key in ipairs(KEYS) do
    local kind, digest, rest = string.match(key, '^({%a+}:%a+:)(%x+)(.*)$')
    redis.call('COPY', key, kind .. string.sub(redis.sha1hex(n), 1, #digest) .. rest)
  end
end
"""


async def fill(records: Records, live: int) -> None:
    """Copy a verification that was guessed at, until so many are live."""
    ref = await records.start("8e03978e-40d5-43e8-bc93-6894a57f9324")
    await records.check(ref, "9999")
    kinds = ("verification", "phone", "guesses", "request", "address", "network")
    keys = [key for kind in kinds async for key in records.redis.scan_iter(f"{PREFIX}{kind}:*")]
    for first in range(0, live, BATCH):
        await records.redis.eval(COPY, len(keys), *keys, first, min(BATCH, live - first))
    if await records.redis.dbsize() < live * len(keys):
        raise SystemExit("the copies are not there")
    while int((await records.redis.info("memory")).get("mem_overhead_db_hashtable_rehashing", 0)):
        await records.redis.ping()  # its tables move into their new room


async def cost(records: Records, work: list[Awaitable[Any]]) -> float:
    """Microseconds of a script of this work."""
    await records.redis.config_resetstat()
    for first in range(0, len(work), AT_ONCE):
        await asyncio.gather(*work[first : first + AT_ONCE])
    stats = (await records.redis.info("commandstats"))["cmdstat_evalsha"]
    return float(stats["usec"]) / float(stats["calls"])


async def one_round(records: Records) -> dict[str, float]:
    """A start, its settling, a wrong code and the right one, each for phones of its own."""
    contexts: dict[VerificationRef, RequestContext] = {
        ref: records.context(ref) for ref in (records.new() for _ in range(RUNS))
    }
    calls: dict[VerificationRef, Reserved] = {}

    async def reserve(ref: VerificationRef) -> None:
        calls[ref] = await records.reserve(ref, contexts[ref])

    steps: dict[str, Callable[[VerificationRef], Awaitable[None]]] = {
        "reserve": reserve,
        "settle": lambda ref: records.settle(ref, contexts[ref], calls[ref]),
        "check, wrong": lambda ref: records.check(ref, "9999"),
        "check, right": lambda ref: records.check(ref, "0123"),
    }
    return {name: await cost(records, [step(ref) for ref in contexts]) for name, step in steps.items()}


async def measure(urls: list[str]) -> None:
    async with AsyncExitStack() as stack:
        several = [await stack.enter_async_context(opened_store(url)) for url in urls]
        for records, live in zip(several, LIVE, strict=True):
            await fill(records, live)
            await one_round(records)  # warms up
        found = [[await one_round(records) for records in several] for _ in range(ROUNDS)]
    print(
        f"| µs of a script | {LIVE[0]:,} live | {LIVE[1]:,} live | ratio of medians | of the least |\n|---|---|---|---|---|"
    )
    for name in found[0][0]:
        few, many = ([each[at][name] for each in found] for at in (0, 1))
        middles, least = [statistics.median(row) for row in (few, many)], [min(few), min(many)]
        cells = [f"{middle:.1f} (least {low:.1f})" for middle, low in zip(middles, least, strict=True)]
        print(f"| {name} |", " | ".join(cells), f"| {middles[1] / middles[0]:.2f} | {least[1] / least[0]:.2f} |")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        configure(Path(directory))
        ports = [stack.enter_context(valkey()).port for _ in LIVE]
        uvloop.run(measure([f"redis://127.0.0.1:{port}/0" for port in ports]))


if __name__ == "__main__":
    main()

"""Aims every attack of strangers at a deployment, and prints what it cost whom and how often people got in.

    python -m tests.attacks.own_deployment                  the defaults, on a service of its own with two workers: some twenty minutes
    python -m tests.attacks.own_deployment --row neighbour  one attack of these
    python -m tests.attacks.own_deployment --url … --help   a deployment of yours

Strangers have a page's public key and as many addresses as they like. People try to get in meanwhile, through a backend and with a device that was
approved before. A day passes without waiting: the times in the store move back. So a deployment of yours must be one for tests: its calls go to a
simulator, its store is given with --redis, and it trusts X-Forwarded-For from here (TRUSTED_PROXIES). Ends with status 1 if a promise is broken.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from app.store.connection import connect
from tests.attacks.rows import ATTACKS, Attack, Scale, small_pool
from tests.attacks.strangers import Deployment, Row
from tests.harness import CLIENTS, DEFAULTS, PREFIX, Service, Simulator, serving, simulating
from tests.older import PassingTime
from tests.samples import add_to_samples
from tests.server import Server

ORIGIN = CLIENTS["web"]["origins"][0]
POOL = 10_000

FULL = Scale()
QUICK = Scale(hours=3, money_hours=1, spray_hours=1, people=3, at_once=2, max_level=1)
QUICK_SETTINGS = {
    "SPEND_PER_HOUR": "5.25",
    "SPEND_PER_DAY": "50",
    "FRAUD_CALLS_PER_RANGE": "10",
    "SPRAY_ALERT": "4",
    "CALLS_PER_IP": "3/hour",
}
"""Fewer calls, and so fewer challenges to solve: for a run of seconds."""


@asynccontextmanager
async def deployment(
    url: str, secret: str, public: str, origin: str, simulator: Simulator, redis: str, prefix: str
) -> AsyncIterator[Deployment]:
    """A running service, as its attackers and its users see it."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http, connect(redis, 5) as client:
        at = Deployment(http, secret, public, origin, simulator, PassingTime(client, prefix))
        await at.read_policy()
        yield at


@asynccontextmanager
async def of_service(service: Service, simulator: Simulator) -> AsyncIterator[Deployment]:
    """A service of the tests' as a deployment."""
    keys, redis = service.keys, service.settings["REDIS_URL"]
    async with deployment(service.url, keys["backend"], keys["web"], ORIGIN, simulator, redis, PREFIX) as at:
        yield at


@asynccontextmanager
async def of_its_own(
    directory: Path, settings: dict[str, str], *, pool: int | None = None
) -> AsyncIterator[Deployment]:
    """A service with the defaults, or other settings, two workers and a store of its own; with a pool, one that has measured its codes."""
    options = () if pool is None else ("--pool", str(pool), "--seed", "1")
    async with AsyncExitStack() as stack:
        simulator = stack.enter_context(simulating(directory / "simulator", *options))
        server = Server(directory)
        stack.callback(server.stop)
        if pool is not None:
            await add_to_samples(server.url, codes_from(pool))
        given = DEFAULTS | {"REDIS_URL": server.url, "TRUSTED_PROXIES": "127.0.0.1"} | settings
        service = stack.enter_context(serving(directory / "service", simulator.send_url, **given))
        yield await stack.enter_async_context(of_service(service, simulator))


def codes_from(pool: int, calls: int = 1500) -> list[str]:
    """So many codes of six digits from a pool of calling numbers."""
    numbers = random.Random(1)
    return [f"{numbers.randrange(pool) * 97:06d}" for _ in range(calls)]


def table(rows: Sequence[Row]) -> str:
    """What the attacks came to, for docs/security.md."""
    lines = [
        "| attack | addresses | calls | challenges solved | operator paid | through a backend | with a known device | longest wait | signs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spent = row.strangers
        got_in = [f"{sum(tries)} of {len(tries)}" for tries in (row.backend, row.device)]
        money = float(spent.at.policy["expected_price"]) * spent.calls
        cells = [
            row.name,
            len(spent.addresses),
            spent.calls,
            spent.solved,
            f"{money:.2f}",
            *got_in,
            f"{row.waited} s",
            ", ".join(sorted(row.signs)),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines.append("")
    lines += [f"{row.name}: {fact}{'' if held else '   BROKEN'}" for row in rows for fact, held in row.facts]
    lines += [f"{row.name}: people were kept out   BROKEN" for row in rows if not all(row.backend + row.device)]
    return "\n".join(lines)


async def attack(asked: argparse.Namespace) -> list[Row]:
    """Run the attacks that were asked for, one after the other."""
    scale, settings = (QUICK, QUICK_SETTINGS) if asked.quick else (FULL, {})
    names = asked.row or [*ATTACKS, *([] if asked.url else ["pool"])]
    attacks, rows = [name for name in names if name in ATTACKS], []
    with tempfile.TemporaryDirectory(prefix="lastdigits-") as directory:
        if attacks:
            async with _asked_for(asked) if asked.url else of_its_own(Path(directory) / "whole", settings) as at:
                rows = [await _row(name, ATTACKS[name], at, scale) for name in attacks]
        if "pool" in names:
            async with of_its_own(Path(directory) / "pool", settings, pool=POOL) as at:
                rows.append(await _row("pool", small_pool, at, scale))
    return rows


def _asked_for(asked: argparse.Namespace) -> AbstractAsyncContextManager[Deployment]:
    simulator = Simulator(asked.simulator, httpx.Client(base_url=asked.simulator, timeout=10))
    return deployment(
        asked.url, asked.secret_key, asked.public_key, asked.origin, simulator, asked.redis, asked.key_prefix
    )


async def _row(name: str, attack: Attack, at: Deployment, scale: Scale) -> Row:
    started = time.monotonic()
    row = await attack(at, scale)
    await row.look_for_signs()
    await at.time(30 * 3600)
    sys.stderr.write(f"{name}: {'as promised' if row.held else 'BROKEN'}, {time.monotonic() - started:.0f} s\n")
    return row


def main() -> int:
    """Attack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=[*ATTACKS, "pool"], help="this attack only; may be repeated")
    parser.add_argument("--quick", action="store_true", help="lower limits and fewer hours: seconds instead of minutes")
    yours = parser.add_argument_group("a deployment of yours, for tests")
    yours.add_argument("--url", help="where it answers")
    yours.add_argument("--secret-key", help="a backend's key")
    yours.add_argument("--public-key", help="a page's key")
    yours.add_argument("--origin", default=ORIGIN, help="the page's origin (%(default)s)")
    yours.add_argument("--simulator", help="URL of the simulator that its calls go to")
    yours.add_argument("--redis", help="URL of its store")
    yours.add_argument("--key-prefix", default=PREFIX, help="its KEY_PREFIX (%(default)s)")
    asked = parser.parse_args()
    if asked.url and not (asked.secret_key and asked.public_key and asked.simulator and asked.redis):
        parser.error("--url needs --secret-key, --public-key, --simulator and --redis")
    rows = asyncio.run(attack(asked))
    sys.stdout.write(f"{table(rows)}\n")
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

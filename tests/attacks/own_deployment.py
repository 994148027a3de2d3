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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.attacks.page import ORIGIN, Page
from tests.attacks.rows import ATTACKS, Attack, Row, Scale, small_pool
from tests.harness import DEFAULTS, PREFIX, Service, Simulator, serving, simulating
from tests.samples import add_to_samples
from tests.server import Server

POOL = 10_000
BEHIND = DEFAULTS | {"TRUSTED_PROXIES": "127.0.0.1"}
"""The defaults, behind a proxy that the attackers play."""

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


@contextmanager
def of_its_own(directory: Path, settings: dict[str, str], pool: int | None = None) -> Iterator[Page]:
    """A service with the defaults, or other settings, and two workers; with a pool, one that has measured its codes."""
    options = () if pool is None else ("--pool", str(pool), "--seed", "1")
    server = Server(directory)
    try:
        if pool is not None:
            numbers = random.Random(1)
            codes = [f"{numbers.randrange(pool) * 97:06d}" for _ in range(1500)]
            asyncio.run(add_to_samples(server.url, codes))
        given = BEHIND | {"REDIS_URL": server.url} | settings
        with (
            simulating(directory / "simulator", *options) as simulator,
            serving(directory / "service", simulator.send_url, **given) as service,
        ):
            yield Page(service, simulator)
    finally:
        server.stop()


def table(rows: Sequence[Row]) -> str:
    """What the attacks came to, for docs/security.md."""
    lines = [
        "| attack | addresses | calls | challenges solved | operator paid | through a backend | with a known device | longest wait | signs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spent = row.strangers
        got_in = " | ".join(f"{sum(tries)} of {len(tries)}" for tries in (row.backend, row.device))
        cost = f"{len(spent.addresses)} | {spent.calls} | {len(spent.solved)} | {row.price * spent.calls:.2f}"
        lines.append(f"| {row.name} | {cost} | {got_in} | {row.waited} s | {', '.join(sorted(row.signs))} |")
    lines.append("")
    lines += [f"{row.name}: {fact}{'' if held else '   BROKEN'}" for row in rows for fact, held in row.facts]
    lines += [f"{row.name}: people were kept out   BROKEN" for row in rows if not all(row.backend + row.device)]
    return "\n".join(lines)


def attack(asked: argparse.Namespace) -> Iterator[Row]:
    """Run the attacks that were asked for, one after the other."""
    scale, settings = (QUICK, QUICK_SETTINGS) if asked.quick else (FULL, {})
    names = asked.row or [*ATTACKS, *([] if asked.url else ["pool"])]
    attacks = [name for name in names if name in ATTACKS]
    with tempfile.TemporaryDirectory(prefix="lastdigits-") as directory:
        if attacks and asked.url:
            yield from (_row(name, ATTACKS[name], _yours(asked), scale) for name in attacks)
        elif attacks:
            with of_its_own(Path(directory) / "whole", settings) as page:
                yield from (_row(name, ATTACKS[name], page, scale) for name in attacks)
        if "pool" in names:
            with of_its_own(Path(directory) / "pool", settings, POOL) as page:
                yield _row("pool", small_pool, page, scale)


def _yours(asked: argparse.Namespace) -> Page:
    """A service that runs already."""
    keys = {"backend": asked.secret_key, "web": asked.public_key}
    settings = {"REDIS_URL": asked.redis, "KEY_PREFIX": asked.key_prefix}
    service = Service(asked.url.rstrip("/"), None, Path(), keys, settings, Path())
    return Page(service, Simulator(asked.simulator, httpx.Client(base_url=asked.simulator, timeout=10)), asked.origin)


def _row(name: str, attack: Attack, page: Page, scale: Scale) -> Row:
    started = time.monotonic()
    row = attack(page, scale)
    row.look_for_signs()
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
    rows = list(attack(asked))
    sys.stdout.write(f"{table(rows)}\n")
    return 0 if all(row.held for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

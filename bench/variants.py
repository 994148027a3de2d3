"""Check and start by how the service is run: one worker and two, commands coalesced and each by itself.

python -m bench.variants

With two workers the service has both cores, of which the store, the provider and the load generator want one: on a machine of two cores that shows
what a second worker brings there, not what it would bring beside a store of its own. CPU for each request is what carries over. Writes
bench/results/variants.json.
"""

import statistics
from dataclasses import dataclass

from bench.generator import blast
from bench.stand import begin, checks, guard_status, starts, write_result
from bench.throughput import REPEATS, SECONDS, Row, measure


@dataclass(frozen=True)
class Variant:
    """How the service is run."""

    workers: int = 1
    cores: tuple[int, ...] = (0,)
    serve: str = "app.cli"


VARIANTS = {
    "one worker": Variant(),
    "two workers": Variant(workers=2, cores=(0, 1)),
    "each command by itself": Variant(serve="bench.uncoalesced"),
}


def run(variant: Variant) -> list[dict[str, Row]]:
    """The repeats of one variant."""
    with guard_status(workers=variant.workers, cores=variant.cores, serve=variant.serve) as stand:
        blast(stand.service.port, starts(stand.key), 8, 1)
        rows = []
        for _ in range(REPEATS):
            guesses = checks(stand.key, begin(stand, SECONDS))
            rows.append(
                {
                    "check": measure(stand, stand.service, guesses, SECONDS),
                    "start": measure(stand, stand.service, starts(stand.key), SECONDS),
                }
            )
    return rows


def main() -> None:
    """Measure, print, write."""
    result = {}
    for name, variant in VARIANTS.items():
        rows = run(variant)
        result[name] = rows
        for kind in ("check", "start"):
            told = []
            for figure, form in (("rate", ",.0f"), ("p99", ".1f"), ("cpu", ".0f"), ("store_cpu", ".0f")):
                values = [row[kind][figure] for row in rows]
                told.append(
                    f"{figure} {statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
                )
            print(f"  {name:<24}{kind:<7}{'   '.join(told)}", flush=True)
    write_result("variants", result)


if __name__ == "__main__":
    main()

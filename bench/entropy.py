"""How soon and how well the estimate of app/verification/odds.py finds a pool of calling numbers: the figures and the plot of docs/entropy.md.

python -m bench.entropy                       prints the figures; some ten seconds
python -m bench.entropy --plot entropy.svg    draws them too: needs `pip install matplotlib`
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from math import log2
from pathlib import Path

from app.verification.odds import SAMPLE, Odds, odds_of

DIGITS = 4
POOLS = (50, 500, 2_000, 10_000)
"""Numbers that end in different digits: of 10,000 all codes are equally likely."""

SEEN = (10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10_000, SAMPLE)
RUNS = 40

Draw = Callable[[random.Random], int]


def sample(draw: Draw, count: int, seed: int) -> bytes:
    """Digests of codes; which number stands for which code makes no difference."""
    drawn = random.Random(seed)
    return b"".join(draw(drawn).to_bytes(4, "big") for _ in range(count))


def estimates(pool: int, digits: int = DIGITS) -> Iterator[tuple[int, list[Odds]]]:
    """Of several runs, by how many codes were seen."""
    runs = [sample(lambda drawn: drawn.randrange(pool), SAMPLE, seed) for seed in range(RUNS)]
    for count in SEEN:
        yield count, [odds_of({digits: run[: 4 * count]})[digits] for run in runs]


def tell_pools() -> None:
    """When a pool is found, and how far off the charge is then."""
    print(
        f"{'numbers':>8}  {'found in half of the runs after':>32}  {'in all':>7}  {'charged / true after 1,000 codes':>33}  {'16,384':>20}"
    )
    for pool in POOLS[:-1]:
        found: dict[int, float] = {}
        charged: dict[int, str] = {}
        for count, runs in estimates(pool):
            found[count] = sum(odds.uneven for odds in runs) / RUNS
            ratios = sorted(odds.chance * pool for odds in runs)
            charged[count] = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        half, every = (next((count for count in SEEN if found[count] >= share), 0) for share in (0.5, 1.0))
        print(f"{pool:8,}  {half:32,}  {every:7,}  {charged[1000]:>33}  {charged[SAMPLE]:>20}")


def tell_alarms(seeds: int = 20) -> None:
    """How often even digits are taken for uneven: samples that slide over a stream, judged every hundred codes."""
    for digits in (4, 5, 6):
        judged = alarms = 0
        for seed in range(seeds):
            stream = sample(lambda drawn, most=10**digits: drawn.randrange(most), 20_000, seed)  # type: ignore[misc]
            for end in range(100, 20_000, 100):
                judged += 1
                alarms += odds_of({digits: stream[max(0, 4 * (end - 4000)) : 4 * end]})[digits].uneven
        print(f"even digits, {digits}: {alarms} false alarms in {judged:,} judgements over {seeds * 20_000:,} codes")


def tell_speed() -> None:
    """What a measurement costs."""
    full = {DIGITS: sample(lambda drawn: drawn.randrange(10_000), SAMPLE, 1)}
    took = []
    for _ in range(20):
        began = time.perf_counter()
        odds_of(full)
        took.append((time.perf_counter() - began) * 1000)
    print(f"a full sample of one length is judged in {statistics.median(took):.1f} ms")


def plot(where: Path) -> None:
    """Draw what one run of each pool is told, with its interval, against the truth."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  for the plot alone
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError:
        raise SystemExit("the plot needs matplotlib: pip install matplotlib") from None
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "lastdigits", "font.size": 9}
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.subplots()
    for pool, colour in zip(POOLS, ("#b3261e", "#c77700", "#386a20", "#1b5fa8"), strict=True):
        found = [(count, runs[0]) for count, runs in estimates(pool)]
        counts = [count for count, _ in found]
        axes.fill_between(counts, [o.low for _, o in found], [o.high for _, o in found], color=colour, alpha=0.12, lw=0)
        axes.plot(counts, [o.min_entropy for _, o in found], color=colour, marker=".", label=f"{pool:,} numbers")
        axes.axhline(log2(pool), color=colour, lw=0.7, ls=":")
    axes.set(xscale="log", xlabel="codes seen", ylabel="min-entropy, bits", ylim=(0, 14.5), xlim=(SEEN[0], SAMPLE))
    axes.set_title("What a guess at four digits is charged, as min-entropy; dotted: the truth")
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(where, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="where the plot goes, an SVG")
    asked = parser.parse_args()
    tell_pools()
    tell_alarms()
    tell_speed()
    if asked.plot:
        plot(asked.plot)


if __name__ == "__main__":
    main()

"""How soon app/verification/entropy.py finds a pool of calling numbers, and what it charges then: the tables of docs/entropy.md.

python -m bench.entropy        half a minute
"""

import itertools
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.simulator.calls import Calls
from app.verification.entropy import MIN_CODES, SAMPLE, Recurrence, measure
from app.verification.ports import CodeBias

RUNS = 40
SIZES = sorted({round(MIN_CODES * 1.1**step) for step in range(70)} | {1000, SAMPLE})
"""Numbers of codes after which a sample is judged."""

Source = Callable[[random.Random], Callable[[], int]]
"""Makes a source of codes from a seed. The unit tests draw their samples from the same ones."""


@dataclass(frozen=True)
class Pool:
    """Calling numbers."""

    name: str
    digits: int  # the codes' length
    likeliest: float  # the true probability of the likeliest code
    source: Source

    def samples(self) -> Iterator[bytes]:
        """A full sample for each run."""
        for seed in range(RUNS):
            code = self.source(random.Random(seed))
            yield b"".join(code().to_bytes(4, "big") for _ in range(SAMPLE))

    def judge(self, sample: bytes, codes: int) -> CodeBias:
        return measure({self.digits: sample[: 4 * codes]})[self.digits]


def simulated(numbers: int, digits: int) -> Source:
    """The pool of the simulator: up to 10,000 numbers end in different codes."""

    def source(seed: random.Random) -> Callable[[], int]:
        calls = Calls(numbers, seed.randrange(2**32))
        return lambda: int(calls.calling_number(None)[-digits:])

    return source


def uniform(codes: int) -> Source:
    """Uniformly distributed codes."""
    return lambda seed: lambda: seed.randrange(codes)


def mixed(share: float, codes: int) -> Source:
    """One code takes this share, the others are uniformly distributed."""
    return lambda seed: lambda: 0 if seed.random() < share else seed.randrange(codes)


def weighted(weights: list[float]) -> Source:
    """Each number is used in proportion to its weight."""
    sums = list(itertools.accumulate(weights))
    return lambda seed: lambda: seed.choices(range(len(weights)), cum_weights=sums)[0]


POOLS = [Pool(f"{n:,} numbers", d, 1 / n, simulated(n, d)) for n in (50, 500, 10_000) for d in (4, 5, 6)] + [
    *(Pool("one number for 5 % of calls, others uniform", d, 0.05, mixed(0.05, 10**d)) for d in (4, 6)),
    Pool("500 numbers, 50 of them 5 times as often", 4, 5 / 700, weighted([5.0] * 50 + [1.0] * 450)),
    Pool("500 numbers, 250 of them 3 times as often", 4, 3 / 1000, weighted([3.0] * 250 + [1.0] * 250)),
]


def print_pools() -> None:
    print("| pool | digits | found after: median | in all runs | charged / true, 1,000 codes | 16,384 codes |")
    print("|---|---|---|---|---|---|")
    for pool in POOLS:
        found, early, full = [], [], []
        for sample in pool.samples():
            found.append(next((size for size in SIZES if pool.judge(sample, size).biased), None))
            early.append(pool.judge(sample, 1000).chance / pool.likeliest)
            full.append(pool.judge(sample, SAMPLE).chance / pool.likeliest)
        print(f"| {pool.name} | {pool.digits} | {_found(found)} | {_range(early)} | {_range(full)} |")


def _found(sizes: list[int | None]) -> str:
    after = sorted(size for size in sizes if size)
    if not after:
        return "never: uniform | never"
    missed = f"{len(after)} of {RUNS}"
    return f"{after[RUNS // 2]:,} | {after[-1]:,}" if len(after) == RUNS else f"{missed} | {missed}"


def _range(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def print_false_alarms(runs: int = 10, codes: int = 24_000, each: int = 100) -> None:
    """Samples that slide over a stream of uniformly distributed codes."""
    for digits in (4, 5, 6):
        accused = judged = 0
        for run in range(runs):
            code = uniform(10**digits)(random.Random(run))
            stream = b"".join(code().to_bytes(4, "big") for _ in range(codes))
            for end in range(each, codes + 1, each):
                judged += 1
                accused += measure({digits: stream[max(0, 4 * (end - SAMPLE)) : 4 * end]})[digits].biased
        print(
            f"Uniformly distributed, {digits} digits: {accused} of {judged:,} judgements in {runs} runs accused them."
        )


def print_dominance() -> None:
    """How likely one number may be, compared with what is charged for its pool, before a full sample shows it."""
    for numbers in (50, 500, 2_000, 10_000):
        pairs = round(SAMPLE * (SAMPLE - 1) / 2 / numbers)
        dominant = next(n for n in itertools.count(1) if Recurrence(SAMPLE, n, pairs).dominated)
        print(f"{numbers:,} numbers: one is charged for itself from {dominant * numbers / SAMPLE:.1f} times its share.")
    unseen = next(n for n in itertools.count(1) if Recurrence(SAMPLE, n, 0).contradicts(1e-4))
    print(f"Uniform codes of 4 digits: one code is noticed from {unseen * 1e4 / SAMPLE:.1f} times its share.")


if __name__ == "__main__":
    print_pools()
    print()
    print_false_alarms()
    print()
    print_dominance()

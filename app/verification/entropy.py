"""What a guess is worth: how often the provider's codes recur, and what guesses are charged for it.

A code is the end of a calling number, and the provider has only so many. What counts is the likeliest code, which comes up with the probability
p_max; its binary logarithm, negated, is the min-entropy. NIST SP 800-90B, 6.3.1, bounds p_max by the most common code. Pairs of equal codes estimate
the sum of all p², which is p_max where all numbers are used alike. docs/entropy.md explains the method and its error.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, comb, log, log2, sqrt

from app.verification.errors import StoreUnavailable
from app.verification.guess_budget import LENGTHS, GuessBudget
from app.verification.ids import RECURRENCE, IdCodec
from app.verification.policy import MAX_LIFETIME
from app.verification.ports import BiasMeasured, CodeBias, Observer, Store

MIN_CODES, SAMPLE = 20, 16_384
"""How many codes of a length are judged, the newest: enough to distinguish 100,000 numbers from a million."""

EVIDENCE, DOMINANCE = 32.0, 9.2
"""Nats from which codes count as biased (uniform ones reach it in less than 1 of 10^6 judgements, and of 10^12 of a full sample), and from which one
code counts as more common than the others of its pool (1 in 10^4: the codes are known to be biased then)."""

_Z = 2.576  # standard deviations: each bound holds with 99.5 %, as in SP 800-90B
_PERIOD, _RETRY = 60.0, 1.0  # seconds from one measurement to the next, and after one that failed

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The counts of one sample: codes, how often the most common one came up, and pairs of equal codes."""

    codes: int
    most_common: int
    pairs: int

    @classmethod
    def of(cls, sample: bytes) -> "Recurrence":
        """Count digests of `RECURRENCE` bytes each."""
        codes = len(sample) // RECURRENCE
        counts = Counter(memoryview(sample[: codes * RECURRENCE]).cast("I")).values()
        return cls(codes, max(counts, default=0), sum(n * (n - 1) // 2 for n in counts))

    def contradicts(self, chance: float) -> bool:
        """Whether codes that each come up with at most this probability can't recur so often."""
        # The divisor: a code seen several times adds several pairs at once, so pairs vary more than a Poisson count.
        by_pairs = _surprise(self.pairs, comb(self.codes, 2) * chance) / (1 + 2 * self.codes * chance)
        return self.codes >= MIN_CODES and max(by_pairs, self._dominance(chance)) >= EVIDENCE

    def pool_chance(self, z: float = _Z) -> float:
        """The sum of all p²: its upper bound, or with a negative z its lower one (score interval of a Poisson count)."""
        if self.codes < MIN_CODES:
            return 1.0 if z > 0 else 0.0
        return min(1.0, (self.pairs + z * z / 2 + z * sqrt(self.pairs + z * z / 4)) / comb(self.codes, 2))

    @property
    def most_common_chance(self) -> float:
        """The upper bound of p_max: SP 800-90B, 6.3.1."""
        share = self.most_common / self.codes if self.codes >= MIN_CODES else 1.0
        return min(1.0, share + _Z * sqrt(share * (1 - share) / max(self.codes - 1, 1)))

    @property
    def dominated(self) -> bool:
        """Whether one code is more common than the others of its pool."""
        return self._dominance(self.pool_chance()) >= DOMINANCE

    @property
    def chance(self) -> float:
        """What a guess is worth, if codes are biased."""
        return max(self.pool_chance(), self.most_common_chance if self.dominated else 0.0)

    def _dominance(self, chance: float) -> float:
        """Nats against the most common code being one of at most 1/chance codes."""
        return _surprise(self.most_common, self.codes * chance) + log(chance)


def _surprise(count: int, expected: float) -> float:
    """Nats, by Chernoff's bound, against a binomial or Poisson count that is as high as this."""
    return count * log(count / expected) - count + expected if count > expected else 0.0


def measure(samples: Mapping[int, bytes]) -> dict[int, CodeBias]:
    """Estimate what a guess is worth, for codes of each length.

    All are ends of the same numbers, so the likeliest longer code is never likelier than the likeliest shorter one. What longer codes show
    holds for shorter ones. What shorter codes show holds for longer ones, as far as the longer ones' own sample leaves room. A sample is the
    digests of codes, `RECURRENCE` bytes each.
    """
    seen = {digits: Recurrence.of(samples.get(digits, b"")) for digits in LENGTHS}
    found: dict[int, CodeBias] = {}
    inherited, dominated, upper = 0.0, False, 1.0
    for digits, own in seen.items():
        uniform = 10.0**-digits
        these = [seen[each] for each in LENGTHS if each >= digits]
        room = own.most_common_chance if dominated else own.pool_chance()
        chance = max(uniform, min(inherited, room), *(each.chance for each in these if each.contradicts(uniform)))
        if chance > uniform:
            inherited, dominated = chance, dominated or own.dominated
        upper = max(chance, min(upper, own.most_common_chance))
        lower = min(chance, max(uniform, *(each.pool_chance(-_Z) for each in these)))
        bits = (log2(1 / each) for each in (chance, upper, lower))
        found[digits] = CodeBias(digits, own.codes, chance, chance > uniform, *bits)
    return found


class EntropyMonitor:
    """What one worker knows of the codes. It hands on digests of ended codes only, so the store holds none of a code that still counts."""

    def __init__(
        self, store: Store, codec: IdCodec, guesses: GuessBudget, observe: Observer, clock: Clock = time.monotonic
    ) -> None:
        """Assume uniformly distributed codes, for which `guesses` is the budget; `clock` counts seconds."""
        self._store, self._codec, self._uniform, self._observe, self._clock = store, codec, guesses, observe, clock
        self._waiting: dict[int, deque[tuple[float, bytearray]]] = {digits: deque() for digits in LENGTHS}
        self.guesses = guesses
        self.bias: Mapping[int, CodeBias] = measure({})

    def note(self, code: str) -> None:
        """Remember a code until it counts no more; at most as many as a sample holds.

        The caller notes one code for each phone and day, so that strangers can't bias the sample by calls to phones of their own.
        """
        waiting = self._waiting[len(code)]
        if sum(len(digests) for _, digests in waiting) < SAMPLE * RECURRENCE:
            # Together with the others of a period: an object each would take some thirty times the memory.
            until = ceil((self._clock() + MAX_LIFETIME) / _PERIOD) * _PERIOD
            if not waiting or waiting[-1][0] < until:
                waiting.append((until, bytearray()))
            waiting[-1][1].extend(self._codec.recurrence(code))

    async def measure(self) -> None:
        """Add the codes that count no more to the samples of all workers, and measure again.

        Raises:
            StoreUnavailable: the codes may be in the samples. They are not added again: each would seem to recur.
        """
        bias = measure(await self._store.sample({digits: self._ended(each) for digits, each in self._waiting.items()}))
        guesses = self._uniform.charging({digits: each.chance for digits, each in bias.items()})
        worse = any(each.biased > self.bias[digits].biased for digits, each in bias.items())
        worse = worse or guesses.impossible > self.guesses.impossible
        self.bias, self.guesses = bias, guesses
        self._store.charge(guesses)
        self._observe(BiasMeasured(bias, worse, guesses.impossible))

    async def watch(self) -> None:
        """Measure each minute, until canceled."""
        while True:
            pause = _RETRY
            with suppress(StoreUnavailable):
                await self.measure()
                pause = _PERIOD
            await asyncio.sleep(pause)

    def _ended(self, waiting: deque[tuple[float, bytearray]]) -> bytes:
        """Take the digests of the codes that count no more. They are shuffled: their order would show which phone was called when."""
        taken, now = bytearray(), self._clock()
        while waiting and waiting[0][0] <= now:
            taken += waiting.popleft()[1]
        digests = [taken[place : place + RECURRENCE] for place in range(0, len(taken), RECURRENCE)]
        return b"".join(random.sample(digests, len(digests)))

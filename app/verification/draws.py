"""Watches how the provider draws its codes, and charges guesses by what it sees.

Codes are the ends of the provider's numbers, and of these there are only so many. Each worker keeps keyed digests of the codes it was given
until they count no more, then adds them to the samples that all workers share, and measures how often codes recur (odds.py). So the store never
holds a digest by which one phone's live code could be told from another's.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from app.verification.code import MAX_DIGITS, MIN_DIGITS
from app.verification.errors import StoreUnavailable
from app.verification.guess_budget import GuessBudget
from app.verification.ids import IdCodec
from app.verification.odds import SAMPLE, Odds, odds_of
from app.verification.policy import MAX_LIFETIME
from app.verification.ports import Observer, OddsMeasured, Store

PERIOD = 60.0
"""Seconds from one measurement to the next."""

_SOON = 1.0
"""Seconds until the next try, where the store did not answer."""

_LENGTHS = range(MIN_DIGITS, MAX_DIGITS + 1)


class Draws:
    """What one worker knows of how codes are drawn."""

    def __init__(
        self,
        store: Store,
        codec: IdCodec,
        guesses: GuessBudget,
        observe: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with codes taken for evenly drawn.

        Args:
            store: where the samples are, and what charges guesses.
            codec: for the digests.
            guesses: the budget, if codes are evenly drawn.
            observe: is told what was measured.
            clock: seconds.
        """
        self._store = store
        self._codec = codec
        self._even = guesses
        self._observe = observe
        self._clock = clock
        self._drawn: dict[int, deque[tuple[float, bytes]]] = {digits: deque() for digits in _LENGTHS}
        self.guesses = guesses
        self.impossible = guesses.impossible
        self.odds: Mapping[int, Odds] = odds_of({})

    def note(self, code: str) -> None:
        """Take note of a code that the provider drew. Beyond as many as a sample holds, a worker leaves out the rest of ten minutes."""
        drawn = self._drawn[len(code)]
        if len(drawn) < SAMPLE:
            drawn.append((self._clock() + MAX_LIFETIME, self._codec.recurrence(code)))

    async def measure(self) -> None:
        """Hand over the codes that count no more, and measure again.

        Raises:
            StoreUnavailable: what was handed over may be in the sample or not. It is not handed over again: there twice, each code would
                seem to recur.
        """
        now = self._clock()
        ripe: dict[int, list[bytes]] = {digits: [] for digits in _LENGTHS}
        for digits, drawn in self._drawn.items():
            while drawn and drawn[0][0] <= now:
                ripe[digits].append(drawn.popleft()[1])
        for digests in ripe.values():
            # Their order is nobody's business: it would tell which phone was called when.
            random.shuffle(digests)
        samples = await self._store.sample({digits: b"".join(digests) for digits, digests in ripe.items()})
        self._charge(odds_of(samples))

    async def watch(self) -> None:
        """Measure again and again, until canceled."""
        while True:
            pause = _SOON
            with suppress(StoreUnavailable):
                await self.measure()
                pause = PERIOD
            await asyncio.sleep(pause)

    def _charge(self, odds: Mapping[int, Odds]) -> None:
        guesses = self._even.charging({digits: each.chance for digits, each in odds.items()})
        worse = any(each.uneven and not self.odds[digits].uneven for digits, each in odds.items())
        worse = worse or (guesses.impossible and not self.impossible)
        self.odds, self.guesses, self.impossible = odds, guesses, guesses.impossible
        self._store.charge(guesses)
        self._observe(OddsMeasured(odds, worse, guesses.impossible))

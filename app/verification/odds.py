"""How evenly the provider draws its codes, and so what one guess is worth: estimated from how often codes recur.

A code is the end of one of the provider's numbers, and of these there is only a pool. What counts for whoever guesses is the likeliest code: it
comes up with p_max, whose negative logarithm is the min-entropy (NIST SP 800-90B). Three statistics of a sample of L codes speak of it:

- collisions, the pairs of equal codes: their share estimates P2, the sum of all p². A pool of N numbers that are drawn evenly has
  p_max = P2 = 1/N, and no distribution has a p_max below its P2;
- repeats, the codes that came up before (Knuth's collision test, The Art of Computer Programming 3.3.2): they estimate nothing, but how many evenly
  drawn codes show has an exact bound, so they find a small pool first;
- the most common code, seen m times: p_max is about m / L at most.

As long as none is more than evenly drawn digits can show, a guess is charged 10^-digits. docs/entropy.md explains the method and its error.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from app.verification.code import MAX_DIGITS, MIN_DIGITS

SAMPLE = 16_384
"""Codes of a length that are looked at, the newest: enough to tell a pool of 100,000 numbers from a million."""

LEVEL = 1e-6
"""Chance that evenly drawn codes are taken for uneven ones: small, for the same sliding sample is judged each minute for years."""

FEWEST = 20
"""Codes before they are judged: two equal ones of six digits alone would say a lot, and stop all calls. The smallest pools show by then."""

_DIGEST = 4
_WIDTH = 2.0
"""Standard deviations of the confidence interval: 97.7 % to each side."""

_MISS = 0.023
"""The same as a chance: that the truth lies beyond."""

_ALARM = 6.0
"""Standard deviations, and collisions besides, above what evenly drawn codes show: more than a normal LEVEL asks for, since collisions are no
independent events (tests/unit/test_odds.py bounds what is left)."""

_HALVINGS = 30
"""Of an interval of as many natural logarithms, in search of a limit."""

_LENGTHS = range(MIN_DIGITS, MAX_DIGITS + 1)


@dataclass(frozen=True, slots=True)
class Odds:
    """How codes of so many digits are drawn.

    Attributes:
        digits: so many.
        drawn: how many codes were looked at.
        chance: what a guess at one of them is charged: of the likeliest code, and never less than 10^-digits.
        uneven: they recur more often than evenly drawn ones can, or shorter ends of the same numbers do.
        min_entropy: of that chance, in bits.
        low: the low end of the min-entropy's confidence interval, 97.7 %.
        high: its high end.
    """

    digits: int
    drawn: int
    chance: float
    uneven: bool
    min_entropy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is counted in a sample of `drawn` codes.

    Attributes:
        collisions: pairs of equal codes.
        triples: ordered triples of equal codes.
        repeats: codes that came up before.
        common: how often the commonest came up.
    """

    drawn: int
    collisions: int
    triples: int
    repeats: int
    common: int

    @property
    def pairs(self) -> int:
        """All pairs of codes, equal or not."""
        return self.drawn * (self.drawn - 1) // 2

    @property
    def margin(self) -> float:
        """Two standard deviations of the collisions: those of a Poisson count, and what uneven use adds, which is the larger part if there is any."""
        added = self.triples - 4 * self.collisions**2 * (self.drawn - 2) / (self.drawn * (self.drawn - 1))
        return _WIDTH * math.sqrt(self.collisions + 1 + max(0.0, added))

    def against(self, even: float) -> bool:
        """Whether this is more than codes show of which each comes up with this chance at most."""
        if self.drawn < FEWEST:
            return False
        return self.collide(even) or _is_rare(self.common, self.drawn, even, LEVEL)

    def collide(self, even: float) -> bool:
        """The same, by all codes rather than by the commonest."""
        expected = self.pairs * even
        if self.collisions > expected + _ALARM * math.sqrt(expected) + _ALARM:
            return True
        if not self.repeats > expected > 0:
            return False
        # The code after i others repeats one of them with i * even at most, whatever came before: Chernoff's bound of such a sum.
        beyond = self.repeats * math.log(self.repeats / expected) - self.repeats + expected
        return -beyond <= math.log(LEVEL)


@dataclass(frozen=True, slots=True)
class _Own:
    """What a sample says of its own length: `most` and `least` are the confidence interval of p_max, `spread` the upper end of P2's."""

    seen: _Seen
    uneven: bool
    chance: float
    spread: float
    least: float
    most: float

    def holds_for(self, shorter: "_Own", even: float) -> float:
        """What this says of the shorter ends of the same numbers, which come up as often at least."""
        return max(self.least, min(self.chance, shorter.spread)) if self.seen.against(even) else self.least


def odds_of(samples: Mapping[int, bytes]) -> dict[int, Odds]:
    """Estimate how codes are drawn, of each length.

    Codes of all lengths are ends of the same numbers, so a longer one's likeliest is never likelier than a shorter one's. Where a length was not seen
    enough to speak for itself, what shorter ones show holds for it; and what longer ones show that its own evenly drawn digits could not holds too.

    Args:
        samples: digests of codes, 4 bytes each, by the codes' digits.
    """
    own = {digits: _estimate(_count(samples.get(digits, b"")), 10.0**-digits) for digits in _LENGTHS}
    found: dict[int, Odds] = {}
    chance, uneven, most = 1.0, False, 1.0
    for digits in _LENGTHS:
        each, even = own[digits], 10.0**-digits
        longer = [own[more] for more in range(digits + 1, MAX_DIGITS + 1) if own[more].uneven]
        said = each.chance if each.uneven else max(even, each.spread)
        chance = min(said, chance if uneven else 1.0) if each.uneven or uneven else even
        uneven = uneven or each.uneven
        chance = max(chance, even, *(told.holds_for(each, even) for told in longer))
        most = max(min(most, each.most), chance)
        least = min(max(each.least, even, *(told.least for told in longer)), chance)
        bits = [math.log2(1 / value) for value in (chance, most, least)]
        found[digits] = Odds(digits, each.seen.drawn, chance, chance > even, *bits)
    return found


def _count(sample: bytes) -> _Seen:
    drawn = len(sample) // _DIGEST
    counts = Counter(memoryview(sample[: drawn * _DIGEST]).cast("I"))
    often = Counter(counts.values())
    collisions = sum(codes * times * (times - 1) for times, codes in often.items()) // 2
    triples = sum(codes * times * (times - 1) * (times - 2) for times, codes in often.items())
    return _Seen(drawn, collisions, triples, drawn - len(counts), max(often, default=0))


def _estimate(seen: _Seen, even: float) -> _Own:
    if seen.pairs == 0:
        return _Own(seen, False, even, 1.0, 0.0, 1.0)
    spread = min(1.0, (seen.collisions + seen.margin + 1) / seen.pairs)
    least = max((seen.collisions - seen.margin) / seen.pairs, _lower(seen.common, seen.drawn))
    most = min(1.0, _upper(seen.common) / seen.drawn)
    uneven = seen.against(even)
    chance = even
    if uneven:
        chance = max(spread, even)
        # One number comes up more often than the rest of the pool: else there are too many collisions for one number to explain.
        if not seen.collide(even) or _is_rare(seen.common, seen.drawn, spread, LEVEL):
            chance = max(chance, min(1.0, (seen.common + _WIDTH * math.sqrt(seen.common)) / seen.drawn))
    return _Own(seen, uneven, chance, spread, min(least, chance), max(most, chance))


def _is_rare(common: int, drawn: int, each: float, level: float) -> bool:
    """Whether any of the codes, none likelier than `each`, comes up so often only with this chance at most: Chernoff's bound, times 1/each codes."""
    share = common / drawn
    if share <= each:
        return False
    divergence = share * math.log(share / each)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - each))
    return -math.log(each) - drawn * divergence <= math.log(level)


def _lower(common: int, drawn: int) -> float:
    """The lower confidence limit of the likeliest code's chance, by the commonest: the largest one with which so common a code is rare."""
    low, high = math.log(common / drawn) - _HALVINGS, math.log(common / drawn)
    if not _is_rare(common, drawn, math.exp(low), _MISS):
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _is_rare(common, drawn, math.exp(middle), _MISS) else (low, middle)
    return math.exp(low)


def _upper(count: int) -> float:
    """The upper confidence limit of what was counted so often: a Poisson mean's, after Wilson and Hilferty."""
    more = count + 1
    return more * (1 - 1 / (9 * more) + _WIDTH / (3 * math.sqrt(more))) ** 3

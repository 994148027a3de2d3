"""How evenly the provider draws its codes, and so what one guess is worth: estimated from how often codes recur.

A code is the end of one of the provider's numbers, and of these there is only a pool. What counts for whoever guesses is the likeliest code: it
comes up with p_max, whose negative logarithm is the min-entropy (NIST SP 800-90B). Two statistics of a sample of L codes speak of it:

- collisions, the pairs of equal codes: their share estimates P2, the sum of all p². A pool of N numbers that are drawn evenly has
  p_max = P2 = 1/N, and no distribution has a p_max below its P2;
- the most common code, seen m times: p_max is about m / L at most.

As long as neither is more than evenly drawn digits can show, a guess is charged 10^-digits. docs/entropy.md explains the method and its error.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from app.verification.code import LEAST_DIGITS, MOST_DIGITS

SAMPLE = 16_384
"""Codes of a length that are looked at, the newest: enough to tell a pool of 100,000 numbers from a million."""

LEVEL = 1e-6
"""Chance that evenly drawn codes are taken for uneven ones: small, for the same sliding sample is judged each minute for years."""

_DIGEST = 4
_WIDTH = 2.0
"""Standard deviations of the confidence interval: 97.7 % to each side."""

_ALARM = 6.0
"""Standard deviations, and collisions besides, above what evenly drawn codes show: far beyond LEVEL, since collisions are no independent events."""

_LENGTHS = range(LEAST_DIGITS, MOST_DIGITS + 1)


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
class _Own:
    """What a sample says of its own length: `most` and `least` are the confidence interval of p_max, `spread` the upper end of P2's."""

    drawn: int
    uneven: bool
    chance: float
    spread: float
    least: float
    most: float


def odds_of(samples: Mapping[int, bytes]) -> dict[int, Odds]:
    """Estimate how codes are drawn, of each length.

    Codes of all lengths are ends of the same numbers, so a longer one's likeliest is never likelier than a shorter one's. Where a length was not seen
    enough to speak for itself, what shorter ones show holds for it.

    Args:
        samples: digests of codes, 4 bytes each, by the codes' digits.
    """
    own = {digits: _estimate(samples.get(digits, b""), 10.0**-digits) for digits in _LENGTHS}
    found: dict[int, Odds] = {}
    chance, uneven, most = 1.0, False, 1.0
    for digits in _LENGTHS:
        each, even = own[digits], 10.0**-digits
        longer = [own[more].least for more in range(digits + 1, MOST_DIGITS + 1) if own[more].uneven]
        said = each.chance if each.uneven else max(even, each.spread)
        chance = min(said, chance if uneven else 1.0) if each.uneven or uneven else even
        uneven = uneven or each.uneven
        chance = max(chance, even, *longer)
        most = max(min(most, each.most), chance)
        least = min(max(each.least, even, *longer), chance)
        bits = [-math.log2(value) for value in (chance, most, least)]
        found[digits] = Odds(digits, each.drawn, chance, chance > even, *bits)
    return found


def _estimate(sample: bytes, even: float) -> _Own:
    drawn = len(sample) // _DIGEST
    pairs = drawn * (drawn - 1) / 2
    if pairs == 0:
        return _Own(drawn, False, even, 1.0, 0.0, 1.0)
    counts = Counter(memoryview(sample[: drawn * _DIGEST]).cast("I")).values()
    collisions = sum(count * (count - 1) for count in counts) / 2
    common = max(counts)
    margin = _WIDTH * math.sqrt(collisions + 1)
    spread = min(1.0, (collisions + margin + 1) / pairs)
    least = max(0.0, collisions - margin) / pairs
    most = min(1.0, _upper(common) / drawn)

    expected = pairs * even
    too_many = collisions > expected + _ALARM * math.sqrt(expected) + _ALARM
    uneven = too_many or _is_rare(common, drawn, even)
    chance = even
    if uneven:
        chance = max(spread, even)
        # One number comes up more often than the rest of the pool: else there are too many collisions for one number to explain.
        if not too_many or _is_rare(common, drawn, spread):
            chance = max(chance, min(1.0, (common + _WIDTH * math.sqrt(common)) / drawn))
            least = max(least, (common - _WIDTH * math.sqrt(common)) / drawn)
    return _Own(drawn, uneven, chance, spread, min(least, chance), max(most, chance))


def _is_rare(common: int, drawn: int, each: float) -> bool:
    """Whether any of 1/each equally likely codes comes up so often only with `LEVEL` at most: Chernoff's bound, times as many codes."""
    share = common / drawn
    if share <= each:
        return False
    divergence = share * math.log(share / each)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - each))
    return -math.log(each) - drawn * divergence <= math.log(LEVEL)


def _upper(count: int) -> float:
    """The upper confidence limit of what was counted so often: a Poisson mean's, after Wilson and Hilferty."""
    more = count + 1
    return more * (1 - 1 / (9 * more) + _WIDTH / (3 * math.sqrt(more))) ** 3

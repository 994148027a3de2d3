"""How evenly codes are drawn, estimated from samples whose truth is known: pools of numbers, a hot number, even digits."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.odds import FEWEST, LEVEL, SAMPLE, Odds, _count, _Seen, odds_of

Draw = Callable[[random.Random], int]


def _sample(draw: Draw, count: int, seed: int = 1) -> bytes:
    drawn = random.Random(seed)
    return b"".join(draw(drawn).to_bytes(4, "big") for _ in range(count))


def _pool(size: int) -> Draw:
    return lambda drawn: drawn.randrange(size)


def _hot(share: float, size: int) -> Draw:
    """One number takes this share of the calls, the others are drawn evenly."""
    return lambda drawn: 0 if drawn.random() < share else drawn.randrange(1, size)


def _zipf(size: int) -> tuple[Draw, float]:
    """The n-th number comes up in proportion to 1/n; and how likely the first is."""
    weights = [1 / n for n in range(1, size + 1)]
    sums = list(itertools.accumulate(weights))
    return lambda drawn: drawn.choices(range(size), cum_weights=sums)[0], 1 / sums[-1]


def _tiers(size: int, hot: int, times: int) -> tuple[Draw, list[float]]:
    """So many of the numbers are so many times as likely as the others; and how likely each number is."""
    weights = [times] * hot + [1] * (size - hot)
    sums = list(itertools.accumulate(weights))
    return lambda drawn: drawn.choices(range(size), cum_weights=sums)[0], [weight / sums[-1] for weight in weights]


def _tails(size: int, digits: int, seed: int) -> tuple[Draw, float]:
    """Ends of numbers that are anything, so that some end alike; and how likely the likeliest is."""
    ends = random.Random(seed).choices(range(10**digits), k=size)
    return lambda drawn: drawn.choice(ends), max(Counter(ends).values()) / size


def _of(draw: Draw, count: int, digits: int = 4, seed: int = 1) -> Odds:
    return odds_of({digits: _sample(draw, count, seed)})[digits]


@pytest.mark.parametrize("digits", [4, 5, 6])
@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000, SAMPLE])
def test_evenly_drawn_codes_are_charged_as_such(digits: int, count: int) -> None:
    odds = _of(_pool(10**digits), count, digits)
    assert (odds.uneven, odds.chance, odds.drawn) == (False, 10.0**-digits, count)
    assert odds.min_entropy == pytest.approx(digits * math.log2(10))
    assert 0 <= odds.low <= odds.min_entropy == odds.high


@pytest.mark.parametrize(("size", "digits"), [(50, 4), (500, 4), (50, 6), (500, 6), (10_000, 5), (10_000, 6)])
@pytest.mark.parametrize("seed", range(5))
def test_a_pool_of_numbers_is_charged_as_one_of_so_many(size: int, digits: int, seed: int) -> None:
    odds = _of(_pool(size), SAMPLE, digits, seed)
    assert odds.uneven
    assert 1 / size <= odds.chance * 1.02, "not too little"
    assert odds.chance <= 1.06 / size, "and little too much"
    assert odds.low <= math.log2(size) <= odds.high + 0.05
    assert odds.min_entropy == pytest.approx(math.log2(size), abs=0.1)


def test_ten_thousand_numbers_with_different_ends_are_as_good_as_even_ones_at_four_digits() -> None:
    assert not _of(_pool(10_000), SAMPLE).uneven


@pytest.mark.parametrize(("size", "within"), [(50, 40), (500, 130), (2000, 400)])
def test_a_small_pool_is_seen_soon(size: int, within: int) -> None:
    seen = [_of(_pool(size), within, seed=seed).uneven for seed in range(50)]
    assert sum(seen) >= 49, "the sooner the smaller it is: some five times the root of it"


@pytest.mark.parametrize(("size", "digits"), [(50, 4), (500, 4), (10_000, 4), (500, 6), (10_000, 6)])
def test_numbers_that_end_alike_are_one_code(size: int, digits: int) -> None:
    draw, truth = _tails(size, digits, seed=3)
    odds = _of(draw, SAMPLE, digits)
    assert odds.uneven
    assert 2**-odds.high <= truth <= 2**-odds.low


# ---- the level of the alarm


@pytest.mark.parametrize(("most", "drawn"), [(10, 6), (7, 7), (14, 5)])
def test_repeats_of_even_draws_are_as_rare_as_is_taken_for_granted(most: int, drawn: int) -> None:
    """All draws there are, counted: the code after i others repeats one of them with i / most at most."""
    seen = Counter[int]()
    for draws in itertools.product(range(most), repeat=drawn - 1):  # the first may be any: all are alike
        seen[drawn - len({0, *draws})] += 1
    expected = drawn * (drawn - 1) / 2 / most
    for repeats in range(math.ceil(expected), drawn):
        tail = sum(count for often, count in seen.items() if often >= repeats) / most ** (drawn - 1)
        assert tail <= math.exp(-(repeats * math.log(repeats / expected) - repeats + expected))


@pytest.mark.parametrize("digits", [4, 5, 6])
@pytest.mark.parametrize("drawn", [20, 100, 500, 2000, SAMPLE])
def test_collisions_of_even_draws_set_off_no_alarm(digits: int, drawn: int) -> None:
    """A bound, no estimate: Chernoff's over codes that come up by Poisson's law, given that they are so many in all."""
    even = 10.0**-digits
    alarm = next(
        many for many in itertools.count(int(drawn * drawn * even / 2)) if _collisions(many, drawn).collide(even)
    )
    common = next(many for many in itertools.count(2) if _common(many, drawn).against(even))
    assert _chernoff(10**digits, drawn, alarm, common) <= 20 * LEVEL, "the bound's slack: some root of 2 pi times drawn"


def _collisions(many: int, drawn: int) -> _Seen:
    return _Seen(drawn, many, 0, 0, 1)


def _common(many: int, drawn: int) -> _Seen:
    return _Seen(drawn, 0, 0, 0, many)


def _chernoff(codes: int, drawn: int, collisions: int, common: int) -> float:
    """The chance of so many collisions at least, with no code as often as `common`: exp(K(s, t) - s drawn - t collisions), over P(drawn in all)."""
    mean = drawn / codes
    weights = [-mean + often * math.log(mean) - math.lgamma(often + 1) for often in range(common)]

    def tilted(more: float, pairs: float) -> tuple[float, float, float]:
        """The cumulant of one code, and its mean count and collisions under the tilt."""
        terms = [math.exp(weight + more * n + pairs * n * (n - 1) / 2) for n, weight in enumerate(weights)]
        total = sum(terms)
        counts = sum(n * term for n, term in enumerate(terms)) / total
        return math.log(total), counts, sum(n * (n - 1) / 2 * term for n, term in enumerate(terms)) / total

    def drawing(pairs: float) -> float:
        return _root(lambda more: tilted(more, pairs)[1] - mean, -60, 10)

    pairs = _root(lambda tilt: tilted(drawing(tilt), tilt)[2] * codes - collisions, 0, 12)
    more = drawing(pairs)
    all_drawn = -0.5 * math.log(2 * math.pi * drawn) - 1 / (12 * drawn)
    return math.exp(codes * tilted(more, pairs)[0] - pairs * collisions - more * drawn - all_drawn)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return low


def test_no_even_draw_is_ever_taken_for_an_uneven_one() -> None:
    """A sample that slides over 180,000 codes, judged every 200."""
    for seed, digits in itertools.product(range(3), (4, 5, 6)):
        stream = _sample(_pool(10**digits), 20_000, seed)
        for end in range(200, 20_000, 200):
            sample = stream[max(0, 4 * (end - 2000)) : 4 * end]
            assert not odds_of({digits: sample})[digits].uneven


@pytest.mark.parametrize(("share", "count"), [(0.5, 500), (0.1, 500), (0.01, 4000)])
def test_a_number_that_is_used_more_than_others_is_what_is_charged(share: float, count: int) -> None:
    odds = _of(_hot(share, 10_000), count)
    assert odds.uneven
    assert share * 0.8 <= odds.chance <= share * 1.6


def test_a_pool_that_is_used_ever_less_is_charged_by_its_first_number() -> None:
    draw, truth = _zipf(500)
    odds = _of(draw, 4000)
    assert truth * 0.9 <= odds.chance <= truth * 1.3


def test_the_interval_holds_the_truth() -> None:
    held = [_of(_pool(size), count, seed=seed) for seed in range(60) for size, count in ((500, 2000), (2000, 2000))]
    truths = itertools.cycle((math.log2(500), math.log2(2000)))
    misses = [odds for odds, truth in zip(held, truths, strict=False) if not odds.low <= truth <= odds.high]
    assert len(misses) <= 6, "one in twenty at most"


@pytest.mark.parametrize("count", [300, 1000, 4000])
@pytest.mark.parametrize(
    ("size", "hot", "times"), [(500, 0, 1), (500, 250, 3), (500, 50, 5), (50, 25, 3), (2000, 100, 10)]
)
def test_the_interval_holds_the_truth_of_a_pool_that_is_used_unevenly(
    size: int, hot: int, times: int, count: int
) -> None:
    draw, chances = _tiers(size, hot, times)
    seen = [_of(draw, count, seed=seed) for seed in range(30)]
    missed = [odds for odds in seen if not 2**-odds.high <= max(chances) * 1.000001 <= 2**-odds.low * 1.00001]
    assert len(missed) <= 4, "2.3 % to each side"
    assert sum(odds.chance < sum(chance**2 for chance in chances) for odds in seen) <= 4, "nor is less charged than P2"


def test_triples_and_the_other_counts_are_those_of_a_count_by_hand() -> None:
    sample = b"".join(code.to_bytes(4, "big") for code in (7, 7, 7, 8, 8, 9))
    assert _count(sample + b"odd") == _Seen(drawn=6, collisions=4, triples=6, repeats=3, common=3)


def test_one_code_again_and_again_is_certain() -> None:
    odds = odds_of({4: bytes(4 * 100)})[4]
    assert (odds.uneven, odds.chance, odds.min_entropy) == (True, 1.0, 0.0)


def test_what_is_known_of_short_codes_holds_for_longer_ones_until_they_speak_for_themselves() -> None:
    pool = _sample(_pool(50), 300)
    assert {odds.chance for odds in odds_of({4: pool}).values()} == {odds_of({4: pool})[4].chance}
    spoken = odds_of({4: pool, 6: _sample(_pool(1_000_000), 3000)})
    assert spoken[6].chance < spoken[4].chance / 100, "pooled at four digits, and nearly even at six"
    assert spoken[5].chance == spoken[4].chance


def test_what_is_known_of_long_codes_holds_for_shorter_ones() -> None:
    odds = odds_of({6: _sample(_pool(50), 1000), 4: _sample(_pool(10_000), 10)})
    assert odds[4].chance >= 0.015, "an end of fifty numbers is one of fifty at most"
    assert odds[4].uneven


@pytest.mark.parametrize("sample", [bytes(4 * FEWEST), _sample(_pool(50), 300)])
def test_a_length_that_was_not_seen_is_charged_what_a_longer_one_shows(sample: bytes) -> None:
    odds = odds_of({6: sample})
    assert odds[4].chance == odds[5].chance == odds[6].chance
    assert 2 ** -odds[4].low == 1, "of its own it says nothing"
    assert odds[4].high == odds[6].high


def test_a_length_that_was_seen_is_charged_no_more_than_it_leaves_room_for() -> None:
    different = b"".join(code.to_bytes(4, "big") for code in range(100))
    odds = odds_of({4: different, 6: _sample(_pool(500), 130)})
    room = (0 + 2 + 1) / (100 * 99 / 2)
    assert odds[4].chance == pytest.approx(max(room, 2 ** -odds[6].high))
    assert odds[4].chance < odds[6].chance


def test_long_codes_take_nothing_from_what_many_short_ones_show() -> None:
    """Of a block of 10,000 numbers six digits are no better than four, and four are as good as they look."""
    block = _sample(_pool(10_000), SAMPLE)
    odds = odds_of({4: block, 6: block})
    assert (odds[4].uneven, odds[6].uneven) == (False, True)
    assert odds[6].chance == pytest.approx(0.0001, rel=0.05)


def test_long_codes_of_a_new_small_pool_outweigh_old_short_ones() -> None:
    odds = odds_of({6: _sample(_pool(50), 300), 4: _sample(_pool(10_000), SAMPLE)})
    assert odds[4].chance >= 0.018, "the old pool's codes stay in the sample for long"


_FEW_CODES = st.lists(st.sampled_from([b"aaaa", b"bbbb", b"cccc"]), max_size=40).map(b"".join)


@given(st.dictionaries(st.sampled_from([4, 5, 6]), _FEW_CODES | st.binary(max_size=400)))
def test_whatever_the_sample_the_figures_are_in_order(samples: dict[int, bytes]) -> None:
    found = odds_of(samples)
    assert list(found) == [4, 5, 6]
    for digits, odds in found.items():
        assert 10.0**-digits <= odds.chance <= 1
        assert 0 <= odds.low <= odds.min_entropy <= odds.high + 1e-9 <= digits * math.log2(10) + 1e-6
        assert odds.uneven == (odds.chance > 10.0**-digits)
    for shorter, longer in itertools.pairwise(found.values()):
        assert shorter.min_entropy <= longer.high + 1e-9, (
            "no less than the longer one's likeliest code comes up with at least"
        )


@pytest.mark.parametrize("digits", [4, 5, 6])
def test_a_few_codes_are_not_judged_whatever_they_are(digits: int) -> None:
    for count in range(FEWEST):
        assert not odds_of({digits: bytes(4 * count)})[digits].uneven
    assert odds_of({digits: bytes(4 * FEWEST)})[digits].uneven

"""How evenly codes are drawn, estimated from samples whose truth is known: pools of numbers, a hot number, even digits."""

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.odds import SAMPLE, Odds, odds_of

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


@pytest.mark.parametrize(("size", "within"), [(50, 60), (500, 200), (2000, 450)])
def test_a_small_pool_is_seen_soon(size: int, within: int) -> None:
    seen = [_of(_pool(size), within, seed=seed).uneven for seed in range(50)]
    assert sum(seen) >= 49, "the sooner the smaller it is: some four times the root of it"


def test_no_even_draw_is_ever_taken_for_an_uneven_one() -> None:
    """A sample that slides over 60,000 codes, judged every 200: as a year's worth of minutes for a quiet service."""
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


@given(st.dictionaries(st.sampled_from([4, 5, 6]), st.binary(max_size=400)))
def test_whatever_the_sample_the_figures_are_in_order(samples: dict[int, bytes]) -> None:
    found = odds_of(samples)
    assert list(found) == [4, 5, 6]
    for digits, odds in found.items():
        assert 10.0**-digits <= odds.chance <= 1
        assert 0 <= odds.low <= odds.min_entropy <= odds.high + 1e-9 <= digits * math.log2(10) + 1e-6
        assert odds.uneven == (odds.chance > 10.0**-digits)
    assert found[4].chance >= found[5].chance >= found[6].chance

"""What guesses are worth, estimated from samples whose truth is known; and uniformly distributed codes are not accused."""

import itertools
import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.verification.entropy import EVIDENCE, MIN_CODES, SAMPLE, Recurrence, measure
from app.verification.ports import CodeBias
from bench.entropy import Source, mixed, simulated, uniform, weighted

LENGTHS = (4, 5, 6)


def _sample(source: Source, count: int, seed: int = 1) -> bytes:
    code = source(random.Random(seed))
    return b"".join(code().to_bytes(4, "big") for _ in range(count))


def _bias(source: Source, count: int, digits: int = 4, seed: int = 1) -> CodeBias:
    return measure({digits: _sample(source, count, seed)})[digits]


def test_the_counts_are_those_of_a_count_by_hand() -> None:
    sample = b"".join(code.to_bytes(4, "big") for code in (7, 7, 7, 8, 8, 9))
    assert Recurrence.of(sample + b"odd") == Recurrence(codes=6, most_common=3, pairs=4)


def test_the_most_common_value_estimate_is_that_of_the_example_in_sp_800_90b() -> None:
    """Section 6.3.1: 20 samples, 8 of them the most common."""
    assert Recurrence(20, 8, 0).most_common_chance == pytest.approx(0.6895, abs=0.0001)


# ---- uniformly distributed codes


@pytest.mark.parametrize("digits", LENGTHS)
@pytest.mark.parametrize("count", [0, 1, 2, 1000, SAMPLE])
def test_uniform_codes_are_charged_as_such(digits: int, count: int) -> None:
    bias = _bias(uniform(10**digits), count, digits)
    assert (bias.biased, bias.chance, bias.codes_seen) == (False, 10.0**-digits, count)
    assert 0 <= bias.min_entropy_low <= bias.min_entropy == pytest.approx(digits * math.log2(10))


@pytest.mark.parametrize("digits", LENGTHS)
def test_uniform_codes_are_accused_less_than_once_in_a_million_judgements(digits: int) -> None:
    """A bound, for every size of a sample; and for a sample that grows code by code, ever; and for a full one, judged each minute of a century.

    Pairs only grow with the sample, and so does the number of pairs that is accused. So one bound holds for all sizes from `smallest` to `largest`: that
    of the pairs of the largest with the threshold of the smallest.
    """
    codes, smallest, ever, chance = 10**digits, MIN_CODES, 0.0, 0.0
    while smallest <= SAMPLE:
        largest = min(SAMPLE, smallest + min(smallest // 50, math.isqrt(codes) // 6))
        common, pairs = _accused_common(codes, largest), _accused_pairs(codes, smallest)
        too_common = codes * math.exp(-_exponent(common, largest / codes))
        assert too_common <= math.exp(-EVIDENCE) * 1.0001
        # Cut off at `common`: that a code comes up so often is one more way to be accused.
        chance = _chance_of_pairs(codes, largest, pairs, common - 1) + 2 * too_common
        assert chance < 1e-6
        ever += chance * (largest - smallest + 1)
        smallest = largest + 1
    assert ever < 2e-5
    assert chance * 100 * 366 * 1440 < 2e-5, "100 years"


def _accused_common(codes: int, size: int) -> int:
    """How often one code comes up, at least, to be accused."""
    return bisect_left(range(size), True, key=lambda n: Recurrence(size, n, 0).contradicts(1 / codes))


def _accused_pairs(codes: int, size: int) -> int:
    """The fewest pairs of equal codes that are accused."""
    return bisect_left(range(math.comb(size, 2)), True, key=lambda n: Recurrence(size, 1, n).contradicts(1 / codes))


def _exponent(count: int, mean: float) -> float:
    """Of Chernoff's bound: a binomial count with this mean is at least `count` with at most exp(-this)."""
    return count * math.log(count / mean) - count + mean


def _chance_of_pairs(codes: int, drawn: int, pairs: int, most: int) -> float:
    """A bound on the chance of so many pairs of equal codes, where no code comes up more than `most` times.

    How often each code comes up is negatively associated (Joag-Dev and Proschan, 1983), and a code's pairs grow with it. So the mean of exp(t pairs)
    is at most the product over all codes, as if they were independent: Chernoff's bound. Each count is binomial, and cut off at `most`.
    """
    each = [math.exp(_log_binomial(drawn, n, 1 / codes)) for n in range(most + 1)]
    each[-1] += math.exp(-_exponent(most + 1, drawn / codes))
    weights = [(chance, n * (n - 1) / 2) for n, chance in enumerate(each)][2:]

    def log_bound(t: float) -> float:
        return codes * math.log1p(sum(chance * math.expm1(t * f) for chance, f in weights)) - t * pairs

    low, high = 0.0, min(8.0, 700 / max(f for _, f in weights))
    for _ in range(40):  # any t gives a bound; the best one is between
        third = (high - low) / 3
        low, high = (low + third, high) if log_bound(low + third) > log_bound(high - third) else (low, high - third)
    return math.exp(log_bound(low))


def _log_binomial(drawn: int, n: int, chance: float) -> float:
    ways = math.lgamma(drawn + 1) - math.lgamma(n + 1) - math.lgamma(drawn - n + 1)
    return ways + n * math.log(chance) + (drawn - n) * math.log1p(-chance)


@pytest.mark.parametrize("digits", LENGTHS)
def test_a_few_codes_are_not_judged(digits: int) -> None:
    assert not measure({digits: bytes(4 * (MIN_CODES - 1))})[digits].biased
    assert measure({digits: bytes(4 * MIN_CODES)})[digits].biased


# ---- pools of calling numbers


@pytest.mark.parametrize(
    ("numbers", "digits", "within"),
    [
        (50, 4, 45),
        (50, 5, 45),
        (50, 6, 45),
        (500, 4, 220),
        (500, 5, 150),
        (500, 6, 140),
        (10_000, 5, 1100),
        (10_000, 6, 800),
    ],
)
def test_a_pool_is_found_soon(numbers: int, digits: int, within: int) -> None:
    assert all(_bias(simulated(numbers, digits), within, digits, seed).biased for seed in range(10))


@pytest.mark.parametrize("digits", LENGTHS)
@pytest.mark.parametrize("numbers", [50, 500, 10_000])
def test_a_pool_is_charged_as_one_of_its_size(numbers: int, digits: int) -> None:
    bias = _bias(simulated(numbers, digits), SAMPLE, digits)
    assert bias.biased == (numbers < 10**digits)
    assert 1 <= bias.chance * numbers <= 1.06
    assert bias.min_entropy_low <= math.log2(numbers) <= bias.min_entropy_high + 1e-9


@pytest.mark.parametrize(("digits", "count"), [(4, 500), (6, 500), (4, SAMPLE), (6, SAMPLE)])
def test_one_number_for_5_percent_of_the_calls_is_what_is_charged(digits: int, count: int) -> None:
    for seed in range(5):
        assert 0.05 <= _bias(mixed(0.05, 10**digits), count, digits, seed).chance <= 0.1


@pytest.mark.parametrize(
    ("weights", "factor"),
    [
        ([1 / n for n in range(1, 501)], 1.0),  # the n-th number is used in proportion to 1/n
        ([5.0] * 50 + [1.0] * 450, 1.0),
        ([3.0] * 250 + [1.0] * 250, 0.8),  # none stands out: the pool is charged
        ([2.0] + [1.0] * 49, 1.0),
        ([2.5] + [1.0] * 499, 1.0),
    ],
)
def test_a_pool_that_is_used_unevenly_is_charged_by_its_likeliest_number(weights: list[float], factor: float) -> None:
    likeliest = max(weights) / sum(weights)
    bias = _bias(weighted(weights), SAMPLE)
    assert likeliest * factor <= bias.chance <= likeliest * 1.7
    assert bias.min_entropy_low <= math.log2(1 / likeliest), "this bound holds whatever the pool"


def test_one_code_again_and_again_is_certain() -> None:
    bias = measure({4: bytes(4 * 100)})[4]
    assert (bias.biased, bias.chance, bias.min_entropy) == (True, 1.0, 0.0)


# ---- all lengths are ends of the same numbers


def test_what_short_codes_show_holds_for_longer_ones_until_their_own_sample_excludes_it() -> None:
    pool = _sample(simulated(50, 4), 300)
    assert {bias.chance for bias in measure({4: pool}).values()} == {measure({4: pool})[4].chance}
    assert measure({4: pool})[6].min_entropy_low == measure({4: pool})[4].min_entropy_low > 0
    own = measure({4: pool, 6: _sample(uniform(1_000_000), 3000)})
    assert own[6].chance < own[4].chance / 1000
    assert own[5].chance == own[4].chance


def test_a_frequent_number_is_charged_for_longer_codes_too_while_few_are_seen() -> None:
    few = b"".join(code.to_bytes(4, "big") for code in (*range(97), 0, 0, 0))
    bias = measure({4: _sample(mixed(0.05, 10_000), 3000), 6: few})
    assert bias[6].chance == bias[4].chance > 0.05


@pytest.mark.parametrize("sample", [bytes(4 * MIN_CODES), _sample(simulated(50, 4), 300)])
def test_what_long_codes_show_holds_for_a_length_that_was_not_seen(sample: bytes) -> None:
    bias = measure({6: sample})
    assert bias[4].chance == bias[5].chance == bias[6].chance > 0.01
    assert bias[4].biased
    assert bias[4].min_entropy_high == bias[6].min_entropy_high


def test_long_codes_of_a_new_small_pool_outweigh_old_short_ones() -> None:
    bias = measure({6: _sample(simulated(50, 4), 300), 4: _sample(uniform(10_000), SAMPLE)})
    assert bias[4].chance >= 0.02


def test_a_block_of_10000_numbers_is_uniform_at_four_digits_and_biased_at_six() -> None:
    block = _sample(uniform(10_000), SAMPLE)
    bias = measure({4: block, 6: block})
    assert (bias[4].biased, bias[4].chance) == (False, 0.0001)
    assert bias[6].biased
    assert bias[6].chance == pytest.approx(0.0001, rel=0.05)


_FEW_CODES = st.lists(st.sampled_from([b"aaaa", b"bbbb", b"cccc"]), max_size=40).map(b"".join)


@given(st.dictionaries(st.sampled_from(LENGTHS), _FEW_CODES | st.binary(max_size=400)))
def test_the_figures_are_in_order_for_any_sample(samples: dict[int, bytes]) -> None:
    found = measure(samples)
    assert list(found) == list(LENGTHS)
    for digits, bias in found.items():
        assert 10.0**-digits <= bias.chance <= 1
        assert bias.biased == (bias.chance > 10.0**-digits)
        assert 0 <= bias.min_entropy_low <= bias.min_entropy <= bias.min_entropy_high <= digits * math.log2(10) + 1e-9
    for shorter, longer in itertools.pairwise(found.values()):
        assert shorter.min_entropy_low <= longer.min_entropy_low + 1e-9

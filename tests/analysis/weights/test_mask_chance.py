"""Overlap of masks and its law for independent masks: enumerated, by scipy, and by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom
from small import PROPERTY

from fairseq_lottery.analysis.weights.mask_chance import MaskOverlap, SharedByChance
from fairseq_lottery.errors import LotteryError


def mask(text):
    return np.array([letter == "x" for letter in text])


def test_a_worked_example():
    """Two of four weights each: 0, 1, 2 shared in 1, 4, 1 of six cases, so Jaccard 0, 1/3, 1."""
    overlap = MaskOverlap.of(mask("xx.."), mask("x.x."))
    assert (overlap.kept_a, overlap.kept_b, overlap.shared) == (2, 2, 1)
    assert overlap.chance.table[1] == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    assert (overlap.chance.mean, overlap.chance.variance) == pytest.approx((1, 1 / 3))
    assert overlap.jaccard == pytest.approx(1 / 3)
    mean = (4 / 3 + 1) / 6
    deviation = math.sqrt((4 / 9 + 1) / 6 - mean**2)
    assert overlap.jaccard_by_chance == pytest.approx((mean, deviation))
    assert overlap.share == 0.5
    assert overlap.share_by_chance == pytest.approx((0.5, math.sqrt(1 / 3) / 2))
    assert overlap.deviations == 0
    same = MaskOverlap.of(mask("xx.."), mask("xx.."))
    assert same.jaccard == 1 and same.deviations == pytest.approx(math.sqrt(3))


def test_masks_that_cannot_differ_do_not_deviate():
    full = MaskOverlap.of(mask("xxxx"), mask("x.x."))
    assert (full.shared, full.chance.mean, full.chance.variance, full.deviations) == (2, 2, 0, 0)
    empty = MaskOverlap.of(mask("...."), mask("...."))
    assert (empty.jaccard, empty.share, empty.jaccard_by_chance) == (0, 0, (0, 0))


@PROPERTY
@given(st.integers(1, 60), st.data())
def test_the_law_is_scipys(size, data):
    a, b = (data.draw(st.integers(0, size)) for _ in range(2))
    law, oracle = SharedByChance(((size, a, b),)), hypergeom(size, a, b)
    first, chances = law.table
    numbers = first + np.arange(len(chances))
    assert chances == pytest.approx(oracle.pmf(numbers), abs=1e-12)
    low, high = oracle.support()
    exact = dict(zip(range(low, high + 1), oracle.pmf(np.arange(low, high + 1))))
    mean = sum(k * p for k, p in exact.items())
    assert law.mean == pytest.approx(mean)
    assert law.variance == pytest.approx(
        sum((k - mean) ** 2 * p for k, p in exact.items()), abs=1e-9
    )
    index = sum(k / max(a + b - k, 1) * p for k, p in exact.items())
    assert MaskOverlap(a, b, low, law).jaccard_by_chance[0] == pytest.approx(index)


@PROPERTY
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5), st.integers(0, 5)), min_size=2,
                max_size=4))  # fmt: skip
def test_a_sum_over_matrices_is_that_of_all_combinations(matrices):
    matrices = [(n, min(a, n), min(b, n)) for n, a, b in matrices]
    total = SharedByChance((matrices[0],)) + SharedByChance(tuple(matrices[1:]))
    first, chances = total.table
    expected = {}
    for numbers in itertools.product(*(range(n + 1) for n, _, _ in matrices)):
        chance = math.prod(
            math.comb(a, k) * math.comb(n - a, b - k) / math.comb(n, b) if k <= b else 0
            for k, (n, a, b) in zip(numbers, matrices)
        )
        expected[sum(numbers)] = expected.get(sum(numbers), 0) + chance
    for number, chance in expected.items():
        at = number - first
        assert (chances[at] if 0 <= at < len(chances) else 0) == pytest.approx(chance, abs=1e-12)
    mean = sum(k * p for k, p in expected.items())
    assert total.mean == pytest.approx(mean)
    variance = sum((k - mean) ** 2 * p for k, p in expected.items())
    assert total.variance == pytest.approx(variance, abs=1e-12)


def test_large_matrices_keep_their_moments():
    """4 million weights at 90 %: the table has the exact mean and deviation of the law."""
    law = SharedByChance(((1 << 22, 419_430, 419_431),))
    total = law + law + law
    for one, count in ((law, 1), (total, 3)):
        mean, deviation = one.expect(lambda k: k)
        assert mean == pytest.approx(count * 419_430 * 419_431 / (1 << 22), rel=1e-9)
        assert deviation == pytest.approx(one.deviation, rel=1e-6)
    assert len(total.table[1]) < 20_000


def test_the_chance_of_the_report_is_its_limit_in_large_matrices():
    """The report's chance is the Jaccard index of the mean, not the mean of the index."""
    for size in (20, 2000, 200_000):
        kept = size // 5
        overlap = MaskOverlap(kept, kept, 0, SharedByChance(((size, kept, kept),)))
        mean = overlap.chance.mean
        difference = overlap.jaccard_by_chance[0] - mean / (2 * kept - mean)
        assert 0 < difference < 0.3 / size


def test_random_masks_are_within_chance_and_related_ones_are_not():
    chance = np.random.default_rng(1)
    keep = chance.permutation(np.arange(10_000) < 2000)
    deviations = [MaskOverlap.of(keep, chance.permutation(keep)).deviations for _ in range(100)]
    assert np.mean(deviations) == pytest.approx(0, abs=0.4)
    assert np.std(deviations) == pytest.approx(1, abs=0.25)
    half = keep.copy()
    half[:5000] = chance.permutation(keep[:5000])
    assert MaskOverlap.of(keep, half).deviations > 20


def test_what_cannot_be_is_refused():
    with pytest.raises(LotteryError, match="cannot keep 5 and 1 of 4 weights"):
        SharedByChance(((4, 5, 1),))
    with pytest.raises(LotteryError, match=r"shape \(4,\) and \(3,\)"):
        MaskOverlap.of(mask("xx.."), mask("xx."))

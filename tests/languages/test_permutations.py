"""Permutation tests against scipy, and against counts by hand."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kruskal, spearmanr
from scipy.stats import permutation_test as scipys_test

from fairseq_lottery.languages.permutations import (
    SAMPLES,
    correlation_test,
    holm,
    kruskal_test,
    orders,
    ranks,
)


def test_a_correlation_is_that_of_scipy_with_its_exact_test():
    random = np.random.default_rng(3)
    for size in (4, 6, 7):
        a, b = random.normal(size=size), random.integers(0, 4, size)  # with ties
        found = correlation_test(a, b)
        expected = scipys_test(
            (a,), lambda x, b=b: spearmanr(x, b)[0], permutation_type="pairings", n_resamples=np.inf
        )
        assert found.value == pytest.approx(expected.statistic)
        # scipy doubles the smaller tail; ours counts both tails
        extreme = np.abs(expected.null_distribution) >= abs(expected.statistic) - 1e-10
        assert found.p == pytest.approx(extreme.mean())
        assert found.count == math.factorial(size)


def test_the_smallest_p_is_that_of_the_most_extreme_order():
    """Two equal values may change places, and the reverse order is as extreme."""
    found = correlation_test(np.array([1.0, 1, 2, 3]), np.array([1.0, 4, 2, 3]))
    assert found.smallest == pytest.approx(2 * 2 / 24) and found.p > found.smallest
    constant = correlation_test(np.ones(4), np.arange(4.0))
    assert math.isnan(constant.value) and math.isnan(constant.p)


def test_many_languages_are_permuted_at_random_with_the_data_among_them():
    rows = orders((0,) * 12, 5)
    assert rows.shape == (SAMPLES + 1, 12) and (rows[0] == np.arange(12)).all()
    assert (np.sort(rows, axis=1) == np.arange(12)).all()
    assert abs(rows[1:].mean(axis=0) - 5.5).max() < 0.2
    assert (orders((0,) * 12, 6)[1:] != rows[1:]).any()
    values = np.arange(12.0)
    found = correlation_test(values, values)
    assert found.value == pytest.approx(1) and found.p == pytest.approx(1 / (SAMPLES + 1))
    assert found.count == SAMPLES + 1


def test_all_orders_within_strata():
    strata = (1, 0, 1, 0, 0)
    rows = orders(strata, 1)
    assert rows[0].tolist() == [0, 1, 2, 3, 4]
    expected = {r for r in permutations(range(5)) if all(strata[r[n]] == strata[n] for n in r)}
    assert {tuple(row) for row in rows.tolist()} == expected and len(rows) == 2 * 6


def test_random_orders_within_strata():
    strata = (0,) * 9 + (1,) * 3
    rows = orders(strata, 2)
    assert len(rows) == SAMPLES + 1 and (rows[0] == np.arange(12)).all()
    assert (np.sort(rows[:, :9]) == np.arange(9)).all() and (np.sort(rows[:, 9:]) > 8).all()
    assert len({tuple(row) for row in rows[:, 9:].tolist()}) == 6


def test_p_of_random_permutations_is_near_the_theoretical_one():
    random = np.random.default_rng(8)
    a = random.normal(size=20)
    b = a + 2.5 * random.normal(size=20)
    assert correlation_test(a, b).p == pytest.approx(spearmanr(a, b)[1], abs=0.02)


def test_ranks_of_values_that_differ_by_rounding_are_shared():
    assert ranks(np.array([0.1 + 0.2, 0.3, -1])).tolist() == [2.5, 2.5, 1]


def test_holm_multiplies_by_the_tests_that_are_left():
    assert holm([0.04, 0.01, math.nan, 0.03])[:2] == pytest.approx([0.06, 0.03])
    assert holm([0.04, 0.01, math.nan, 0.03])[3] == pytest.approx(0.06)
    assert math.isnan(holm([math.nan])[0])
    assert holm([0.9, 0.8]) == [1, 1]


def test_groups_are_compared_by_kruskal_and_wallis():
    """Two groups of three: the largest H has 2 of the 20 ways to choose a group."""
    values, words = np.array([3.0, 1, 4, 1, 5, 9]), ["a", "b", "b", "c", "c", "c"]
    groups = [[v for v, word in zip(values, words) if word == one] for one in "abc"]
    assert kruskal_test(values, words).value == pytest.approx(kruskal(*groups).statistic)
    found = kruskal_test(np.array([1.0, 2, 3, 11, 12, 13]), list("xxxyyy"))
    assert found.p == found.smallest == pytest.approx(0.1)
    assert math.isnan(kruskal_test(values, ["a"] * 6).value)
    assert math.isnan(kruskal_test(np.ones(6), words).value)

"""The test of roles: against scipy and a written-out form, its errors and power by simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fairseq_lottery.analysis.roles.role_tests import THRESHOLDS, corrected, threshold_tests

SCORES = np.array([[2.9, 1.0], [3.4, 1.0], [3.1, 1.0], [4.0, 1.0], [2.7, 1.0]])


def test_p_values_are_those_of_scipy_at_every_threshold():
    scores = np.random.default_rng(3).gamma(4, 0.5, size=(40, 6))
    result = threshold_tests(scores)
    for row, threshold in enumerate(THRESHOLDS):
        expected = stats.ttest_1samp(scores, threshold, alternative="greater")
        np.testing.assert_allclose(result.t[row], expected.statistic, rtol=1e-10)
        np.testing.assert_allclose(result.p[row], expected.pvalue, rtol=1e-10)


def test_five_scores_by_hand():
    # mean 3.22, sum of squares 1.028: deviations sqrt(1.028 / 4) and sqrt(1.028 / 5)
    result = threshold_tests(SCORES, [3.0])
    sample, population = np.sqrt(1.028 / 4), np.sqrt(1.028 / 5)
    assert result.d[0, 0] == pytest.approx(0.22 / sample)
    assert result.t[0, 0] == pytest.approx(0.22 / (sample / np.sqrt(5)))
    published = 0.22 / (population / np.sqrt(5))
    assert result.p[0, 0] == pytest.approx(1 - stats.t(4).cdf(0.22 * np.sqrt(5) / sample))
    assert result.p_published[0, 0] == pytest.approx(1 - stats.t(4).cdf(published))
    assert result.p_published[0, 0] < result.p[0, 0]


def test_the_published_form_is_that_of_the_notebooks():
    def notebook(scores, threshold):
        z = (np.mean(scores) - threshold) / (np.std(scores) / np.sqrt(len(scores)))
        return 1 - stats.t(len(scores) - 1).cdf(z)

    scores = np.random.default_rng(5).normal(1.2, 0.5, size=(20, 4))
    result = threshold_tests(scores, [1.0, 1.5])
    expected = [[notebook(scores[:, head], tau) for head in range(4)] for tau in (1.0, 1.5)]
    np.testing.assert_allclose(result.p_published, expected, rtol=1e-9)


def test_equal_scores_are_above_the_threshold_or_not():
    result = threshold_tests(SCORES, [0.5, 1.0, 1.5])
    assert result.p[:, 1].tolist() == result.p_published[:, 1].tolist() == [0, 1, 1]
    noisy = np.full((30, 1), 1.0) + np.random.default_rng(1).normal(0, 1e-15, size=(30, 1))
    assert threshold_tests(noisy, [1.0]).p.tolist() == [[1.0]]
    with pytest.raises(ValueError, match="two sentences"):
        threshold_tests(SCORES[:1])


def rejected(generator, mean, sentences, heads=40_000, published=False):
    """Number of heads with a role at 5 %, whose scores are normal with deviation 1."""
    result = threshold_tests(generator.normal(mean, 1, size=(sentences, heads)), [3.0])
    return int(((result.p_published if published else result.p) < 0.05).sum())


def bounds(probability, heads=40_000):
    """Counts that a binomial exceeds on either side once in 10,000 times."""
    return stats.binom.ppf([1e-4, 1 - 1e-4], heads, probability)


def test_five_percent_of_the_heads_at_the_threshold_have_the_role():
    low, high = bounds(0.05)
    count = rejected(np.random.default_rng(11), 3.0, 20)
    assert low <= count <= high


def test_the_published_form_has_more_false_roles():
    # its critical value is that of Student's times sqrt(19 / 20)
    level = stats.t(4).sf(stats.t(4).ppf(0.95) * np.sqrt(4 / 5))
    assert level == pytest.approx(0.0645, abs=1e-3)
    low, high = bounds(level)
    count = rejected(np.random.default_rng(12), 3.0, 5, published=True)
    assert low <= count <= high and bounds(0.05)[1] < count


@pytest.mark.parametrize("effect, sentences", [(0.5, 20), (0.5, 40), (0.2, 100)])
def test_power_is_that_of_the_noncentral_t(effect, sentences):
    critical = stats.t(sentences - 1).ppf(0.95)
    power = stats.nct(sentences - 1, effect * np.sqrt(sentences)).sf(critical)
    low, high = bounds(power)
    count = rejected(np.random.default_rng(13), 3 + effect, sentences)
    assert low <= count <= high


def test_correction_is_that_of_statsmodels_over_the_whole_table():
    generator = np.random.default_rng(7)
    p = np.concatenate([generator.random(60), generator.random(20) * 1e-3]).reshape(16, 5)
    expected = multipletests(p.ravel(), method="fdr_bh")[1].reshape(16, 5)
    np.testing.assert_allclose(corrected(p), expected, rtol=1e-12)
    # by hand: 4 p-values, p * 4 / rank, made monotone from the largest
    assert corrected(np.array([0.01, 0.04, 0.03, 0.5])) == pytest.approx(
        [0.04, 0.16 / 3, 0.16 / 3, 0.5]
    )
    assert corrected(np.zeros((0,))).size == 0


def test_correction_keeps_the_share_of_false_roles_below_five_percent():
    generator = np.random.default_rng(17)
    shares = []
    for _ in range(200):
        means = np.where(np.arange(144) < 100, 3.0, 4.0)
        p = threshold_tests(generator.normal(means, 1, size=(20, 144)), [3.0]).p[0]
        has_role = corrected(p) < 0.05
        shares.append(has_role[:100].sum() / max(has_role.sum(), 1))
    # BH controls at 0.05 * 100 / 144 = 0.035 in the mean
    assert np.mean(shares) == pytest.approx(0.05 * 100 / 144, abs=0.008)

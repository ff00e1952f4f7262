"""Explained variance, effective rank and directions against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fairseq_lottery.analysis.complexity.spectrum import (
    effective_rank,
    explained_variance,
    singular_values,
    variances_of,
)
from fairseq_lottery.analysis.similarity.moments import Moments


def activations(words=3000, width=12):
    chance = np.random.default_rng(0)
    return chance.normal(size=(words, 5)) @ chance.normal(size=(5, width)) + (
        0.1 * chance.normal(size=(words, width)) + chance.normal(size=width) * 4
    )


def test_centred_variances_are_those_of_pca():
    x = activations()
    expected = PCA().fit(x)
    found = variances_of(Moments.of(x))
    assert np.allclose(found / 2999, expected.explained_variance_)
    curve = explained_variance(found)
    assert np.allclose(curve, np.cumsum(expected.explained_variance_ratio_))
    assert curve[-1] == 1


def test_variances_that_are_not_centred_have_the_mean_as_a_direction():
    x = activations()
    found = variances_of(Moments.of(x), centred=False)
    assert np.allclose(found, np.linalg.svd(x, compute_uv=False) ** 2)
    constant = variances_of(Moments.of(np.ones((50, 4))), centred=False)
    assert constant.tolist() == pytest.approx([200])
    assert variances_of(Moments.of(np.ones((50, 4)))).tolist() == []


def test_effective_rank_of_known_spectra():
    assert effective_rank(np.ones(7)) == pytest.approx(7)
    assert effective_rank(np.array([3.0, 0, 0])) == 1
    # entropy of (1/2, 1/4, 1/4) is 1.5 bits
    assert effective_rank(np.array([2.0, 1, 1])) == pytest.approx(2**1.5)
    assert effective_rank(np.array([2.0, 1, 1]) * 1e9) == pytest.approx(2**1.5)
    assert effective_rank(np.zeros(0)) == 0


@pytest.mark.parametrize("shape", [(6, 6), (4, 30), (30, 4), (9, 7)])
def test_singular_values_of_any_shape(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    assert np.allclose(singular_values(matrix), np.linalg.svd(matrix, compute_uv=False))


def test_matrices_of_low_rank_have_as_many_singular_values():
    chance = np.random.default_rng(0)
    assert len(singular_values(chance.normal(size=(40, 3)) @ chance.normal(size=(3, 20)))) == 3
    assert len(singular_values(np.zeros((4, 4)))) == 0
    assert explained_variance(np.zeros(0)).tolist() == []

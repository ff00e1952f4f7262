"""Similarity of activations against computations that share nothing with ours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import linear_kernel
from sklearn.preprocessing import KernelCenterer

from fairseq_lottery.analysis.similarity.alignment import debiased_cka, linear_cka
from fairseq_lottery.analysis.similarity.canonical import canonical, directions_for
from fairseq_lottery.analysis.similarity.moments import LayerPair, Moments, cross_products
from fairseq_lottery.analysis.similarity.neurons import (
    best_matches,
    mixed_sim,
    neuron_matches,
    neuron_sim,
)
from fairseq_lottery.errors import LotteryError


def layers(seed=0, words=300, neurons=7, others=5, noise=1.0):
    """Two layers that share some of their signal, with means and scales of their own."""
    chance = np.random.default_rng(seed)
    signal = chance.normal(size=(words, 4))
    return tuple(
        (signal @ chance.normal(size=(4, width)) + noise * chance.normal(size=(words, width)))
        * chance.uniform(0.1, 5, width)
        + chance.normal(size=width) * 10
        for width in (neurons, others)
    )


def standardised(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def orthogonal(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


# --- moments


def test_moments_are_those_of_numpy_over_several_blocks():
    x, y = layers(words=5000)
    pair = LayerPair.of(x.astype(np.float32), y.astype(np.float16))
    x, y = x.astype(np.float32).astype(np.float64), y.astype(np.float16).astype(np.float64)
    assert np.allclose(pair.first.mean, x.mean(axis=0), rtol=1e-13)
    assert np.allclose(pair.first.scatter, np.cov(x.T) * 4999, rtol=1e-10)
    assert np.allclose(pair.correlations, np.corrcoef(x.T, y.T)[:7, 7:], atol=1e-13)
    assert np.allclose(pair.first.norms, ((x - x.mean(axis=0)) ** 2).sum(axis=1), rtol=1e-12)


def test_a_large_mean_costs_no_precision():
    x, y = layers()
    assert linear_cka(LayerPair.of(x + 1e6, y)) == pytest.approx(
        linear_cka(LayerPair.of(x, y)), abs=1e-9
    )


def test_stacked_layers_have_the_cross_products_of_each_pair():
    (a, b), (c, d) = layers(1), layers(2)
    one = [Moments.of(x) for x in (a, b)]
    two = [Moments.of(x) for x in (c, d)]
    cross = cross_products([a, b], [c, d], one, two)
    assert np.allclose(cross[7:, :7], LayerPair.of(b, c).cross)
    assert np.allclose(cross[:7, 7:], LayerPair.of(a, d).cross)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    x, y = layers()
    x[17, 3] = value
    with pytest.raises(LotteryError, match="NaN"):
        LayerPair.of(x, y)


def test_other_words_are_refused():
    x, y = layers()
    with pytest.raises(LotteryError, match="300 and 299"):
        LayerPair.of(x, y[1:])


# --- NeuronSim and MixedSim


def test_neuron_sim_of_a_case_worked_out_by_hand():
    # r(a, c) = 1, r(a, d) = 0, r(b, c) = 0, r(b, d) = -sqrt(1/2)
    a, b = [1, -1, 1, -1], [1, 1, -1, -1]
    c, d = [3, 1, 3, 1], [-1, 0, 1, 0]
    pair = LayerPair.of(np.array([a, b], float).T, np.array([c, d], float).T)
    found = best_matches(pair)
    assert found.matches.tolist() == [0, 1]
    assert found.correlations.tolist() == pytest.approx([1, np.sqrt(0.5)])
    assert neuron_sim(pair) == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert neuron_matches(pair) == 1
    swapped = LayerPair.of(np.array([b, a], float).T, np.array([c, d], float).T)
    assert neuron_matches(swapped) == 0
    assert neuron_sim(swapped) == neuron_sim(pair)


def test_neuron_sim_is_numpys_and_not_symmetric():
    x, y = layers(noise=0.5)
    r = np.abs(np.corrcoef(x.T, y.T)[:7, 7:])
    assert neuron_sim(LayerPair.of(x, y)) == pytest.approx(r.max(axis=1).mean(), abs=1e-12)
    assert neuron_sim(LayerPair.of(y, x)) == pytest.approx(r.max(axis=0).mean(), abs=1e-12)


def test_mixed_sim_is_the_correlation_of_scikit_learns_fit():
    x, y = layers()
    fit = LinearRegression().fit(y, x).predict(y)
    r = [np.corrcoef(fit[:, j], x[:, j])[0, 1] for j in range(7)]
    assert mixed_sim(LayerPair.of(x, y)) == pytest.approx(np.mean(r), abs=1e-10)


def test_mixed_sim_of_dependent_neurons_is_that_of_the_independent_ones():
    x, y = layers()
    dependent = np.hstack([y, y @ np.ones((5, 2)), np.full((300, 1), 3.0)])
    assert mixed_sim(LayerPair.of(x, dependent)) == pytest.approx(
        mixed_sim(LayerPair.of(x, y)), abs=1e-9
    )


def test_mixed_sim_of_independent_layers_is_about_its_chance_level():
    chance = np.random.default_rng(0)
    pair = LayerPair.of(chance.normal(size=(4000, 40)), chance.normal(size=(4000, 40)))
    assert mixed_sim(pair) == pytest.approx(np.sqrt(40 / 4000), abs=0.01)


def test_constant_neurons_match_nothing_and_are_left_out():
    x, y = layers()
    more = np.hstack([x, np.full((300, 2), 1 / 3)])
    assert neuron_sim(LayerPair.of(more, y)) == neuron_sim(LayerPair.of(x, y))
    assert neuron_sim(LayerPair.of(y, more)) == neuron_sim(LayerPair.of(y, x))
    assert neuron_matches(LayerPair.of(more, more)) == 1


def test_a_constant_neuron_of_single_precision_noise_is_constant():
    x, y = layers()
    noise = np.random.default_rng(0).integers(0, 2, 300) * 1e-7
    more = np.hstack([x, (1 + noise)[:, None]])
    assert best_matches(LayerPair.of(more, y)).neurons.tolist() == list(range(7))


# --- CKA


def hsic_by_definition(k, m):
    """The unbiased estimator of Song et al. 2012, eq. 5, as it is printed."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    return (
        np.trace(k @ m)
        + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ m @ one)
    ) / (n * (n - 3))


def test_linear_cka_is_that_of_scikit_learns_centred_kernels():
    x, y = layers()
    k, m = (KernelCenterer().fit_transform(linear_kernel(z)) for z in (x, y))
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert linear_cka(LayerPair.of(x, y)) == pytest.approx(expected, rel=1e-10)


def test_debiased_cka_is_that_of_the_printed_estimator():
    x, y = layers(words=50)
    k, m = x @ x.T, y @ y.T
    expected = hsic_by_definition(k, m) / np.sqrt(
        hsic_by_definition(k, k) * hsic_by_definition(m, m)
    )
    assert debiased_cka(LayerPair.of(x, y)) == pytest.approx(expected, rel=1e-9)


def test_debiased_cka_has_no_bias_with_fewer_words_than_neurons():
    chance = np.random.default_rng(0)
    pairs = [LayerPair.of(*chance.normal(size=(2, 20, 40))) for _ in range(60)]
    assert np.mean([debiased_cka(pair) for pair in pairs]) == pytest.approx(0, abs=0.02)
    assert np.mean([linear_cka(pair) for pair in pairs]) > 0.6


def test_cka_of_orthogonal_layers_is_zero():
    x = np.array([[1.0, -1, 1, -1]]).T
    y = np.array([[1.0, 1, -1, -1]]).T
    assert linear_cka(LayerPair.of(x, y)) == 0
    assert linear_cka(LayerPair.of(x, x)) == 1


# --- SVCCA and PWCCA


def reduced(x, share=0.99):
    """Left singular vectors that hold a share of the variance, and their number."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    kept = int((np.cumsum(s**2) / np.sum(s**2) < share).sum()) + 1
    return u[:, :kept], kept


def test_svcca_is_the_cosine_of_the_angles_between_subspaces():
    x, y = layers(noise=0.2)
    (u, p), (v, q) = reduced(standardised(x)), reduced(standardised(y))
    found = canonical(LayerPair.of(x, y))
    assert found.directions == (p, q)
    assert np.allclose(found.correlations, np.sort(np.cos(subspace_angles(u, v)))[::-1], atol=1e-9)


def test_all_directions_give_scikit_learns_cca():
    x, y = layers(neurons=4, others=3)
    model = CCA(n_components=3, max_iter=10_000, tol=1e-12).fit(x, y)
    a, b = model.transform(x, y)
    expected = [np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(3)]
    found = canonical(LayerPair.of(x, y), share=1.0)
    assert np.allclose(found.correlations, expected, atol=1e-6)
    assert found.svcca == pytest.approx(np.mean(expected), abs=1e-6)


def test_pwcca_weighs_by_the_products_of_variates_and_raw_neurons():
    x, y = layers(noise=0.3)
    (u, _), (v, _) = reduced(standardised(x)), reduced(standardised(y))
    left, s, right = np.linalg.svd(u.T @ v)
    for raw, variates, pair in (
        (x, u @ left, LayerPair.of(x, y)),
        (y, v @ right.T, LayerPair.of(y, x)),
    ):
        weights = np.abs(variates[:, : len(s)].T @ raw).sum(axis=1)
        expected = (weights * s).sum() / weights.sum()
        found = canonical(pair)
        assert np.allclose(found.weights, weights)
        assert found.pwcca == pytest.approx(expected, rel=1e-9)
    assert canonical(LayerPair.of(x, y)).pwcca != canonical(LayerPair.of(y, x)).pwcca


def test_centred_svcca_keeps_other_directions_than_standardised():
    x, y = layers(noise=0.2)
    (u, p), (v, q) = (reduced(z - z.mean(axis=0)) for z in (x, y))
    found = canonical(LayerPair.of(x, y), standardise=False)
    assert found.directions == (p, q) != canonical(LayerPair.of(x, y)).directions
    assert found.svcca == pytest.approx(np.cos(subspace_angles(u, v)).mean(), abs=1e-9)
    left = np.linalg.svd(u.T @ v)[0][:, : min(p, q)]
    assert np.allclose(found.weights, np.abs((u @ left).T @ x).sum(axis=1))


def test_directions_are_the_fewest_that_reach_the_share():
    assert directions_for(np.array([99.0, 1.0]), 0.99) == 1
    assert directions_for(np.array([98.0, 1.0, 1.0]), 0.99) == 2
    assert directions_for(np.array([50.0, 50.0]), 0.99) == 2
    assert directions_for(np.array([])) == 0


# --- errors


def test_few_words_are_refused_where_the_value_would_be_one():
    x, y = layers(words=12)
    assert canonical(LayerPair.of(*layers(words=13))).svcca < 1
    with pytest.raises(LotteryError, match="more than 12 words"):
        canonical(LayerPair.of(x, y))
    with pytest.raises(LotteryError, match="more than 6 words"):
        mixed_sim(LayerPair.of(x[:6], y[:6]))
    with pytest.raises(LotteryError, match="4 words"):
        debiased_cka(LayerPair.of(x[:3], y[:3]))


@pytest.mark.parametrize("of", [neuron_sim, mixed_sim, linear_cka, debiased_cka, canonical])
def test_a_layer_of_constants_is_refused(of):
    x, _ = layers()
    for pair in (LayerPair.of(x, np.ones((300, 3))), LayerPair.of(np.ones((300, 3)), x)):
        with pytest.raises(LotteryError, match="constant"):
            of(pair)


# --- invariance


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_invariances_that_the_measures_promise(seed):
    x, y = layers(seed)
    pair, chance = LayerPair.of(x, y), np.random.default_rng(seed)
    rotated = LayerPair.of(x @ orthogonal(seed, 7) * 3 + 1, y @ orthogonal(seed + 1, 5) / 9)
    for measure in (linear_cka, debiased_cka):
        assert measure(rotated) == pytest.approx(measure(pair), abs=1e-9)
    invertible = LayerPair.of(x @ chance.normal(size=(7, 7)), y @ chance.normal(size=(5, 5)))
    assert canonical(invertible, 1.0).svcca == pytest.approx(canonical(pair, 1.0).svcca, abs=1e-6)
    assert canonical(rotated, standardise=False).svcca == pytest.approx(
        canonical(pair, standardise=False).svcca, abs=1e-9
    )
    order, scales = chance.permutation(7), chance.choice([-2.0, 0.5, 3.0], 7)
    permuted = LayerPair.of(x[:, order] * scales + 7, y)
    assert neuron_sim(permuted) == pytest.approx(neuron_sim(pair), abs=1e-12)
    assert mixed_sim(permuted) == pytest.approx(mixed_sim(pair), abs=1e-9)
    assert canonical(permuted).svcca == pytest.approx(canonical(pair).svcca, abs=1e-9)
    regressed = LayerPair.of(x, y @ chance.normal(size=(5, 5)))
    assert mixed_sim(regressed) == pytest.approx(mixed_sim(pair), abs=1e-6)


def test_each_measure_sees_what_the_others_do_not():
    x, _ = layers(noise=2.0)
    assert neuron_sim(LayerPair.of(x, x)) == pytest.approx(1)
    rotated = LayerPair.of(standardised(x), standardised(x) @ orthogonal(5, 7))
    assert neuron_sim(rotated) < 0.9
    assert linear_cka(rotated) == pytest.approx(1)
    stretched = LayerPair.of(x, x * np.array([100.0, *[1] * 6]))
    assert linear_cka(stretched) < 0.8
    assert canonical(stretched, 1.0).svcca == pytest.approx(1)
    assert mixed_sim(stretched) == pytest.approx(1)
    moved = LayerPair.of(x, np.roll(x, 1, axis=1))
    assert neuron_sim(moved) == pytest.approx(1) and neuron_matches(moved) == 0


def test_shuffled_words_are_a_control_that_all_measures_tell_apart():
    x, y = layers(noise=0.3, words=2000)
    control = LayerPair.of(x, np.random.default_rng(0).permutation(y))
    pair = LayerPair.of(x, y)
    for measure in (neuron_sim, mixed_sim, linear_cka, debiased_cka):
        assert measure(pair) > 0.3 > 0.1 > measure(control)
    assert canonical(pair).svcca > 0.5 > 0.1 > canonical(control).svcca
    assert canonical(pair).pwcca > 0.5 > 0.1 > canonical(control).pwcca

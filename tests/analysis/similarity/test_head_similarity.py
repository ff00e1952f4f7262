"""Similarity of attention heads against scipy, row by row."""

import numpy as np
import pytest
from analysis.written_recordings import random_attention
from scipy.spatial.distance import jensenshannon
from scipy.stats import pearsonr

from fairseq_lottery.analysis.similarity.alignment import alignment
from fairseq_lottery.analysis.similarity.heads import (
    best_heads,
    map_products,
    row_correlations,
    row_divergences,
    visible_keys,
)
from fairseq_lottery.errors import LotteryError

LENGTHS = ((4, 6), (1, 3), (7, 5))


def sentences(kind, seed=0, heads=(3, 2)):
    chance = np.random.default_rng(seed)
    lengths = [(n, n) for n, _ in LENGTHS] if kind == "dec_self" else LENGTHS
    return [tuple(random_attention(chance, kind, q, k, h) for h in heads) for q, k in lengths]


def rows_of(kind, pairs):
    """Visible parts of the rows of each sentence: head, other head -> rows."""
    for first, second in pairs:
        for query in range(first.shape[1]):
            keys = list(range(first.shape[2] - 1))
            if kind == "dec_self":
                keys = keys[: query + 1]
            keys.append(first.shape[2] - 1)
            yield first[:, query, keys], second[:, query, keys]


@pytest.mark.parametrize("kind", ["enc_self", "dec_self", "enc_dec"])
def test_correlations_are_the_mean_of_scipys_over_rows(kind):
    pairs = sentences(kind)
    found = row_correlations(pairs, kind == "dec_self")
    for a in range(3):
        for b in range(2):
            rows = [(x[a], y[b]) for x, y in rows_of(kind, pairs) if x.shape[1] > 2]
            values = [pearsonr(x, y)[0] for x, y in rows]
            assert found[a, b] == pytest.approx(np.mean(values), abs=1e-10)


@pytest.mark.parametrize("kind", ["enc_self", "dec_self", "enc_dec"])
def test_divergences_are_the_mean_of_scipys_over_rows(kind):
    pairs = sentences(kind)
    found = row_divergences(pairs, kind == "dec_self")
    for a in range(3):
        for b in range(2):
            values = [1 - jensenshannon(x[a], y[b], base=2) ** 2 for x, y in rows_of(kind, pairs)]
            assert found[a, b] == pytest.approx(np.mean(values), abs=1e-10)


@pytest.mark.parametrize("kind", ["enc_self", "dec_self", "enc_dec"])
def test_maps_are_aligned_over_all_visible_entries(kind):
    pairs = sentences(kind)
    x, y = (np.concatenate(one, axis=1).T for one in zip(*rows_of(kind, pairs)))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    cross, own, other = map_products(pairs, kind == "dec_self")
    assert np.allclose(cross, x.T @ y) and np.allclose(own, x.T @ x)
    expected = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert alignment(cross, own, other) == pytest.approx(expected)


def test_what_causality_masks_would_inflate_the_similarity():
    pairs = sentences("dec_self", seed=3)
    assert (row_correlations(pairs, True) < row_correlations(pairs, False)).all()


def test_a_row_worked_out_by_hand():
    a = np.array([[[0.5, 0.3, 0.2]]])
    b = np.array([[[0.2, 0.3, 0.5]], [[0.0, 1.0, 0.0]]])
    # deviations from 1/3: (1, -1/5, -4/5) / 6 and (-4/5, -1/5, 1) / 6
    assert row_correlations([(a, b)])[0, 0] == pytest.approx((-0.8 + 0.04 - 0.8) / 1.68)
    disjoint = np.array([[[1.0, 0, 0]]]), np.array([[[0, 0.5, 0.5]], [[0.5, 0.5, 0]]])
    # of (1, 0) and (1/2, 1/2): h(1/4) - 1/2 = 0.3113 bits
    expected = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) - 0.5
    assert row_divergences([disjoint])[0].tolist() == pytest.approx([0, 1 - expected])


def test_rows_of_two_keys_are_ignored():
    """Their correlation is 1 or -1 whatever the heads do."""
    chance = np.random.default_rng(0)
    first, second = (random_attention(chance, "dec_self", 3, 3, 2) for _ in range(2))
    found = row_correlations([(first, second)], causal=True)
    for a in range(2):
        for b in range(2):
            second_row = pearsonr(first[a, 1, [0, 1, 3]], second[b, 1, [0, 1, 3]])[0]
            third_row = pearsonr(first[a, 2], second[b, 2])[0]
            assert found[a, b] == pytest.approx((second_row + third_row) / 2, abs=1e-10)
    two = random_attention(chance, "enc_self", 5, 1, 2)
    assert np.isnan(row_correlations([(two, two)])).all()


def test_rows_without_variance_are_ignored():
    varied = np.array([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]])
    half_uniform = varied.copy()
    half_uniform[0, 1] = np.float32(1 / 3)
    assert row_correlations([(varied, half_uniform)])[0, 0] == pytest.approx(1)
    uniform = np.full((1, 2, 3), 1 / 3)
    assert np.isnan(row_correlations([(varied, uniform)])).all()


def test_equal_heads_are_the_best_match_and_pruned_ones_are_left_out():
    chance = np.random.default_rng(0)
    first = random_attention(chance, "enc_self", 20, 20, 4)
    similarities = row_correlations([(first, first[[2, 0, 1, 3]])])
    whole = [(0, 1), (1, 2), (2, 0), (3, 3)]
    assert [pair[:2] for pair in best_heads(similarities, range(4), range(4))] == whole
    assert [value for *_, value in best_heads(similarities, range(4), range(4))] == pytest.approx(
        [1] * 4
    )
    kept = best_heads(similarities, [0, 3], [2, 3])
    assert kept[0][:2] != (0, 1) and kept[0][2] < 0.5 and kept[1][:2] == (3, 3)
    assert best_heads(np.full((2, 2), np.nan), [0, 1], [0, 1]) == []


def test_the_similarity_does_not_depend_on_the_order_of_heads_or_sentences():
    pairs = sentences("enc_dec")
    found = row_correlations(pairs)
    assert np.allclose(row_correlations(pairs[::-1]), found)
    assert np.allclose(row_correlations([(a[::-1], b) for a, b in pairs]), found[::-1])
    assert np.allclose(row_correlations([(b, a) for a, b in pairs]), found.T)


def test_a_query_sees_itself_earlier_words_and_the_first_input():
    assert visible_keys(3, 3, True).astype(int).tolist() == [
        [1, 0, 0, 1],
        [1, 1, 0, 1],
        [1, 1, 1, 1],
    ]
    assert visible_keys(2, 3, False).all()


def test_malformed_attention_is_refused():
    row = np.full((1, 2, 3), 1 / 3)
    with pytest.raises(LotteryError, match=r"\(1, 2, 3\) and \(1, 2, 2\)"):
        row_correlations([(row, row[:, :, :2])])
    with pytest.raises(LotteryError, match="NaN"):
        row_correlations([(row, row * np.nan)])
    with pytest.raises(LotteryError, match="sums to 0"):
        row_divergences([(row, row * 0)])
    with pytest.raises(LotteryError, match="no sentences"):
        map_products([])

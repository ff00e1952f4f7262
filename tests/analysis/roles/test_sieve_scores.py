"""Sieve bias scores: by hand on three words, even heads, bounds, and the published formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from small import PROPERTY

from fairseq_lottery.analysis.roles.sieve_keys import (
    block_keys,
    diagonal_keys,
    linked_keys,
    local_keys,
    marked_keys,
)
from fairseq_lottery.analysis.roles.sieve_scores import (
    reachable_score,
    row_entropy,
    sentence_scores,
    visible_keys,
    word_scores,
)

#: attention of one head over three words and </s>
MAP = np.array([[[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0]]])


def test_local_scores_of_three_words_by_hand():
    sieve = local_keys(3, 3, window=1)
    assert sieve.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0]]
    # means in the sieve: .7 / 2, .6 / 3, 1 / 2; of all four keys .25
    assert word_scores(MAP, sieve)[0] == pytest.approx([1.4, 0.8, 2.0])
    assert sentence_scores(MAP, sieve) == pytest.approx([1.4])
    assert reachable_score(sieve) == pytest.approx((2 + 4 / 3 + 2) / 3)


def test_causal_rows_are_divided_by_the_keys_that_they_see():
    maps = np.array([[[0.6, 0, 0, 0.4], [0.3, 0.6, 0, 0.1], [0.1, 0.2, 0.3, 0.4]]])
    visible = visible_keys("dec_self", 3, 3)
    assert visible.tolist() == [[1, 0, 0, 1], [1, 1, 0, 1], [1, 1, 1, 1]]
    # one-sided windows {0}, {0, 1}, {1, 2}; 2, 3 and 4 visible keys
    scores = word_scores(maps, local_keys(3, 3, 1), visible)[0]
    assert scores == pytest.approx([0.6 * 2, 0.45 * 3, 0.25 * 4])
    assert reachable_score(local_keys(3, 3, 1), visible) == pytest.approx((2 + 1.5 + 2) / 3)


def test_words_without_a_sieve_and_rows_without_attention_do_not_count():
    sieve = linked_keys(3, 3, np.array([[0, 1], [2, 0]]))
    assert word_scores(MAP, sieve)[0, [0, 2]] == pytest.approx([1.2, 0])
    assert np.isnan(word_scores(MAP, sieve)[0, 1])
    assert sentence_scores(MAP, sieve) == pytest.approx([0.6])
    no_row = MAP * np.array([1, 1, 0])[:, None]
    assert sentence_scores(no_row, sieve) == pytest.approx([1.2])
    assert np.isnan(sentence_scores(MAP, np.zeros((3, 4), dtype=bool)))
    assert math.isnan(reachable_score(np.zeros((3, 4), dtype=bool)))


def test_a_dependent_does_not_see_a_later_head_in_the_decoder():
    sieve = linked_keys(3, 3, np.array([[0, 2], [2, 0]]))
    scores = word_scores(np.ones((1, 3, 4)), sieve, visible_keys("dec_self", 3, 3))[0]
    assert np.isnan(scores[:2]).all() and scores[2] == pytest.approx(1)


SIEVES = {
    "local": lambda q, k: local_keys(q, k),
    "delimiter": lambda q, k: marked_keys(q, [0] * k + [1]),
    "diagonal": lambda q, k: diagonal_keys(q, k),
    "block": lambda q, k: block_keys(np.arange(q) * 2 // q, np.arange(k) * 2 // k),
    "linked": lambda q, k: linked_keys(q, k, np.array([[q - 1, 0], [q // 2, k // 2]])),
}


@pytest.mark.parametrize("kind", ["enc_self", "dec_self", "enc_dec"])
@pytest.mark.parametrize("name", SIEVES)
def test_an_even_head_scores_exactly_one_for_every_sieve(name, kind):
    for queries in (2, 3, 7, 12):
        keys = queries + 3 * (kind == "enc_dec")
        visible = visible_keys(kind, queries, keys)
        sieve = SIEVES[name](queries, keys)
        even = (visible / visible.sum(axis=1, keepdims=True))[None]
        assert sentence_scores(even, sieve, visible)[0] == pytest.approx(1, abs=1e-14)
        only = sieve & visible
        only = (only / np.maximum(only.sum(axis=1, keepdims=True), 1))[None]
        reachable = reachable_score(sieve, visible)
        assert sentence_scores(only, sieve, visible)[0] == pytest.approx(reachable)


@st.composite
def maps_and_sieves(draw):
    seed, queries, keys = draw(st.tuples(st.integers(0, 999), st.integers(1, 8), st.integers(1, 8)))
    generator = np.random.default_rng(seed)
    maps = generator.dirichlet(np.full(keys + 1, 0.3), size=(2, queries))
    return maps, generator.random((queries, keys + 1)) < 0.4, generator


@PROPERTY
@given(maps_and_sieves())
def test_scores_are_the_published_formula_and_stay_below_the_bound(drawn):
    maps, sieve, generator = drawn
    if not sieve.any():
        return
    total = np.zeros(2)
    for head in range(2):  # as the notebooks do: word by word
        rows = [
            (maps[head, q, sieve[q]].sum() / sieve[q].sum()) / (maps[head, q].sum() / len(sieve[q]))
            for q in range(len(sieve))
            if sieve[q].any()
        ]
        total[head] = sum(rows) / len(rows)
    assert sentence_scores(maps, sieve) == pytest.approx(total)
    assert (total <= reachable_score(sieve) + 1e-9).all()
    # neither the order of keys nor the scale of rows matters
    order = generator.permutation(maps.shape[2])
    scaled = maps[:, :, order] * generator.random((2, len(sieve), 1)) * 9
    assert sentence_scores(scaled, sieve[:, order]) == pytest.approx(total)


def test_entropy_is_that_of_scipy_and_multiplies_the_score():
    expected = [entropy(row) for row in MAP[0]]
    assert row_entropy(MAP)[0] == pytest.approx(expected)
    sieve = local_keys(3, 3, 1)
    product = np.array([1.4, 0.8, 2.0]) * expected
    assert word_scores(MAP, sieve, entropy=True)[0] == pytest.approx(product)
    even = np.full((1, 3, 4), 0.25)
    assert sentence_scores(even, sieve, entropy=True) == pytest.approx([math.log(4)])


@PROPERTY
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 5))
def test_no_row_has_a_larger_product_with_its_entropy_than_the_bound(seed, inside, outside):
    generator = np.random.default_rng(seed)
    rows = generator.dirichlet(np.full(inside + outside, 0.5), size=(1, 200))
    rows[0, 0] = np.concatenate([np.full(inside, 0.8 / inside), np.full(outside, 0.2)])
    sieve = np.arange(inside + outside)[None] < np.full((200, 1), inside)
    scores = word_scores(rows, sieve, entropy=True)[0]
    bound = reachable_score(sieve[:1], entropy=True)
    assert np.nanmax(scores) <= bound + 1e-3
    if not outside:  # even attention inside is best
        assert bound == pytest.approx(math.log(inside), abs=1e-9)

"""Roles by the largest weight, on maps whose largest weights are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.analysis.roles.argmax_roles import (
    confidence,
    even_share,
    largest_keys,
    linked_share,
    linked_words,
    position_baseline,
    positional,
    rare_keys,
    word_frequencies,
)


def at(keys, words):
    """A map whose heads have their largest weight of a word at ``keys``, (heads, queries)."""
    keys = np.array(keys)
    maps = np.full((*keys.shape, words + 1), 0.1)
    np.put_along_axis(maps, keys[:, :, None], 0.5, axis=2)
    maps[:, :, -1] = 0.9  # </s> has more, and does not count
    return maps


def test_the_end_has_no_part_in_the_largest_weight():
    maps = at([[1, 0, 2], [2, 2, 2]], 3)
    assert largest_keys(maps).tolist() == [[1, 0, 2], [2, 2, 2]]
    assert confidence([maps, maps[:, :1]]) == pytest.approx([0.5, 0.5])
    other = np.array([[[0.2, 0.6, 0.2]], [[0.1, 0.0, 0.9]]])
    assert confidence([maps, other]) == pytest.approx([2.1 / 4, 1.6 / 4])


def previous(length):
    return np.maximum(np.arange(length) - 1, 0)


def test_a_head_of_the_previous_word_is_positional_and_its_share_is_bounded():
    best = [np.stack([previous(n), np.arange(n)]) for n in (20, 5)]
    offsets, shares, possible = positional(best)
    assert offsets.tolist() == [-1, 0]
    # the first word of each sentence has no previous one
    assert shares == pytest.approx([23 / 25, 1]) and possible == pytest.approx([23 / 25, 1])


def test_the_first_word_of_the_decoder_has_no_choice():
    best = [np.stack([previous(5), np.arange(5)])]
    offsets, shares, possible = positional(best, causal=True)
    assert offsets.tolist() == [-1, 0] and shares.tolist() == possible.tolist() == [1, 1]
    offsets, shares, possible = positional([np.zeros((2, 1), dtype=int)], causal=True)
    assert shares.tolist() == possible.tolist() == [0, 0]


@PROPERTY
@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.booleans())
def test_positional_shares_are_those_of_a_plain_count(seed, lengths, causal):
    generator = np.random.default_rng(seed)
    best = [generator.integers(0, n, size=(3, n)) for n in lengths]
    offsets, shares, possible = positional(best, causal)
    for head in range(3):
        found = [
            int(one[head, q]) - q
            for one in best
            for q in range(int(causal or one.shape[1] == 1), one.shape[1])
        ]
        if not found:
            continue
        counts = {o: found.count(o) for o in set(found)}
        assert shares[head] == pytest.approx(max(counts.values()) / len(found))
        assert counts[offsets[head]] == max(counts.values())
        room = [
            0 <= q + offsets[head] < n for n in lengths for q in range(int(causal or n == 1), n)
        ]
        assert possible[head] == pytest.approx(np.mean(room))


def test_linked_accuracy_by_hand():
    links = np.zeros((4, 4), dtype=bool)
    links[0, 1] = links[1, 3] = links[2, 3] = True
    best = [np.array([[1, 3, 0, 0], [1, 2, 3, 0], [0, 0, 0, 1]])]
    assert linked_share(best, [links]) == pytest.approx([2 / 3, 2 / 3, 0])
    # offsets 1, 2 and 1: the most frequent relative position is right for 2 of 3 words
    assert position_baseline([links]) == pytest.approx(2 / 3) and linked_words([links]) == 3
    links[1, 0] = True  # any link of a word is right
    assert linked_share([np.array([[1, 0, 3, 0]])], [links]) == pytest.approx([1])
    assert position_baseline([np.zeros((4, 4), dtype=bool)]) == 0


def test_the_baseline_is_the_best_head_that_attends_to_one_position():
    generator = np.random.default_rng(2)
    links = [generator.random((n, n)) < 0.2 for n in (3, 8, 8, 5)]
    heads = []
    for offset in range(-7, 8):
        best = [np.arange(len(one))[None] + offset for one in links]
        inside = [(keys >= 0) & (keys < keys.shape[1]) for keys in best]
        hits = sum(
            int((one[np.arange(len(one)), np.where(ok, keys, 0)[0]] & ok[0]).sum())
            for one, keys, ok in zip(links, best, inside)
        )
        heads.append(hits / linked_words(links))
    assert position_baseline(links) == pytest.approx(max(heads))


WORDS = [["the", "cat", "the"], ["the", "cat", "sat"]]


def test_rare_words_by_hand():
    counts = word_frequencies(WORDS)
    assert counts == {"the": 3, "cat": 2, "sat": 1}
    best = [np.array([[1, 1, 0]]), np.array([[2, 2, 1]])]
    # rarest: cat, then sat; each of three words
    keys = rare_keys(WORDS, [3, 3], counts)
    assert [one[0].tolist() for one in keys] == [[0, 1, 0], [0, 0, 1]]
    assert linked_share(best, keys) == pytest.approx([4 / 6])
    assert even_share(keys) == pytest.approx(1 / 3)
    # the two rarest are all words of the first sentence, where "the" occurs twice
    keys = rare_keys(WORDS, [3, 3], counts, rank=2)
    assert linked_share(best, keys) == pytest.approx([1])
    assert even_share(keys) == pytest.approx((3 + 2) / 6)
    # equally rare words all count, a single word does not
    assert not rare_keys([["a"]], [3], {})[0].any()
    assert rare_keys([["a", "b"]], [1], {})[0].all()


def test_rare_words_of_the_decoder_are_before_the_query():
    counts = word_frequencies(WORDS)
    keys = rare_keys(WORDS, [3, 3], counts, causal=True)
    assert [one.tolist() for one in keys] == [
        [[0, 0, 0], [0, 1, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
    ]  # fmt: skip
    assert even_share(keys, causal=True) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 3) / 4)
    best = [np.array([[0, 1, 0]]), np.array([[0, 0, 1]])]
    assert linked_share(best, keys) == pytest.approx([1 / 4])
    twice = rare_keys(WORDS, [3, 3], counts, causal=True, rank=2)
    assert [one.sum(axis=1).tolist() for one in twice] == [[0, 2, 3], [0, 2, 2]]
    assert even_share(rare_keys([["a"]], [1], {}, causal=True), causal=True) == 0

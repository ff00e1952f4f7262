"""Masses and classes of synthetic maps, and that even attention has no pattern."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.analysis.roles.patterns import pattern_masses, pattern_of
from fairseq_lottery.analysis.roles.rows.pattern_rows import band_of
from fairseq_lottery.analysis.roles.sieve_keys import block_keys
from fairseq_lottery.analysis.roles.sieve_scores import visible_keys

N = 12
VISIBLE = visible_keys("enc_self", N, N)
BAND = band_of("enc_self", N, N)
EVEN = VISIBLE / VISIBLE.sum(axis=1, keepdims=True)
HALVES = np.arange(N) * 2 // N
BLOCK = block_keys(HALVES, HALVES)

END = np.zeros((N, N + 1))
END[:, -1] = 1
COLUMN = np.zeros((N, N + 1))
COLUMN[:, 4] = 1
PREVIOUS = np.eye(N, N + 1, k=-1)
PREVIOUS[0, 0] = 1
ITSELF = np.eye(N, N + 1)
INSIDE = BLOCK / BLOCK.sum(axis=1, keepdims=True)


def classes(*maps, block=BLOCK):
    masses = pattern_masses(np.stack(maps), VISIBLE, BAND, block)
    return [pattern_of(*column) for column in masses.T]


def test_pure_patterns():
    assert classes(END, COLUMN, PREVIOUS, ITSELF, INSIDE, EVEN) == [
        *("vertical", "vertical", "diagonal", "diagonal", "block", "heterogeneous")
    ]


def test_mixtures_with_even_attention():
    def mix(first, share, second=EVEN):
        return share * first + (1 - share) * second

    assert classes(
        mix(END, 0.5, ITSELF), mix(END, 0.6, PREVIOUS), mix(END, 0.9, ITSELF),
        mix(PREVIOUS, 0.6), mix(PREVIOUS, 0.4), mix(INSIDE, 0.6), mix(INSIDE, 0.4),
    ) == ["vertical+diagonal", "vertical+diagonal", "vertical", "diagonal", "heterogeneous",
          "block", "heterogeneous"]  # fmt: skip


def test_masses_by_hand():
    maps = np.array([[[0.5, 0.1, 0.4], [0.3, 0.1, 0.6]]])
    visible = visible_keys("enc_self", 2, 2)
    band = np.array([[True, False, False], [False, True, False]])
    vertical, diagonal, block = pattern_masses(maps, visible, band)[:, 0]
    # columns .4, .1 and .5: </s>, whose even share is 1/3; the band has (.5 + .1) / 2, also 1/3
    assert vertical == pytest.approx((0.5 - 1 / 3) / (2 / 3))
    assert diagonal == 0 and block == 0  # .3 is below 1/3
    full = pattern_masses(maps, visible, np.ones((2, 3), dtype=bool))[:, 0]
    # without the column of </s>, the even share of the band is 2/3
    assert full == pytest.approx([0.25, 0, 0])


@pytest.mark.parametrize("kind", ["enc_self", "dec_self", "enc_dec"])
@pytest.mark.parametrize("queries, keys", [(1, 1), (2, 2), (5, 5), (12, 12), (4, 9)])
def test_even_attention_has_no_pattern_however_short(kind, queries, keys):
    keys = keys if kind == "enc_dec" else queries
    visible = visible_keys(kind, queries, keys)
    even = (visible / visible.sum(axis=1, keepdims=True))[None]
    masses = pattern_masses(even, visible, band_of(kind, queries, keys), visible & True)
    assert masses == pytest.approx(np.zeros((3, 1)), abs=1e-12)


def test_a_diagonal_of_other_lengths_follows_relative_positions():
    queries, keys = 6, 12
    maps = np.zeros((1, queries, keys + 1))
    maps[0, np.arange(queries), 2 * np.arange(queries)] = 0.5
    maps[0, np.arange(queries), 2 * np.arange(queries) + 1] = 0.5
    visible, band = visible_keys("enc_dec", queries, keys), band_of("enc_dec", queries, keys)
    assert pattern_of(*pattern_masses(maps, visible, band)[:, 0]) == "diagonal"


@PROPERTY
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_masses_are_shares_and_do_not_depend_on_the_scale_of_rows(seed, length):
    generator = np.random.default_rng(seed)
    visible, band = visible_keys("dec_self", length, length), band_of("dec_self", length, length)
    maps = generator.dirichlet(np.full(length + 1, 0.2), size=(3, length)) * visible + 1e-9
    masses = pattern_masses(maps, visible, band)
    assert (masses >= 0).all() and (masses <= 1 + 1e-12).all()
    scaled = maps * generator.random((3, length, 1)) * 7
    assert pattern_masses(scaled, visible, band) == pytest.approx(masses, abs=1e-9)
    order = [2, 0, 1]
    assert pattern_masses(maps[order], visible, band) == pytest.approx(masses[:, order])

"""How far weights moved, and how many kept their sign: against plain loops and worked values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from small import PROPERTY

from fairseq_lottery.analysis.weights.weight_change import Change
from fairseq_lottery.errors import LotteryError

START = np.array([[1.0, -2.0, 0.0], [2.0, 4.0, -0.5]])
END = np.array([[4.0, 2.0, 1.0], [2.0, 0.0, -0.5]])
PAIRS = array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(
        *(arrays(np.float64, shape, elements=st.floats(-9, 9, width=16)) for _ in range(2)),
        arrays(bool, shape),
    )
)


def test_a_worked_example():
    """Of five signs three stay; differences 3, 4, 1, 0, -4, 0 have the squared sum 42."""
    change = Change.of(START, END)
    assert (change.signed, change.same_signs, change.agreement) == (5, 3, 0.6)
    assert change.squared_distance == 42 and change.distance == pytest.approx(42**0.5)
    assert change.relative_distance == pytest.approx((42 / 25.25) ** 0.5)


def test_survivors_alone():
    kept = np.array([[True, True, True], [False, False, True]])
    change = Change.of(START, END, kept)
    assert (change.signed, change.same_signs) == (3, 2)
    assert change.squared_distance == 9 + 16 + 1
    assert change.squared_start == 1 + 4 + 0.25


def test_nothing_to_count_has_no_share():
    nothing = Change.of(START, END, np.zeros((2, 3), dtype=bool))
    assert nothing.agreement is None and nothing.relative_distance is None
    assert nothing.distance == 0


def test_other_shapes_are_refused():
    with pytest.raises(LotteryError, match=r"shape \(2, 3\) and \(3, 2\)"):
        Change.of(START, END.T)


@PROPERTY
@given(PAIRS)
def test_it_is_what_a_loop_counts(drawn):
    start, end, kept = drawn
    change = Change.of(start.astype(np.float32), end.astype(np.float32), kept)
    signed = same = 0
    moved = norm = 0.0
    for a, b, counts in zip(start.flat, end.flat, kept.flat):
        if counts:
            signed += a != 0
            same += (a > 0 and b > 0) or (a < 0 and b < 0)
            moved += (b - a) ** 2
            norm += a * a
    assert (change.signed, change.same_signs) == (signed, same)
    assert change.squared_distance == pytest.approx(moved)
    assert change.squared_start == pytest.approx(norm)


@PROPERTY
@given(PAIRS, st.integers(1, 5))
def test_parts_add_up_and_scale_and_order_do_not_matter(drawn, cut):
    start, end, kept = drawn
    whole = Change.of(start, end, kept)
    parts = [Change.of(start[p], end[p], kept[p]) for p in (np.s_[:cut], np.s_[cut:])]
    total = parts[0] + parts[1]
    assert (total.signed, total.same_signs) == (whole.signed, whole.same_signs)
    assert total.squared_distance == pytest.approx(whole.squared_distance)
    scaled = Change.of(4 * start[::-1], 4 * end[::-1], kept[::-1])
    assert scaled.agreement == whole.agreement
    assert scaled.distance == pytest.approx(4 * whole.distance)
    if whole.squared_start > 1e-6:
        assert scaled.relative_distance == pytest.approx(whole.relative_distance)


def test_independent_weights_agree_in_half_of_their_signs():
    chance = np.random.default_rng(1)
    start, end = chance.normal(size=(2, 200, 200))
    assert Change.of(start, end).agreement == pytest.approx(0.5, abs=4 * 0.5 / 200)
    assert Change.of(start, start).agreement == 1
    assert Change.of(start, -start).agreement == 0

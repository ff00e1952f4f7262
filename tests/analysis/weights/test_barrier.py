"""Barriers on lines of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.analysis.weights.barrier import Line
from fairseq_lottery.errors import LotteryError


def test_a_worked_example():
    line = Line([0, 0.25, 0.5, 0.75, 1], [1.0, 2.0, 5.0, 4.0, 3.0])
    assert line.barrier == 5 - 2
    assert line.bump == 5 - 2, "at 0.5 the straight line is at 2"
    assert line.top == 0.5


def test_ends_that_differ_are_a_barrier_but_no_bump():
    line = Line([0, 0.5, 1], [1.0, 2.0, 3.0])
    assert (line.barrier, line.bump, line.top) == (1, 0, 1)
    late = Line([0, 0.5, 1], [1.0, 2.5, 3.0])
    assert (late.barrier, late.bump) == (1, 0.5)


def test_equal_models_have_none():
    assert (Line([0, 0.5, 1], [2.0] * 3).barrier, Line([0, 0.5, 1], [2.0] * 3).bump) == (0, 0)
    valley = Line([0, 0.5, 1], [2.0, 1.0, 2.0])
    assert (valley.barrier, valley.bump) == (0, 0)


@PROPERTY
@given(st.lists(st.floats(0, 10), min_size=2, max_size=8))
def test_it_is_what_a_loop_finds_from_either_end(values):
    count = len(values) - 1
    alphas = [number / count for number in range(count + 1)]
    line = Line(alphas, values)
    highest = above = -1.0
    for alpha, value in zip(alphas, values):
        highest = max(highest, value - 0.5 * values[0] - 0.5 * values[-1])
        above = max(above, value - (values[0] + alpha * (values[-1] - values[0])))
    assert line.barrier == pytest.approx(highest, abs=1e-12) and line.barrier >= 0
    assert line.bump == pytest.approx(max(above, 0), abs=1e-9)
    back = Line(alphas, values[::-1])
    assert back.barrier == pytest.approx(line.barrier, abs=1e-12)
    assert back.bump == pytest.approx(line.bump, abs=1e-9)
    raised = Line(alphas, [value + 3 for value in values])
    assert raised.barrier == pytest.approx(line.barrier, abs=1e-9)


@pytest.mark.parametrize(
    "alphas, values", [([0], [1]), ([0, 1], [1]), ([0, 0.5], [1, 2]), ([0, 0.5, 0.5, 1], [1] * 4)]
)
def test_a_malformed_line_is_refused(alphas, values):
    with pytest.raises(LotteryError, match="line"):
        Line(alphas, values)

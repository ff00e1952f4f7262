"""Dead rows and columns, counted, and by chance: enumerated and simulated."""

import itertools

import numpy as np
import pytest

from fairseq_lottery.analysis.weights.dead_neurons import count_dead, expected_dead

KEEP = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]], dtype=bool)


def test_a_worked_example():
    assert (count_dead(KEEP, 0), count_dead(KEEP, 1)) == (1, 1)
    assert (count_dead(KEEP.T, 0), count_dead(KEEP.T, 1)) == (1, 1)
    assert count_dead(np.zeros((2, 5), dtype=bool), 0) == 2
    assert count_dead(np.ones((2, 5), dtype=bool), 1) == 0


@pytest.mark.parametrize("kept", range(7))
def test_the_mean_by_chance_is_that_of_all_masks(kept):
    masks = []
    for places in itertools.combinations(range(6), kept):
        flat = np.zeros(6, dtype=bool)
        flat[list(places)] = True
        masks.append(flat.reshape(2, 3))
    for axis in (0, 1):
        mean = np.mean([count_dead(one, axis) for one in masks])
        assert expected_dead((2, 3), kept, axis) == pytest.approx(mean)


def test_structured_masks_have_more_than_chance():
    keep = np.zeros((100, 100), dtype=bool)
    keep[:50, :20] = True
    assert (count_dead(keep, 0), count_dead(keep, 1)) == (50, 80)
    assert expected_dead((100, 100), 1000, 0) == pytest.approx(100 * 0.9**100, rel=0.1)

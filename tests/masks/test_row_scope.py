"""The scope ``row``: every row of a matrix is pruned to the same sparsity."""

import pytest
import torch
from toy import same

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, count_to_prune, select


def sorted_rows(scores, current, sparsity):
    """The rule row by row: name -> list of kept entries."""
    kept = {}
    for name, values in scores.items():
        rows = [r for r in range(len(values)) if r != current.protected.get(name)]
        total = count_to_prune(sparsity, current.size(name))
        kept[name] = torch.ones(values.shape, dtype=torch.bool)
        for place, row in enumerate(rows):
            count = total // len(rows) + (place < total % len(rows))
            order = sorted(
                range(values.shape[1]),
                key=lambda c: (bool(current[name][row, c]), float(values[row, c]), c),
            )
            kept[name][row, order[:count]] = False
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_sorting_each_row_at_every_step_of_a_schedule(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (5, 7), "b": (1, 4), "c": (6, 3)}
    protected = {"a": seed % 5} if seed % 2 else {}
    current = Mask.full(shapes, protected)
    for sparsity in (0.0, 0.1, 0.33, 0.34, 0.6, 0.9, 0.99):
        # small integers, so there are ties
        scores = {n: torch.randint(-3, 4, s, generator=generator).float()
                  for n, s in shapes.items()}  # fmt: skip
        mask = select(scores, current, sparsity, "row")
        expected = sorted_rows(scores, current, sparsity)
        assert all(same(mask[name], keep) for name, keep in expected.items())
        assert mask.is_subset_of(current) and mask.protected == current.protected
        assert all(mask.pruned_in(n) == count_to_prune(sparsity, mask.size(n)) for n in mask)
        current = mask


def test_a_matrix_of_a_protected_row_alone_is_kept():
    current = Mask.full({"a": (1, 4), "b": (2, 2)}, {"a": 0})
    scores = {"a": torch.ones(1, 4), "b": torch.ones(2, 2)}
    mask = select(scores, current, 0.5, "row")
    assert mask["a"].all() and mask["b"].tolist() == [[False, True]] * 2


def test_uneven_rows_and_components_are_refused():
    keep = torch.ones(3, 4, dtype=torch.bool)
    keep[1, :3] = False
    scores = {"a": torch.rand(3, 4)}
    with pytest.raises(LotteryError, match="row 1 of a has more weights pruned already than --sc"):
        select(scores, Mask({"a": keep}), 0.5, "row")
    rows = Mask({"a": torch.tensor([[False] * 4, [True] * 4, [True] * 4])})
    with pytest.raises(LotteryError, match="--components prunes whole rows; use --scope layer or"):
        select(scores, rows, 0.5, "row", excluded=rows)

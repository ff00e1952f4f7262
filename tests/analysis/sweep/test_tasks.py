"""Which cells are compared, and which rows of curves are kept."""

from pathlib import Path

import pytest

from fairseq_lottery.analysis.registry import Measure
from fairseq_lottery.analysis.sweep.cells import Cell
from fairseq_lottery.analysis.sweep.tasks import plan_tasks, thin


def cell(technique, sparsity, seed, recipe=""):
    return Cell(technique, sparsity, seed, Path("m.pt"), Path("run"), recipe)


def measure(name, over, models):
    return Measure(name, "toy", over, models, name, (None, None), lambda *_: [])


CELLS = [
    cell("dense", 0.0, 1), cell("dense", 0.0, 2), cell("slt", 0.5, 1), cell("slt", 0.5, 2),
    cell("mp", 0.5, 1), cell("mp", 0.9, 1),
]  # fmt: skip


def names(measures, **options):
    tasks = plan_tasks(CELLS, {m.name: m for m in measures}, **options)
    return [" ".join(c.name for c in task.cells) for task in tasks]


def test_a_measure_of_one_model_is_of_every_cell():
    assert names([measure("one", "weights", 1)]) == [c.name for c in CELLS]


def test_a_measure_of_two_compares_with_dense_and_with_later_seeds():
    assert names([measure("two", "activations", 2)]) == [
        "dense@0#1 dense@0#2",
        "slt@0.5#1 dense@0#1", "slt@0.5#1 slt@0.5#2",
        "slt@0.5#2 dense@0#2",
        "mp@0.5#1 dense@0#1",
        "mp@0.9#1 dense@0#1",
    ]  # fmt: skip


def test_another_technique_is_compared_at_equal_sparsity():
    assert names([measure("two", "weights", 2)], against="slt") == [
        "dense@0#1 dense@0#2", "slt@0.5#1 slt@0.5#2", "mp@0.5#1 slt@0.5#1",
    ]  # fmt: skip


def test_dense_models_have_no_masks_to_compare():
    assert names([measure("mask", "masks", 1)]) == [c.name for c in CELLS[2:]]
    assert names([measure("masks", "masks", 2)]) == ["slt@0.5#1 slt@0.5#2"]


def test_measures_of_the_same_models_are_adjacent():
    measures = [measure("a", "weights", 2), measure("b", "weights", 1), measure("c", "weights", 2)]
    tasks = list(plan_tasks(CELLS, {m.name: m for m in measures}))
    groups = [task.cells for task in tasks]
    changes = sum(a != b for a, b in zip(groups, groups[1:])) + 1
    assert changes == len(set(groups)) == 12


def test_cells_of_other_recipes_are_not_compared():
    cells = [cell("dense", 0.0, 1, "a"), cell("slt", 0.5, 1, "b"), cell("slt", 0.5, 2, "b")]
    tasks = plan_tasks(cells, {"two": measure("two", "weights", 2)})
    assert [[c.name for c in task.cells] for task in tasks] == [["slt@0.5#1", "slt@0.5#2"]]


def test_the_columns_name_both_cells():
    (task,) = plan_tasks(CELLS[2:4], {"two": measure("two", "weights", 2)})
    assert task.columns == {
        "technique": "slt", "sparsity": 0.5, "seed": 1, "against": "slt", "other_seed": 2,
    }  # fmt: skip
    assert task.file == "slt-0.5-seed1/two.slt-0.5-seed2.json"


@pytest.mark.parametrize("count, kept", [(7, 7), (10, 10), (11, 11), (64, 19), (512, 29)])
def test_curves_keep_round_components_and_the_last(count, kept):
    rows = [{"layer": n, "component": k, "value": k / count}
            for n in (1, 2) for k in range(1, count + 1)]  # fmt: skip
    thinned = thin([{"layer": 1, "value": 0.5}, *reversed(rows)])
    assert thinned[0] == {"layer": 1, "value": 0.5}
    own = [row["component"] for row in thinned[1:] if row["layer"] == 1]
    assert own[0] == count and len(own) == kept

"""Which cells are compared, and which rows of curves are kept."""

from pathlib import Path

import pytest

from fairseq_lottery.analysis.registry import Measure
from fairseq_lottery.analysis.sweep.cells import Cell
from fairseq_lottery.analysis.sweep.tasks import plan_tasks, thin


def cell(technique, sparsity, seed, recipe="", start=None):
    return Cell(technique, sparsity, seed, Path("m.pt"), Path("run"), recipe, start)


def measure(name, over, models, **more):
    return Measure(name, "toy", over, models, name, (None, None), lambda *_: [], **more)


CELLS = [
    cell("dense", 0.0, 1), cell("dense", 0.0, 2), cell("slt", 0.5, 1), cell("slt", 0.5, 2),
    cell("mp", 0.5, 1), cell("mp", 0.9, 1),
]  # fmt: skip


def names(measures, **options):
    tasks = plan_tasks(CELLS, {m.name: m for m in measures}, **options)
    return [" ".join(c.name for c in task.cells) for task in tasks]


def test_a_measure_of_one_model_is_of_every_cell():
    assert names([measure("one", "weights", 1)]) == [c.name for c in CELLS]


def test_masks_of_dense_children_are_not_compared():
    cells = [cell("dense", 0.0, 1)]
    cells += [cell(f"children-d{n}", sparsity, 1) for sparsity in (0.0, 0.8) for n in (1, 2)]
    tasks = plan_tasks(cells, {"two": measure("two", "masks", 2)})
    assert [[one.name for one in task.cells] for task in tasks] == [
        ["children-d1@0.8#1", "children-d2@0.8#1"]
    ]
    tasks = plan_tasks(cells, {"one": measure("one", "masks", 1)})
    assert {one.sparsity for task in tasks for one in task.cells} == {0.8}


def test_a_measure_of_two_compares_with_dense_and_with_later_seeds():
    assert names([measure("two", "activations", 2)]) == [
        "dense@0#1 dense@0#2",
        "slt@0.5#1 dense@0#1", "slt@0.5#1 slt@0.5#2",
        "slt@0.5#2 dense@0#2",
        "mp@0.5#1 dense@0#1",
        "mp@0.9#1 dense@0#1",
    ]  # fmt: skip


def test_heads_of_two_seeds_are_not_compared():
    assert names([measure("two", "attention", 2, same_seed=True)]) == [
        "slt@0.5#1 dense@0#1", "slt@0.5#2 dense@0#2", "mp@0.5#1 dense@0#1", "mp@0.9#1 dense@0#1",
    ]  # fmt: skip


def test_another_technique_is_compared_at_equal_sparsity():
    assert names([measure("two", "weights", 2)], against="slt") == [
        "dense@0#1 dense@0#2", "slt@0.5#1 slt@0.5#2", "mp@0.5#1 slt@0.5#1",
    ]  # fmt: skip


def test_dense_models_have_no_masks_to_compare():
    assert names([measure("mask", "masks", 1)]) == [c.name for c in CELLS[2:]]
    assert names([measure("masks", "masks", 2)]) == [
        "slt@0.5#1 slt@0.5#2", "mp@0.5#1 slt@0.5#1",
    ]  # fmt: skip


@pytest.mark.parametrize("against", ["dense", "slt", "mp"])
def test_masks_of_each_two_techniques_are_compared_once(against):
    cells = [cell(name, sparsity, seed, recipe) for name in ("slt", "mp", "clt", "dense")
             for sparsity in ((0.0,) if name == "dense" else (0.5, 0.9))
             for seed in (1, 2) for recipe in "ab"]  # fmt: skip
    tasks = list(plan_tasks(cells, {"masks": measure("masks", "masks", 2)}, against))
    pairs = [frozenset(task.cells) for task in tasks]
    assert len(set(pairs)) == len(pairs)
    of_techniques = [pair for pair in pairs if len({one.technique for one in pair}) == 2]
    # three pairs of techniques at each sparsity, seed and recipe, and two seeds of each technique
    assert len(of_techniques) == 3 * 8 and len(pairs) == 3 * 8 + 3 * 4
    for pair in of_techniques:
        assert len({(one.sparsity, one.seed, one.recipe) for one in pair}) == 1
    reverse = list(plan_tasks(cells[::-1], {"masks": measure("masks", "masks", 2)}, against))
    assert {task.cells for task in reverse} == {task.cells for task in tasks}


def test_weights_are_compared_with_the_start_of_the_training():
    cells = [cell("dense", 0.0, 1, start=Path("a")), cell("slt", 0.5, 1, start=Path("b")),
             cell("mp", 0.5, 1)]  # fmt: skip
    measures = [measure("w", "weights", 2), measure("m", "masks", 2), measure("r", "attention", 2)]
    tasks = [t for t in plan_tasks(cells, {m.name: m for m in measures})
             if t.columns["against"] == "start"]  # fmt: skip
    assert [(t.measure.name, t.cells[0].name) for t in tasks] == [
        ("w", "dense@0#1"), ("w", "slt@0.5#1"),
    ]  # fmt: skip
    assert [[c.file for c in t.inputs] for t in tasks] == [
        [Path("a"), Path("m.pt")], [Path("b"), Path("m.pt")],
    ]  # fmt: skip
    assert tasks[1].columns == {
        "technique": "slt", "sparsity": 0.5, "seed": 1, "against": "start", "other_seed": 1,
    }  # fmt: skip
    assert tasks[1].file == "slt-0.5-seed1/w.start-0.5-seed1.json"


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

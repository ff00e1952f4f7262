"""The matrix as data: complete, without doubles, and the same in the documentation."""

import ast
from pathlib import Path

import pytest
from matrix.cells import COMMON, HYDRA, KINDS, PRECISIONS, ROWS, By, Refused, outcome_of
from matrix.table import BEGIN, END, markdown

TESTS = Path(__file__).parent.parent
DOCS = TESTS.parent / "docs" / "reliability.md"

AXES = {
    "precision": PRECISIONS,
    "processes": (
        "1", "legacy_ddp", "no_c10d", "pytorch_ddp", "c10d", "slowmo", "fully_sharded",
    ),
    "frequency": (1, 2),
    "ema": ("no", "yes", "fp32"),
    "start": (
        "fresh", "resumed", "--reset-optimizer", "--no-save-optimizer-state",
        "--finetune-from-model",
    ),
    "command": ("fairseq-train", HYDRA, COMMON),
}  # fmt: skip

#: pairs of axes whose every combination is stated
PAIRS = (("precision", "ema"), ("precision", "frequency"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_every_axis_is_stated(kind):
    stated = [row for row in ROWS if getattr(row, kind) is not None]
    for axis, values in AXES.items():
        assert {getattr(row, axis) for row in stated} == set(values)
    for one, other in PAIRS:
        found = {(getattr(row, one), getattr(row, other)) for row in stated}
        assert found == {(a, b) for a in AXES[one] for b in AXES[other]}
    two = {row.precision for row in stated if row.processes != "1"}
    assert two == set(PRECISIONS)


def test_rows_differ():
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_what_is_refused_is_a_part_of_a_sentence():
    for row in ROWS:
        for kind in KINDS:
            outcome = outcome_of(getattr(row, kind))
            assert outcome in (None, "holds", "bit-equal") or isinstance(outcome, Refused)


def test_the_tests_of_other_folders_exist():
    named = {
        cell.test for row in ROWS for cell in (row.ticket, row.pruning) if isinstance(cell, By)
    }
    assert named
    for path, _, function in (one.partition("::") for one in named):
        tree = ast.parse((TESTS / path).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_documentation_has_this_table():
    text = DOCS.read_text()
    assert BEGIN in text and END in text, "paste what `python tests/matrix/table.py` prints"
    assert text.split(BEGIN)[1].split(END)[0].strip() == markdown()

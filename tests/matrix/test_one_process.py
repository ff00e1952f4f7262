"""Cells of the matrix that one process trains, or refuses to."""

import pytest

pytest.importorskip("fairseq")

from matrix.cells import COMMON, Refused, cells
from matrix.invariants import assert_zero_bits
from matrix.rows import Place, run_row
from matrix.training import ON_CPU, in_this_process

HERE = [
    cell
    for cell in cells(lambda row: row.command in ("fairseq-train", COMMON))
    if cell[0].processes == "1" or isinstance(cell[2], Refused)
]


def named(cell):
    return f"{cell[0].name}-{cell[1]}"


@pytest.mark.parametrize("cell", HERE, ids=named)
def test_cell(cell, toy_data, matrix_dense, tmp_path, capsys):
    row, kind, outcome = cell
    if row.precision not in ON_CPU:
        pytest.skip("this torch has no half-precision dropout on a CPU")
    place = Place(toy_data, matrix_dense, tmp_path)
    with in_this_process():
        if not isinstance(outcome, Refused):
            training = run_row(row, kind, place)
            assert training.update == 8 and training.watch.looks in (4, 6, 8)
            assert bool(training.watch.exchanged) == row.also.startswith("--pruner")
            return
        with pytest.raises(SystemExit) as stopped:
            run_row(row, kind, place)
    assert stopped.value.code == 2
    printed = capsys.readouterr().err.splitlines()
    printed = [line for line in printed if line.startswith("fairseq-lottery: ")]
    assert len(printed) == 1 and outcome.sentence in printed[0]


def test_the_watch_sees_a_leak(toy_data, matrix_dense, tmp_path):
    """One weight, one moment, one bit: each is seen."""
    row, kind, _ = next(cell for cell in HERE if cell[0].name == "fp32_ema_freq1_resumed")
    with in_this_process():
        training = run_row(row, kind, Place(toy_data, matrix_dense, tmp_path))
        name, keep = next(iter(training.task.run.mask.items()))
        weight = dict(training.trainer.get_model().named_parameters())[name]
        where = tuple((~keep).nonzero()[0].tolist())
        moment = training.trainer.optimizer.optimizer.state[weight]["exp_avg"]
        average = dict(training.trainer.ema.get_model().named_parameters())[name]
        training.watch()
        for tensor in (weight, moment, average):
            for value in (1e-30, -0.0):
                tensor.data[where] = value
                with pytest.raises(AssertionError, match=r"is not \+0.0 where the mask prunes"):
                    training.watch()
            tensor.data[where] = 0.0
        training.watch()
        assert_zero_bits(weight, keep, name)
        training.task.run.mask = type(training.task.run.mask).full(
            {n: tuple(k.shape) for n, k in training.task.run.mask.items()}
        )
        with pytest.raises(AssertionError, match="a pruned weight has come back"):
            training.watch()

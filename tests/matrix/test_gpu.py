"""The matrix on a GPU: the same rows, the same checks after every update.

Not compared there: the bits of a resumed run, for CUDA sums the gradients of an embedding in
any order. Two processes need two GPUs.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.cells import KINDS, PRECISIONS, ROWS, outcome_of
from matrix.test_two_processes import assert_same_bits, reports
from toy import alone, free_port

pytestmark = [pytest.mark.slow, pytest.mark.cuda]

WORKER = Path(__file__).parent / "worker.py"


def trained(precision, alone):
    """Every cell of a precision that is trained, whichever test trains it on a CPU."""
    return [
        f"{row.name}/{kind}"
        for row in ROWS
        for kind in KINDS
        if row.precision == precision
        and (row.processes == "1") == alone
        and isinstance(outcome_of(getattr(row, kind)), str)
    ]


def run(data, dense, folder, world, cells):
    """What each process reported; in new interpreters, for a fork cannot use its parent's GPU."""
    port = free_port()
    given = [data, dense, folder / "runs"]
    started = [
        subprocess.Popen(
            [
                *(sys.executable, WORKER, *given, folder / f"{rank}.json"),
                *(str(rank), str(world), str(port), "cuda", *cells),
            ],
            env=alone(),
        )
        for rank in range(world)
    ]
    for process in started:
        process.wait(timeout=1800)
    return reports(folder, world)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_alone(precision, toy_data, matrix_dense, tmp_path):
    cells = trained(precision, alone=True)
    found = run(toy_data, matrix_dense, tmp_path, 1, cells)
    assert set(found) == set(cells)
    for cell, (report,) in found.items():
        assert report["error"] is None, f"{cell}: {report['error']}"
        assert report["looks"] in (4, 6, 8)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_processes(precision, toy_data, matrix_dense, tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    cells = trained(precision, alone=False)
    assert_same_bits(run(toy_data, matrix_dense, tmp_path, 2, cells), cells)

"""Rows of the matrix that two processes train, over gloo: the same bits in both."""

import json

import pytest

pytest.importorskip("fairseq")

from matrix.cells import Refused, cells
from matrix.training import ON_CPU
from toy import free_port, start, wait

pytestmark = pytest.mark.slow


#: backend -> its cells that are trained here; the processes start once for all of them
HERE = {}
for _row, _kind, _outcome in cells(lambda row: row.processes != "1" and row.precision in ON_CPU):
    if not isinstance(_outcome, Refused):
        HERE.setdefault(_row.processes, []).append(f"{_row.name}/{_kind}")


def reports(folder, world):
    """Cell -> what each process reported, in order of the ranks."""
    found = {}
    for rank in range(world):
        path = folder / f"{rank}.json"
        for line in path.read_text().splitlines() if path.exists() else ():
            report = json.loads(line)
            found.setdefault(report["cell"], []).append(report)
    return found


def assert_same_bits(found, cells):
    """Each of two processes ran every cell without an error, and ended with the same bits."""
    errors = [f"{cell}: {r['error']}" for cell in found for r in found[cell] if r["error"]]
    assert not errors, errors[0]
    assert list(found) == cells
    for one, other in found.values():
        assert one["looks"] in (4, 8)
        assert one == other, "the two processes have other bits"


@pytest.mark.parametrize("backend", HERE)
def test_cells_of(backend, toy_data, matrix_dense, tmp_path):
    port = free_port()
    given = [toy_data, matrix_dense, tmp_path / "runs"]
    ranks = [
        start(
            "matrix.worker",
            [*given, tmp_path / f"{rank}.json", rank, 2, port, "cpu", *HERE[backend]],
            tmp_path,
        )
        for rank in (0, 1)
    ]
    for rank in ranks:
        wait(rank)
    assert_same_bits(reports(tmp_path, 2), HERE[backend])

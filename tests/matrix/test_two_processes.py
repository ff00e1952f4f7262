"""Rows of the matrix that two processes train, over gloo: the same bits in both."""

import json

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.cells import Refused, cells
from matrix.training import ON_CPU
from toy import free_port, start, wait

pytestmark = pytest.mark.slow


def family(precision):
    """``fp16`` and ``bf16``, which not every torch can do here; empty for what each can."""
    return precision[:4] if precision.startswith(("fp16", "bf16")) else ""


#: backend and family -> its cells that are trained here; the processes start once for all of them
HERE = {}
for _row, _kind, _outcome in cells(lambda row: row.processes != "1"):
    if not isinstance(_outcome, Refused):
        _key = _row.processes, family(_row.precision)
        HERE.setdefault(_key, []).append(f"{_row.name}/{_kind}")


def gloo_sums_bf16(folder):
    """Whether this torch's gloo knows the type; those before 2.0 do not."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=0, world_size=1
    )
    try:
        torch.distributed.all_reduce(torch.ones(1, dtype=torch.bfloat16))
    except RuntimeError:
        return False
    finally:
        torch.distributed.destroy_process_group()
    return True


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


@pytest.mark.parametrize("backend, half", HERE, ids=[" ".join(key).strip() for key in HERE])
def test_cells_of(backend, half, toy_data, matrix_dense, tmp_path):
    if half == "fp16" and "fp16 flat" not in ON_CPU:
        pytest.skip("this torch has no half-precision dropout on a CPU")
    if half == "bf16" and not gloo_sums_bf16(tmp_path):
        pytest.skip("this torch's gloo does not know bf16")
    port, here = free_port(), HERE[backend, half]
    given = [toy_data, matrix_dense, tmp_path / "runs"]
    ranks = [
        start(
            "matrix.worker",
            [*given, tmp_path / f"{rank}.json", rank, 2, port, "cpu", *here],
            tmp_path,
        )
        for rank in (0, 1)
    ]
    for rank in ranks:
        wait(rank)
    assert_same_bits(reports(tmp_path, 2), here)

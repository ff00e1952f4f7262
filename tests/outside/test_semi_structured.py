"""Torch's semi-structured tensors in the place of a 2:4 ticket's weights, in a whole model."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from forking import python
from toy import alone

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("semi_structured.py")


def outcome(device, **environment):
    if not hasattr(torch.sparse, "to_sparse_semi_structured"):
        pytest.skip("this torch has no torch.sparse.to_sparse_semi_structured")
    return subprocess.run(
        [python(), SCRIPT, device], capture_output=True, text=True,
        env=alone(**environment),
    )  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_fairseq_translates_with_them(device):
    """Half precision rounds in another order on a GPU; the product of the CPU is the dense one."""
    if device == "cuda" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a GPU with sparse tensor cores, of compute capability 8.0")
    done = outcome(device, TORCH_LINEAR_FLATTEN_3D="1")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["matrices"] == found["replaced"] == 2 * 6 + 2 * 10
    assert found["difference"] < (1e-5 if device == "cpu" else 2e-2)
    assert found["translations"] or device == "cuda"


def test_without_flattening_torch_asks_for_what_they_do_not_have():
    """When this fails, docs/performance.md can do without TORCH_LINEAR_FLATTEN_3D=1."""
    done = outcome("cpu", TORCH_LINEAR_FLATTEN_3D="0")
    assert "can't perform requested op (expand.default)" in done.stderr

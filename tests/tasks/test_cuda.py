"""The same invariants on a GPU, where fairseq takes other paths: fused Adam, flat fp16, amp."""

import os
import subprocess
import sys

import pytest
from toy import PACKAGE, assert_pruned

pytestmark = [pytest.mark.slow, pytest.mark.cuda]

PRECISIONS = {
    "fp32": [],
    "fp16": ["--fp16", "--fp16-init-scale", 4],
    "fp16-no-flatten": ["--fp16", "--fp16-init-scale", 4, "--fp16-no-flatten-grads"],
    "memory-efficient": ["--memory-efficient-fp16", "--fp16-init-scale", 4],
    "amp": ["--amp", "--fp16-init-scale", 4],
}


def train(toy, save_dir, *flags, updates):
    """In a new interpreter: a forked process cannot use a GPU that its parent has looked at."""
    arguments = toy.arguments(save_dir, *flags, updates=updates)
    done = subprocess.run(
        [sys.executable, "-m", "fairseq_cli.train", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, cwd=toy.folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_growing_mask_holds_on_a_gpu_and_over_a_restart(toy, precision):
    flags = [*PRECISIONS[precision], "--prune-to", 0.8, "--prune-start", 2, "--prune-end", 12]
    flags += ["--prune-every", 5, "--snapshot-updates", "14"]
    train(toy, "run", *flags, updates=13)
    before = toy.mask("run", "checkpoint_last.pt")
    train(toy, "run", *flags, updates=16)
    mask = toy.mask("run", "checkpoint_last.pt")
    assert mask == before
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    state = toy.load("run", "checkpoint_last.pt")
    assert_pruned(state, mask)
    optimizer = state["last_optimizer_state"]
    for name, master in (optimizer.get("lottery", {}).get("masters") or {}).items():
        if name in mask:
            assert not master[~mask[name]].any()

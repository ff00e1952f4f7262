"""A ticket that is drawn on one stack trains on another, under the same mask.

``LOTTERY_OTHER_STACK`` names the other stack's interpreter; ``make test-classic`` and
``make test-editable`` set it to the modern one's.
"""

import os
import subprocess

import pytest
import torch
from toy import PACKAGE, assert_pruned, drawing

from fairseq_lottery.formats import load_ticket, save_ticket
from fairseq_lottery.tickets import DrawPlan, draw

pytest.importorskip("fairseq")

OTHER = os.environ.get("LOTTERY_OTHER_STACK")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OTHER, reason="LOTTERY_OTHER_STACK names no other interpreter"),
]


def elsewhere(module, *arguments, folder):
    """Run a module with the other stack's interpreter; returns what it said."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [OTHER, "-m", module, *map(str, arguments)], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:]
    return ended.stdout


def assert_trained(toy, run, mask):
    assert toy.load(run, "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 8
    assert toy.mask(run, "checkpoint_last.pt").digest() == mask.digest()
    assert_pruned(toy.load(run, "checkpoint_last.pt"), mask)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_both_draw_the_same_ticket_from_the_same_files(toy, dense, scope):
    last, early = dense / "checkpoint_last.pt", dense / "snapshot_5.safetensors"
    here = draw(DrawPlan(str(last), str(early), sparsity=0.8, scope=scope))
    there = toy.path("there.safetensors")
    elsewhere(
        "fairseq_lottery.cli.main", "ticket", "--mask-from", last, "--start-from", early,
        "--sparsity", 0.8, "--scope", scope, "--out", there, folder=toy.folder,
    )  # fmt: skip
    found = load_ticket(there)
    assert found.mask.digest() == here.mask.digest()
    assert found.values.keys() == here.values.keys()
    assert all(torch.equal(found.values[name], here.values[name]) for name in here.values)


def test_drawn_here_and_trained_there(toy, dense):
    last, early = dense / "checkpoint_last.pt", dense / "snapshot_5.safetensors"
    ticket = draw(DrawPlan(str(last), str(early), sparsity=0.8))
    save_ticket(toy.path("t.safetensors"), ticket)
    arguments = toy.arguments("there", "--ticket", toy.path("t.safetensors"), updates=8)
    elsewhere("fairseq_cli.train", *arguments, folder=toy.folder)
    assert_trained(toy, "there", ticket.mask)


def test_drawn_there_and_trained_here(toy):
    arguments = toy.arguments("dense", "--snapshot-updates", 5, updates=8)
    elsewhere("fairseq_cli.train", *arguments, folder=toy.folder)
    elsewhere(
        "fairseq_lottery.cli.main", "ticket", *drawing(toy.path("dense"), 0.8), "--out",
        "t.safetensors", folder=toy.folder,
    )  # fmt: skip
    toy.train("here", "--ticket", toy.path("t.safetensors"), updates=8).ok()
    assert_trained(toy, "here", load_ticket(toy.path("t.safetensors")).mask)

"""Exchanges inside a pattern N:M, in trainings of this process."""

import shutil
from functools import partial

import pytest

pytest.importorskip("fairseq")

from toy import same

from fairseq_lottery.cli.main import main
from fairseq_lottery.masks.nm_selection import has_pattern
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.tickets.folder_check import check_folder

EXCHANGE = (
    *("--prune-to", 0.5, "--prune-start", 0, "--prune-end", 12, "--prune-every", 3),
    *("--scope", "2:4", "--update-freq", 2),
)
TWO_OF_FOUR = Pattern(2, 4)


@pytest.fixture
def train(trained):
    return partial(trained, to=12, updates=12, watch=True)


@pytest.mark.parametrize("pruner", ["set", "rigl"])
def test_every_mask_has_the_pattern_and_a_resumed_run_too(train, tmp_path, pruner):
    flags = ("--pruner", pruner, *EXCHANGE)
    masks = {u: train(*flags, to=u, folder=f"{u}").task.run.mask for u in (1, 4, 7, 10)}
    assert len({mask.digest() for mask in masks.values()}) == 4
    assert all(has_pattern(mask, TWO_OF_FOUR) for mask in masks.values())
    whole = train(*flags, folder="whole")
    train(*flags, to=5)
    parts = train(*flags)
    assert has_pattern(parts.task.run.mask, TWO_OF_FOUR) and parts.watch.exchanged > 0
    for part, state in whole.state().items():
        assert same(state, parts.state()[part]), part
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_a_ticket_of_the_pattern_is_exchanged_and_another_refused(train, refused, tmp_path):
    train(to=2, folder="dense")
    last = str(tmp_path / "dense" / "checkpoint_last.pt")
    paths = {}
    for scope in ("2:4", "layer"):
        paths[scope] = str(tmp_path / f"{scope[0]}.safetensors")
        line = ["ticket", "--mask-from", last, "--sparsity", "0.5", "--scope", scope]
        assert main([*line, "--out", paths[scope]]) == 0
    flags = ("--pruner", "rigl", *EXCHANGE)
    training = train("--ticket", paths["2:4"], *flags)
    assert has_pattern(training.task.run.mask, TWO_OF_FOUR) and training.watch.exchanged > 0
    shutil.rmtree(tmp_path / "run")
    refused("requires a mask that keeps 2 of every 4", "--ticket", paths["layer"], *flags)
    other = ("--ticket", paths["2:4"], *flags, "--scope", "layer")
    refused("the mask has the pattern 2:4, but --pruner rigl would regrow", *other)
    refused("choose --scope 2:4 to keep the pattern, or --pruner gradual", *other)


def test_what_a_pattern_excludes(train, refused, tmp_path):
    rigl = ("--pruner", "rigl", *EXCHANGE)
    refused("--prune-to 0.8 is not the sparsity of --scope 2:4; set --prune-to 0.5", *rigl,
            "--prune-to", 0.8)  # fmt: skip
    rows_of_12 = (*rigl, "--scope", "4:12", "--prunable", "ffn", "--keep-dense", "fc1")
    refused("of --scope 4:12; set --prune-to 0.666667", *rows_of_12, "--prune-to", 0.66)
    assert train(*rows_of_12, "--prune-to", 0.666667, to=4).watch.exchanged > 0
    shutil.rmtree(tmp_path / "run")
    refused("--scope 2:4 has a fixed sparsity, which --prune-to cannot increase", *EXCHANGE)
    refused("rows of a multiple of 16 weights", *rigl, "--scope", "8:16")

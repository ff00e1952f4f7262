"""Explored weights (R_s of ITOP): counted by hand, logged, stored and resumed."""

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.training import Training, configuration, in_this_process
from toy import same

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_from_state, mask_to_state, read_checkpoint
from fairseq_lottery.masks import Mask
from fairseq_lottery.tickets.folder_check import check_folder
from fairseq_lottery.training.exploration import Exploration

EXCHANGE = ("--prune-to", 0.9, "--prune-start", 0, "--prune-end", 12, "--prune-every", 2)
LAST = "checkpoint_last.pt"


@pytest.fixture
def train(toy_data, tmp_path):
    def train(*flags, to=12, folder="run", each=None):
        cfg = configuration(toy_data, tmp_path / folder, "--max-update", 12, *flags)
        with in_this_process():
            training = Training(cfg)
            training.watch = each and (lambda: each(training.task.run))
            return training.run(to).save() if training.update < to else training

    return train


def overwrite(state, path):
    """Replace a checkpoint whose tensors may be mapped into memory."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def logged(training):
    return training.task.run.metrics_to_log(training=False).get("explored")


def stored(tmp_path, folder="run"):
    return read_checkpoint(tmp_path / folder / LAST)["task_state"]["lottery"].get("explored")


@pytest.mark.parametrize("pruner", ["set", "rigl", "itop", "matrix.pruners:OfGradients"])
def test_the_rate_is_the_share_of_all_weights_that_were_ever_kept(train, tmp_path, pruner):
    flags = ("--pruner", pruner, *EXCHANGE, "--update-freq", 2)
    masks, rates = [], []

    def each(run):
        masks.append(run.mask)
        rates.append(run.metrics_to_log(training=False)["explored"])

    whole = train(*flags, folder="whole", each=each)
    ever = {name: torch.zeros_like(keep) for name, keep in masks[0].items()}
    for mask, rate in zip(masks, rates):
        for name, keep in mask.items():
            ever[name] |= keep
        kept = sum(int(entries.sum()) for entries in ever.values())
        padding = sum(ever[name].shape[1] for name in mask.protected)
        assert rate == pytest.approx((kept - padding) / mask.prunable, abs=1e-12)
    assert rates == sorted(rates) and rates[0] == 1 - masks[0].sparsity
    assert rates[-1] > 0.15
    train(*flags, to=5)
    parts = train(*flags)
    assert logged(parts) == logged(whole) == rates[-1]
    assert same(stored(tmp_path), stored(tmp_path, "whole"))
    assert mask_from_state(stored(tmp_path)) == Mask(ever, masks[0].protected)
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_itop_exchanges_half_of_the_survivors_at_first(train):
    itop, rigl = (
        train("--pruner", name, *EXCHANGE, to=2, folder=name).task.run for name in ("itop", "rigl")
    )
    assert (itop.pruning.pruner.fraction, rigl.pruning.pruner.fraction) == (0.5, 0.3)
    assert itop.metrics_to_log(False)["explored"] > rigl.metrics_to_log(False)["explored"]


def test_a_counter_that_rewinds_counts_from_the_ticket(train, tmp_path):
    """Killed right after the checkpoint that sets the counter, or not at all."""
    train("--snapshot-updates", "2,4", to=4, folder="dense")
    weights, start = (str(tmp_path / "dense" / f"snapshot_{u}.safetensors") for u in (4, 2))
    out = str(tmp_path / "ticket.safetensors")
    line = ["ticket", "--mask-from", weights, "--start-from", start, "--sparsity", "0.9"]
    assert main([*line, "--update-counter", "rewind", "--out", out]) == 0
    flags = ("--pruner", "rigl", *EXCHANGE, "--prune-start", 2)
    whole = train("--ticket", out, *flags, folder="whole")
    killed = configuration(whole.cfg.task.data, tmp_path / "run", "--max-update", 12, *flags,
                           "--ticket", out)  # fmt: skip
    with in_this_process():
        assert Training(killed).update == 2  # it has only written its first checkpoint
    parts = train("--ticket", out, *flags)
    assert logged(parts) == logged(whole) > 0.12
    assert same(stored(tmp_path), stored(tmp_path, "whole"))


def test_pruners_that_only_shrink_have_none(train, tmp_path):
    training = train("--prune-to", 0.5, "--prune-end", 4, "--prune-every", 2, to=4)
    assert logged(training) is None and stored(tmp_path) is None


def test_dense_updates_of_the_same_run_explore_everything(train):
    train(to=2)
    flags = ("--pruner", "set", *EXCHANGE, "--prune-start", 2)
    assert logged(train(*flags, to=3)) == 1.0
    assert logged(train(*flags, to=6)) == 1.0


def test_a_second_pruner_of_a_run_continues_the_count(train):
    first = train("--pruner", "set", *EXCHANGE, "--prune-end", 6, to=6)
    flags = ("--pruner", "rigl", *EXCHANGE, "--prune-start", 6, "--prune-every", 2)
    then = train(*flags, to=7)
    assert logged(then) == logged(first) < logged(train(*flags, to=9))


def test_a_checkpoint_of_an_earlier_version_has_no_rate(train, tmp_path):
    flags = ("--pruner", "set", *EXCHANGE)
    train(*flags, to=4)
    path = tmp_path / "run" / LAST
    state = read_checkpoint(path)
    del state["task_state"]["lottery"]["explored"]
    overwrite(state, path)
    training = train(*flags, to=7)
    assert logged(training) is None and "explored" not in training.task.run.state()


def test_explored_weights_that_do_not_include_the_mask_are_refused(train, tmp_path, capsys):
    flags = ("--pruner", "set", *EXCHANGE)
    mask = train(*flags, to=4).task.run.mask
    fewer = {name: keep.clone() for name, keep in mask.items()}
    name = next(n for n in mask if n not in mask.protected)
    fewer[name][:] = False
    explored = mask_to_state(Mask(fewer, mask.protected))
    with pytest.raises(LotteryError, match="explored weights in the checkpoint do not include its"):
        Exploration.restore({"explored": explored}, mask)
    path = tmp_path / "run" / LAST
    state = read_checkpoint(path)
    state["task_state"]["lottery"]["explored"] = explored
    overwrite(state, path)
    sentence = "its explored weights do not include its mask"
    assert [one.problems for one in check_folder(tmp_path / "run")] == [(sentence,)]
    with pytest.raises(SystemExit):
        train(*flags, to=7)
    assert "explored weights in the checkpoint" in capsys.readouterr().err

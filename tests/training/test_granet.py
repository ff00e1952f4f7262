"""GraNet in trainings of this process: from a dense model and from a random ticket."""

from functools import partial

import pytest

pytest.importorskip("fairseq")

from matrix.training import ON_CPU
from toy import same

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.tickets.folder_check import check_folder

GRANET = (
    *("--pruner", "granet", "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 10),
    *("--prune-every", 2, "--update-freq", 2, "--store-ema", "--ema-decay", 0.9),
)


@pytest.fixture
def train(trained):
    return partial(trained, to=12, updates=12, watch=True)


@pytest.mark.parametrize("precision", [p for p in ON_CPU if p != "fp16 not flat"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_every_step_has_its_sparsity_and_a_resumed_run_too(train, tmp_path, scope, precision):
    """Counts and zeros are checked after each update."""
    flags = (*GRANET, "--scope", scope)
    whole = train(*flags, folder="whole", precision=precision)
    assert whole.watch.exchanged > 0
    mask = whole.task.run.mask
    if scope == "global":
        assert mask.pruned == count_to_prune(0.8, mask.prunable)
    train(*flags, to=5, precision=precision)
    parts = train(*flags, precision=precision)
    for part, state in whole.state().items():
        assert same(state, parts.state()[part]), part
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_a_random_ticket_is_the_sparse_start(train, tmp_path, capsys):
    train(to=1, folder="dense")
    last = str(tmp_path / "dense" / "checkpoint_last.pt")
    path = str(tmp_path / "random.safetensors")
    line = ["ticket", "--mask-from", last, "--sparsity", "0.5", "--score", "random"]
    assert main([*line, "--scope", "erk", "--out", path]) == 0
    ticket = load_ticket(path)
    for scope in ("erk", "global"):
        flags = ("--ticket", path, *GRANET, "--scope", scope)
        assert train(*flags, to=1, folder=scope).task.run.mask == ticket.mask
        training = train(*flags, folder=scope)
        mask = training.task.run.mask
        assert mask.pruned == count_to_prune(0.8, mask.prunable)
        assert not mask.is_subset_of(ticket.mask) and training.watch.exchanged > 0
        explored = training.task.run.metrics_to_log(training=False)["explored"]
        assert 0.5 < explored < 1
    with pytest.raises(SystemExit):
        train("--ticket", path, *GRANET, "--scope", "global", "--prune-to", 0.4, folder="less")
    assert "--prune-to 0.4 is below the sparsity 0.5 of the mask" in capsys.readouterr().err


def test_itop_exchanges_on_where_granet_has_ended(train):
    """As the code of GraNet does until the end of the training."""
    before = train(*GRANET, "--prune-end", 6, to=6).task.run.mask
    flags = (*GRANET, "--pruner", "itop", "--prune-start", 6, "--prune-end", 12)
    training = train(*flags)
    assert training.watch.exchanged > 0 and training.task.run.mask.pruned == before.pruned


def test_a_validation_counts_at_the_target_only(train):
    for update, value in ((8, None), (10, 1.5)):
        run = train(*GRANET, to=update).task.run
        stats = {"num_updates": update, "loss": 1.5}
        run.hide_under_pruned(stats)
        assert stats["loss"] == value


def test_a_pattern_is_refused(train, capsys):
    with pytest.raises(SystemExit):
        train(*GRANET, "--scope", "2:4")
    assert "--scope 2:4 has a fixed sparsity, which --prune-to" in capsys.readouterr().err

"""Soft movement pruning, against autograd and torch's Adam in a plain training."""

import math
from functools import partial

import pytest

pytest.importorskip("fairseq")

import torch
from masked_variables import Reference, ScoredApart, updates
from matrix.training import ON_CPU, Training, configuration, in_this_process
from toy import same

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.tickets.folder_check import check_folder

SOFT = (
    *("--pruner", "soft-movement", "--prune-to", 0.95, "--prune-start", 1, "--prune-end", 13),
    *("--prune-every", 3, "--prune-score-lr", 0.4, "--prune-penalty", 0.5),
)
LAST = "checkpoint_last.pt"


@pytest.fixture
def train(trained):
    return partial(trained, to=8, updates=16)


def progress(update):
    """The cubic schedule of the paper's code."""
    return 1 - (1 - min(max((update - 1) / 12, 0), 1)) ** 3


def test_masks_and_scores_are_those_of_autograd_and_adam(toy_data, tmp_path):
    """The penalty is differentiated by autograd; the threshold is on sigmoids."""
    given = ("--max-update", 16, "--lr", 1, "--clip-norm", 0.0, "--update-freq", 2)
    pruning = (*SOFT, "--prune-threshold", 0.4)
    ours = configuration(toy_data, tmp_path / "ours", *given, *pruning, optimizer="masked_sgd")
    plain = configuration(toy_data, tmp_path / "plain", *given, optimizer="sgd", lottery=False)
    sparsities, came_back = [], 0
    with in_this_process():
        training, reference = Training(ours), Reference(plain, ScoredApart)
        reference.note_factor()
        scores = {name: part[0].scores for name, part in reference.parts.items()}
        adam = torch.optim.Adam(scores.values(), lr=0.4)
        for update, _ in zip(updates(reference), updates(training)):
            for tensor in scores.values():
                tensor.grad.mul_(reference.factor)
            means = [tensor.sigmoid().mean() for tensor in scores.values()]
            (0.5 * progress(update) * sum(means) / len(means)).backward()
            adam.step()
            adam.zero_grad()
            run = training.task.run
            if update < 13:
                for name, found in run.state()["learned"]["tensors"]["scores"].items():
                    assert torch.allclose(found, scores[name], rtol=1e-3, atol=1e-4), (update, name)
            if (update - 1) % 3 == 0 and update <= 13:
                for name, part in reference.parts.items():
                    kept = scores[name].detach().sigmoid() > 0.4 * progress(update)
                    if name in reference.padded:
                        kept[1] = True
                    came_back += int((kept & ~part[0].mask.bool()).sum())
                    part[0].mask.copy_(kept)
                sparsities.append(round(run.mask.sparsity, 2))
            assert same(reference.masks(), dict(run.mask)), update
            if update == 16:
                break
    assert came_back > 3, "weights come back"
    assert sparsities[0] == 0 and sparsities[-1] > 0.2, sparsities


def test_the_sparsity_is_a_result_of_the_penalty_up_to_a_bound(train, tmp_path):
    def sparsity(penalty, bound=0.95, scope="layer"):
        flags = (*SOFT, "--prune-penalty", penalty, "--prune-to", bound, "--scope", scope)
        return train(*flags, to=14, folder=f"{penalty}-{bound}-{scope}").task.run.mask

    little, much = sparsity(0), sparsity(1000)
    assert little.pruned < much.pruned
    bounded = sparsity(1000, 0.3)
    assert all(bounded.sparsity_of(name) == pytest.approx(0.3, abs=0.02) for name in bounded)
    together = sparsity(1000, 0.3, "global")
    assert together.sparsity == pytest.approx(0.3, abs=1e-3)
    for folder in ("0-0.95-layer", "1000-0.3-global"):
        assert main(["inspect", "--check", str(tmp_path / folder)]) == 0


def test_the_best_model_is_sought_at_the_final_threshold(train):
    for update, counts in ((12, False), (13, True)):
        stats = {"num_updates": update, "loss": 1.5}
        train(*SOFT, to=2).task.run.hide_under_pruned(stats)
        assert (stats["loss"] == 1.5) == counts


@pytest.mark.parametrize("precision", ON_CPU)
def test_a_resumed_run_goes_on_to_the_bit(train, tmp_path, precision):
    flags = (*SOFT, "--store-ema", "--ema-decay", 0.9, "--update-freq", 4, "--lr", 0.03)
    whole = train(*flags, to=16, folder="whole", precision=precision)
    for update in (2, 5, 9, 16):
        parts = train(*flags, to=update, precision=precision)
    assert same(whole.state(), parts.state())
    assert whole.task.run.mask.pruned > 100
    stored = read_checkpoint(tmp_path / "run" / LAST)["task_state"]["lottery"]
    assert stored["growth"]["penalty"] == 0.5 and "learned" not in stored
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (("--prune-start", 0), "--pruner soft-movement needs gradients, but there are none at upd"),
        (("--prune-schedule", "linear"), "--prune-schedule is not an option of --pruner soft-mov"),
        (("--prune-threshold", 1.0), "--prune-threshold 1 is outside (0, 1)"),
        (("--prune-threshold", math.nan), "--prune-threshold nan is outside (0, 1)"),
        (("--prune-penalty", -1), "--prune-penalty -1 must be finite and at least 0"),
        (("--prune-penalty", math.inf), "--prune-penalty inf must be finite"),
        (("--prune-score-lr", 0), "--prune-score-lr 0 must be finite and above 0"),
        (("--prune-start", 13), "--prune-start and --prune-end are both 13"),
        (("--pruner", "gradual"), "is not an option of --pruner gradual"),
        (("--score", "random"), "--score random is not used by --pruner soft-movement"),
    ],
)
def test_refused(train, capsys, flags, sentence):
    with pytest.raises(SystemExit) as stopped:
        train(*SOFT, *flags)
    printed = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-lott")]
    assert stopped.value.code == 2
    assert len(printed) == 1 and sentence in printed[0], printed


def test_it_is_not_changed_in_the_middle(train, capsys):
    train(*SOFT, to=5)
    with pytest.raises(SystemExit):
        train(*SOFT, "--prune-penalty", 7)
    sentence = (
        "the run was pruning by soft-movement to 0.95 from update 1 to 13, every 3, threshold"
    )
    assert sentence in capsys.readouterr().err

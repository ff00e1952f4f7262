"""Movement pruning, against a straight-through mask in a plain training."""

import copy
from functools import partial

import pytest

pytest.importorskip("fairseq")

import omegaconf
import torch
from fairseq.optim import OPTIMIZER_REGISTRY
from masked_variables import Reference, Scored, updates
from matrix.training import ON_CPU, Training, configuration, in_this_process
from toy import assert_pruned, assert_same_training, kill_at, same, train_two

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.formats.checkpoints.safe_load import safe_load
from fairseq_lottery.masks import Movement
from fairseq_lottery.tickets.folder_check import check_folder

MOVEMENT = (
    *("--pruner", "movement", "--prune-to", 0.6, "--prune-start", 1, "--prune-end", 13),
    *("--prune-every", 3, "--max-update", 16),
)
LAST = "checkpoint_last.pt"


@pytest.fixture
def train(trained):
    return partial(trained, to=8, updates=16)


def scores(training):
    return training.task.run.state()["learned"]["tensors"]["scores"]


@pytest.mark.parametrize("frequency", [1, 2])
def test_masks_and_scores_are_those_of_a_straight_through_mask(toy_data, tmp_path, frequency):
    """Plain SGD learns variables and scores, here with a power of two as learning rate."""
    given = ("--max-update", 16, "--lr", 4, "--clip-norm", 0.0, "--update-freq", frequency)
    ours = configuration(toy_data, tmp_path / "ours", *given, *MOVEMENT, optimizer="masked_sgd")
    plain = configuration(toy_data, tmp_path / "plain", *given, optimizer="sgd", lottery=False)
    came_back = 0
    with in_this_process():
        training, reference = Training(ours), Reference(plain, Scored)
        for update, _ in zip(updates(reference), updates(training)):
            run = training.task.run
            if update < 13:
                for name, expected in reference.scores().items():
                    found = scores(training)[name]
                    assert torch.allclose(4 * found, expected, rtol=1e-3, atol=1e-4), name
            if (update - 1) % 3 == 0 and update <= 13:
                sparsity = 0.6 - 0.6 * (1 - (update - 1) / 12) ** 3
                came_back += reference.prune(sparsity, reference.scores())
            assert same(reference.masks(), dict(run.mask)), update
            weights = dict(training.trainer.get_model().named_parameters())
            for name, expected in reference.weights().items():
                assert torch.allclose(weights[name], expected, rtol=1e-4, atol=1e-5), (update, name)
            if update == 16:
                break
    assert came_back > 10, "weights come back"


def test_scores_are_never_reset(train):
    """Where the mask changes after update 4, scores grow on from what they were."""
    before = {name: tensor.clone() for name, tensor in scores(train(*MOVEMENT, to=4)).items()}
    training = train(*MOVEMENT, to=5)
    mask = training.task.run.mask
    assert mask.pruned
    after = scores(training)
    assert all(before[name].count_nonzero() > 0.5 * before[name].numel() for name in mask)
    change = sum(float((after[name] - before[name]).norm()) for name in mask)
    assert 0 < change < sum(float(before[name].norm()) for name in mask)
    assert any((after[name] != before[name])[~keep].any() for name, keep in mask.items())


def test_clipped_gradients_count(train):
    """The first update's gradients are divided by their norm, so the scores are, too."""
    flags = (*MOVEMENT, "--lr", 1e-9)
    free = scores(train(*flags, "--clip-norm", 0.0, to=1, folder="free"))
    clipped = scores(train(*flags, "--clip-norm", 1e-3, to=1, folder="clipped"))
    ratios = torch.cat([(clipped[n] / free[n])[free[n] != 0].flatten() for n in free])
    assert float(ratios.max()) < 0.1
    assert torch.allclose(ratios, ratios.median().expand_as(ratios), rtol=1e-3)


@pytest.mark.parametrize("precision", ON_CPU)
def test_scores_of_every_precision_are_those_of_fp32(train, precision):
    """Unscaled, averaged over batches and in fp32, before and after weights are pruned."""
    flags = (*MOVEMENT, "--lr", 1e-9, "--update-freq", 2)
    whole = train(*flags, to=6, folder="fp32")
    half = train(*flags, to=6, folder="half", precision=precision)
    mask, allowed = whole.task.run.mask, 0.1 if precision.startswith("bf16") else 0.03
    for name, expected in scores(whole).items():
        found = scores(half)[name]
        assert found.dtype == torch.float32
        assert (found - expected).norm() <= allowed * expected.norm(), name
    assert mask.pruned == half.task.run.mask.pruned > 0


@pytest.mark.parametrize("precision", ON_CPU)
def test_a_resumed_run_goes_on_to_the_bit(train, tmp_path, precision):
    flags = (*MOVEMENT, "--store-ema", "--ema-decay", 0.9, "--update-freq", 4, "--lr", 0.03)
    whole = train(*flags, to=16, folder="whole", precision=precision)
    for update in (2, 5, 9, 13, 16):
        parts = train(*flags, to=update, precision=precision)
    assert same(whole.state(), parts.state())
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]
    assert "learned" not in whole.task.run.state(), "no step needs them any more"


def test_scores_of_another_optimizer_state_start_anew(train):
    """A run that starts its counter again learns its scores again."""
    train(*MOVEMENT, "--prune-start", 12, to=3)
    flags = (*MOVEMENT, "--prune-start", 12, "--reset-optimizer", "--lr", 1e-9)
    training = train(*flags, to=1)
    assert training.task.run.state()["learned"]["updates"] == 1


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (("--prune-start", 0), "--pruner movement needs gradients, but there are none at update 0"),
        (("--score", "random"), "--score random is not used by --pruner movement, which learns"),
        (("--prune-fraction", 0.2), "--prune-fraction is not an option of --pruner movement"),
    ],
)
def test_refused(refused, flags, sentence):
    refused(sentence, *MOVEMENT, *flags)


def test_learning_that_fails_is_one_sentence(refused, monkeypatch):
    monkeypatch.setattr(Movement, "learn", lambda self, movement, state: 1 / 0)
    refused("pruner movement at update 1 failed with ZeroDivisionError", *MOVEMENT)


def test_a_mask_that_prunes_already_is_refused(train, refused, tmp_path):
    train(to=2, folder="dense")
    ticket = ("--mask-from", tmp_path / "dense" / LAST, "--sparsity", 0.5)
    refused("unknown for the 1336 weights that the mask prunes already", *ticket, *MOVEMENT)


@pytest.mark.parametrize("pruner", ["movement", "soft-movement"])
def test_a_trained_model_is_fine_tuned(train, tmp_path, pruner):
    """With a new update counter; the run before had pruned by other scores."""
    train(*MOVEMENT, "--prune-to", 0.0, to=3, folder="dense")
    schedule = () if pruner == "movement" else ("--prune-penalty", 1e4, "--prune-score-lr", 1)
    flags = (*MOVEMENT, "--finetune-from-model", tmp_path / "dense" / LAST, "--pruner", pruner)
    training = train(*flags, *schedule, to=1)
    assert training.task.run.state()["learned"]["updates"] == 1
    assert train(*flags, *schedule, to=13).task.run.mask.sparsity == pytest.approx(0.6, abs=0.01)


BAD = {
    "scores of another shape": (
        lambda learned: learned["tensors"]["scores"].update(x=torch.ones(3)),
        "its learned scores have other matrices or shapes than its mask",
    ),
    "scores in half precision": (
        lambda learned: learned["tensors"]["scores"].update(
            {n: t.half() for n, t in learned["tensors"]["scores"].items()}
        ),
        "are not finite fp32 numbers",
    ),
    "NaN": (
        lambda learned: next(iter(learned["tensors"]["scores"].values())).fill_(float("nan")),
        "are not finite fp32 numbers",
    ),
    "no scores": (lambda learned: learned.pop("tensors"), "learned has no tensors"),
    "a count that is a text": (lambda learned: learned.update(updates="x"), "updates is 'x'"),
    "tensors of other names": (
        lambda learned: learned["tensors"].update(more=learned["tensors"].pop("scores")),
        "lacks the learned scores of --pruner movement; resume from another checkpoint",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_scores_are_one_sentence(train, refused, tmp_path, case):
    train(*MOVEMENT, to=5)
    change, sentence = BAD[case]
    state = copy.deepcopy(safe_load(tmp_path / "run" / LAST))  # it is mapped into memory
    change(state["task_state"]["lottery"]["learned"])
    torch.save(state, tmp_path / "run" / LAST)
    refused(sentence, *MOVEMENT)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["movement", "soft-movement"])
def test_two_processes_are_killed_and_resumed(toy, pruner):
    flags = (
        *("--pruner", pruner, *(("--prune-score-lr", 0.4) if pruner != "movement" else ())),
        *("--prune-to", 0.9, "--prune-start", 1, "--prune-end", 11),
        *("--prune-every", 2, "--save-interval-updates", 4, "--update-freq", 4),
        *("--store-ema", "--ema-decay", 0.9),
    )
    for done in train_two(toy, "whole", *flags, updates=12):
        done.ok()
    killed = train_two(toy, "parts", *flags, updates=12, prelude=lambda: kill_at(5))
    assert all(done.code != 0 for done in killed)
    stored = read_checkpoint(toy.path("parts", LAST))["task_state"]["lottery"]
    assert stored["learned"]["updates"] == 4
    for done in train_two(toy, "parts", *flags, updates=12):
        done.ok()
    assert_same_training(toy.load("whole", LAST), toy.load("parts", LAST))
    assert_pruned(toy.load("whole", LAST), toy.mask("whole", LAST))
    assert main(["inspect", "--check", str(toy.path("whole"))]) == 0


def test_amp_divides_gradients_by_the_loss_scale_once():
    """fairseq divides twice; torch's scaler on a CPU shows it without a GPU."""
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this torch has no loss scaling on a CPU")
    from fairseq.optim.amp_optimizer import AMPOptimizer

    from fairseq_lottery.compat import divided_twice

    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    true = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    adam = {"adam_betas": "(0.9, 0.999)", "adam_eps": 1e-8, "weight_decay": 0.0, "lr": [0.1]}
    adam |= {"use_old_adam": True, "fp16_adam_stats": False, "tpu": False}
    settings = omegaconf.OmegaConf.create(
        {"optimizer": adam, "common": {"fp16_init_scale": 128, "min_loss_scale": 1e-4}}
    )
    masked = OPTIMIZER_REGISTRY["masked_adam"](settings.optimizer, [weight])
    optimizer = AMPOptimizer(settings, [weight], masked)
    optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    seen = []
    masked.before_step = lambda factor: seen.append(weight.grad * factor * divided_twice(optimizer))
    optimizer.backward((weight * true).sum())
    optimizer.clip_grad_norm(0.0)
    optimizer.step()
    assert torch.equal(seen[0], true)
    assert divided_twice(masked) == 1

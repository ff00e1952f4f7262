"""Ways of training in which a mask could go wrong unseen: overflows, weights that are replaced."""

import pytest

pytest.importorskip("fairseq")

import torch
from matrix import scores
from matrix.training import ON_CPU, Training, configuration, in_this_process

PRUNING = ("--prune-to", 0.6, "--prune-start", 1, "--prune-end", 4, "--prune-every", 1)


@pytest.mark.parametrize(
    "precision", ["fp16 flat", "fp16 not flat", "fp16 memory-efficient", "amp"]
)
def test_an_update_that_is_passed_over_lets_nothing_grow(
    toy_data, tmp_path, monkeypatch, precision
):
    """Gradients that overflow cost the update, and amp tells a task nothing of it."""
    if precision not in ON_CPU or not hasattr(getattr(torch, "amp", None), "GradScaler"):
        pytest.skip("this torch cannot do it on a CPU")

    monkeypatch.setattr(torch.cuda.amp, "GradScaler", _scaler)
    flags = ("--max-update", 6, *PRUNING, "--fp16-init-scale", 2**20)
    with in_this_process():
        cfg = configuration(toy_data, tmp_path, *flags, precision=precision)
        training = Training(cfg)
        run, trainer = training.task.run, training.trainer
        grown, tried = [], []
        monkeypatch.setattr(run, "_change_mask", _noting(run._change_mask, grown, _update))
        monkeypatch.setattr(trainer, "zero_grad", _noting(trainer.zero_grad, tried, lambda: 1))
        training.run(6)
        assert len(tried) > 8, "nothing overflowed"
        assert grown == [0, 1, 2, 3, 4], "the first mask, then one after every update"


def _update(update, change):
    return update


def _scaler(**given):
    """A real one: fairseq's is for CUDA only, and rests elsewhere."""
    return torch.amp.GradScaler("cpu", init_scale=2.0**127)


@pytest.mark.parametrize(
    "precision", ["fp16 flat", "fp16 not flat", "fp16 memory-efficient", "amp"]
)
def test_gates_count_no_update_that_is_passed_over(toy_data, tmp_path, monkeypatch, precision):
    if precision not in ON_CPU or not hasattr(getattr(torch, "amp", None), "GradScaler"):
        pytest.skip("this torch cannot do it on a CPU")
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", _scaler)
    flags = (
        "--max-update", 6, "--fp16-init-scale", 2**20, "--update-freq", 2, "--open-heads", 2,
        "--gate-anneal", 10, "--criterion", "label_smoothed_cross_entropy_gates",
    )  # fmt: skip
    with in_this_process():
        training = Training(configuration(toy_data, tmp_path, *flags, precision=precision))
        trainer, tried = training.trainer, []
        monkeypatch.setattr(trainer, "zero_grad", _noting(trainer.zero_grad, tried, lambda: 1))
        training.run(6)
        assert len(tried) > 8, "nothing overflowed"
        assert int(trainer.get_criterion().gates.steps) == 6


def _noting(function, notes, what=lambda update: update):
    def noted(*args, **named):
        notes.append(what(*args))
        return function(*args, **named)

    return noted


def test_ranks_are_of_the_weights_as_they_are(toy_data, tmp_path):
    """``--quant-noise-pq`` gives every matrix other data in each forward pass."""
    flags = (
        "--max-update", 4, "--prune-to", 0.5, "--prune-start", 3, "--prune-end", 3,
        "--prune-schedule", "one-shot", "--score", "matrix.scores:remembered",
        "--quant-noise-pq", 0.3, "--quant-noise-pq-block-size", 4, "--snapshot-updates", "3",
    )  # fmt: skip
    scores.SEEN.clear()
    with in_this_process():
        training = Training(configuration(toy_data, tmp_path, *flags)).run(3)
        weights = dict(training.trainer.get_model().named_parameters())
        assert set(scores.SEEN) == set(training.task.run.mask)
        for name, keep in training.task.run.mask.items():
            assert torch.equal(scores.SEEN[name][keep], weights[name].detach()[keep]), name
        training.run(4)


REFUSED = {
    "--bf16": (("--bf16",), "--bf16 (in fairseq-train; fairseq-hydra-train common.bf16=true"),
    "--tpu": (("--tpu",), "--tpu hides the updated"),
    "--quantization-config-path": (
        ("--quantization-config-path", "pq.yaml"),
        "--quantization-config-path hides the updated weights",
    ),
    "--ddp-backend slowmo": (("--ddp-backend", "slowmo"), "slowmo hides the updated weights"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_hides_the_weights_is_refused(toy_data, tmp_path, capsys, case):
    flags, sentence = REFUSED[case]
    with in_this_process(), pytest.raises(SystemExit) as stopped:
        Training(configuration(toy_data, tmp_path, "--max-update", 6, *PRUNING, *flags))
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and printed.count("fairseq-lottery: ") == 1
    assert sentence in printed

"""The loss is fairseq's own; the figures are logged through its metrics."""

import math
import re

import pytest
import torch

pytest.importorskip("fairseq")

pytestmark = pytest.mark.slow


def losses(done):
    return re.findall(r"\| (?:train|valid).* loss ([\d.]+) \| nll_loss ([\d.]+)", done.out)


def test_the_loss_is_fairseqs_to_the_last_bit(toy):
    from toy import same

    from fairseq_lottery.formats import untie

    # fairseq's own task would drop 3 of the 51 validation sentences otherwise
    whole = ("--required-batch-size-multiple", 1)
    ours = toy.train("ours", *whole, optimizer="adam", updates=8).ok()
    theirs = toy.train("theirs", *whole, optimizer="adam", updates=8, lottery=False).ok()
    assert losses(ours) == losses(theirs)
    states = [toy.load(run, "checkpoint_last.pt") for run in ("ours", "theirs")]
    assert states[0]["extra_state"]["val_loss"] == states[1]["extra_state"]["val_loss"]
    assert same(*(untie(state["model"]) for state in states))


def test_golden_loss_of_an_untrained_model_that_knows_nothing():
    """Uniform predictions over V symbols cost log V, smoothed or not."""
    from argparse import Namespace

    from fairseq_lottery.training.criterions import LabelSmoothedCrossEntropyLottery

    class Uniform(torch.nn.Module):
        def forward(self):
            return torch.zeros(2, 3, 10)

        def get_normalized_probs(self, output, log_probs):
            return torch.log_softmax(output, -1)

        def get_targets(self, sample, output):
            return sample["target"]

    dictionary = Namespace(pad=lambda: 1)
    task = Namespace(target_dictionary=dictionary, run=None)
    criterion = LabelSmoothedCrossEntropyLottery(task, False, 0.1)
    target = torch.tensor([[4, 5, 2], [6, 2, 1]])
    sample = {"net_input": {}, "target": target, "ntokens": 5}
    loss, size, logged = criterion(Uniform(), sample)
    assert size == 5
    assert float(loss) == pytest.approx(5 * math.log(10), rel=1e-6)
    assert float(logged["nll_loss"]) == pytest.approx(5 * math.log(10), rel=1e-6)


def test_figures_of_a_masked_run(toy, dense):
    from toy import drawing

    done = toy.train("run", *drawing(dense, 0.8), "--log-format", "json").ok()
    figures = dict(re.findall(r'"valid_(\w+)": "([\d.]+)"', done.out))
    mask = toy.mask("run", "checkpoint_last.pt")
    assert float(figures["sparsity"]) == round(mask.sparsity, 4)
    assert float(figures["density_enc_ffn"]) == round(1 - mask.sparsity_of(
        "encoder.layers.0.fc1.weight"), 4)  # fmt: skip
    model = toy.load("run", "checkpoint_last.pt")["model"]
    norm = math.sqrt(sum(float(model[name].pow(2).sum()) for name in mask))
    assert float(figures["survivor_norm"]) == pytest.approx(norm, abs=1e-3)
    from fairseq_lottery.formats import load_ticket

    start = load_ticket(toy.path("run", "ticket.safetensors")).values
    for name, row in mask.protected.items():
        model[name][row] = start[name][row]  # the padding row is no survivor
    flips = sum(int(((model[n] < 0) != (start[n] < 0))[k].sum()) for n, k in mask.items())
    kept = mask.prunable - mask.pruned
    assert float(figures["sign_flips"]) == pytest.approx(flips / kept, abs=1e-4)

"""Masks from scores before the first update, in trainings in this process."""

from functools import partial

import pytest

pytest.importorskip("fairseq")

import numpy
import torch
from matrix.training import ON_CPU
from toy import same

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_checkpoint, read_source, trainable
from fairseq_lottery.masks import SCORES, full_mask, score_all, select, shapes_of
from fairseq_lottery.saliency import SALIENCIES
from fairseq_lottery.saliency.synaptic_flow import HAS_MODES
from fairseq_lottery.training import lottery_run
from fairseq_lottery.training.start.training_examples import own_generators

#: those that rank embeddings, too
SCORED = [name for name, saliency in SALIENCIES.items() if not saliency.reads_inputs]
if not HAS_MODES:
    SCORED.remove("synflow")
ONCE = ("--prune-to", 0.8, "--prune-schedule", "one-shot", "--prune-start", 0)
LAST = "checkpoint_last.pt"


def score(name, *flags):
    rounds = () if name in ("snip", "grasp") else ("--score-rounds", 5)
    return ("--score", name, *ONCE, *rounds, *flags)


@pytest.fixture
def train(trained):
    return partial(trained, to=4, updates=12)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize(
    "precision", [p for p in ("fp32", "fp16 flat", "bf16", "amp") if p in ON_CPU]
)
def test_a_run_equals_one_from_a_ticket_with_its_mask(train, tmp_path, name, precision):
    """Order of the examples, dropout, weights and optimizer, to the bit."""
    more = ("--dropout", 0.3, "--update-freq", 2)
    train("--snapshot-updates", "0", *more, to=1, folder="dense", precision=precision)
    once = train(*score(name, *more), folder="once", precision=precision)
    assert main([
        "ticket", "--mask-from", str(tmp_path / "dense/snapshot_0.safetensors"),
        "--mask-file", str(tmp_path / "once" / LAST), "--out", str(tmp_path / "t.safetensors"),
    ]) == 0  # fmt: skip
    ticket = ("--ticket", tmp_path / "t.safetensors")
    other = train(*ticket, *more, folder="ticket", precision=precision)
    assert once.task.run.mask == other.task.run.mask
    assert once.task.run.mask.pruned > 0.79 * once.task.run.mask.prunable
    one, two = once.state(), other.state()
    assert same(one["model"], two["model"])
    assert same(one["optimizer"], two["optimizer"])


def test_snip_is_the_gradient_of_the_chosen_batches_with_the_runs_loss(train, monkeypatch):
    """Computed here with ``backward`` on the model in evaluation mode, and its own selection."""
    seen = {}
    from fairseq_lottery.training.start import training_examples as examples

    collect = examples.training_examples

    def watched(task, criterion, count, seed, one_by_one):
        some = collect(task, criterion, count, seed, one_by_one)
        model = task.run.model.eval()
        for batch in some.batches:
            criterion(model, batch)[0].backward()
        weights = trainable(model)
        full = full_mask(shapes_of(weights))
        gradients = {n: weights[n].grad.clone() for n in full}
        model.zero_grad()
        model.train()
        scores = score_all(SCORES["snip"], weights, gradients=gradients)
        seen.update(mask=select(scores, full, 0.8), batches=list(some.batches), count=some.count)
        return some

    monkeypatch.setattr("fairseq_lottery.training.task_mixin.training_examples", watched)
    training = train(*score("snip", "--score-batches", 3), to=1)
    assert training.task.run.mask == seen["mask"]
    assert seen["count"] == len(seen["batches"]) == 3


def test_masks_depend_on_the_draws_seed_and_the_number_of_batches(train):
    def mask(*flags):
        folder = "-".join(map(str, flags)) or "none"
        return train(*score("snip", *flags), folder=folder, to=1).task.run.mask

    one = mask()
    assert one == mask("--seed", 3)  # the toy's
    assert one != mask("--draw-seed", 2)
    assert mask("--score-batches", 1) != mask("--score-batches", 2)
    assert mask("--score-batches", 10_000) == mask("--score-batches", 10_001)  # all there are


def test_gradients_and_buffers_are_clean_before_the_first_update(train, monkeypatch):
    from fairseq_lottery.training.lottery_run import LotteryRun

    seen = []
    find = LotteryRun._change_mask

    def change(self, *args, **kwargs):
        before = {n: b.clone() for n, b in self.model.named_buffers()}
        state = torch.get_rng_state()
        find(self, *args, **kwargs)
        seen.append(all(torch.equal(before[n], b) for n, b in self.model.named_buffers()))
        seen.append(all(p.grad is None or not p.grad.any() for p in self.model.parameters()))
        seen.append(torch.equal(state, torch.get_rng_state()))
        seen.append(all(module.training for module in self.model.modules()))

    monkeypatch.setattr(LotteryRun, "_change_mask", change)
    for name in SCORED:
        train(*score(name), folder=name, to=1)
    assert seen == [True] * 4 * len(SCORED)


@pytest.mark.parametrize("fails", [False, True])
def test_only_generators_of_the_cpu_are_seeded_and_their_state_is_restored(monkeypatch, fails):
    def draw():
        return torch.rand(3).tolist(), numpy.random.rand(3).tolist()

    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda seed: pytest.fail("a GPU was seeded"))
    state, numbers = torch.get_rng_state(), numpy.random.get_state()
    expected = draw()
    torch.set_rng_state(state)
    numpy.random.set_state(numbers)
    drawn = []
    for _ in range(2):
        try:
            with own_generators(7):
                drawn.append(draw())
                if fails:
                    raise RuntimeError
        except RuntimeError:
            assert fails
    assert torch.equal(torch.get_rng_state(), state)
    assert draw() == expected
    assert drawn[0] == drawn[1] != expected
    assert drawn[0][0] == torch.rand(3, generator=torch.Generator().manual_seed(7)).tolist()


@pytest.mark.parametrize("name", ["snip", "force"])
def test_a_resumed_run_computes_nothing(train, tmp_path, name, monkeypatch):
    whole = train(*score(name), folder="whole", to=6)
    train(*score(name), folder="parts", to=3)
    monkeypatch.setattr(lottery_run, "find_start_mask", pytest.fail)
    monkeypatch.setattr("fairseq_lottery.training.task_mixin.training_examples", pytest.fail)
    parts = train(*score(name), folder="parts", to=6)
    for part, state in whole.state().items():
        assert same(state, parts.state()[part]), part
    stored = read_checkpoint(tmp_path / "parts" / LAST)["task_state"]["lottery"]["ranking"]
    assert stored["score"] == name and stored["score_batches"] == 16
    assert "gradients" not in read_checkpoint(tmp_path / "parts" / LAST)[
        "last_optimizer_state"].get("lottery", {})  # fmt: skip


def test_a_rising_schedule_from_update_0_sums_the_gradients_of_the_training(train):
    flags = ("--score", "snip", "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 6,
             "--prune-every", 2)  # fmt: skip
    assert train(*flags, to=1).task.run.mask.pruned == 0
    training = train(*flags, to=7)
    assert training.task.run.mask.sparsity == pytest.approx(0.8, abs=1e-3)
    # after the last step no gradients are summed
    assert training.trainer.optimizer._gradients is None


def test_a_ticket_is_pruned_further_before_its_first_update(train, tmp_path):
    train("--snapshot-updates", "0", to=1, folder="dense")
    source = str(tmp_path / "dense/snapshot_0.safetensors")
    out = str(tmp_path / "half.safetensors")
    assert main(["ticket", "--mask-from", source, "--sparsity", "0.5", "--out", out]) == 0
    for name in SCORED:
        mask = train("--ticket", out, *score(name), folder=name, to=1).task.run.mask
        assert mask.is_subset_of(read_source(out).mask)
        assert mask.sparsity == pytest.approx(0.8, abs=1e-3)


def test_collapse_is_said_in_one_line(train, monkeypatch):
    said = []
    monkeypatch.setattr(lottery_run.logger, "warning", lambda *words: said.append(words[0]))
    flags = ("--score", "snip", "--prune-to", 0.995, *ONCE[2:], "--scope", "global")
    mask = train(*flags, to=1).task.run.mask
    lines = [line for line in said if "layer collapse" in line]
    assert len(lines) == 1 and mask.emptied
    assert lines[0].startswith(f"layer collapse: all weights of {mask.emptied[0]}, ")
    assert lines[0].endswith("--min-density with --scope global, or a lower sparsity")
    assert ("more" in lines[0]) == (len(mask.emptied) > 5)


@pytest.mark.parametrize("name", ["force", "grasp", "synflow", "wanda"])
def test_scores_of_the_first_update_are_refused_later(refused, name):
    sentence = f"--score {name} ranks weights only before the first update; give --pruner gradual"
    for flags in (
        ("--prune-schedule", "one-shot", "--prune-start", 1, "--prune-end", 1),
        ("--prune-start", 0, "--prune-end", 6, "--prune-every", 2),
        ("--pruner", "set", "--prune-end", 6, "--prune-every", 2),
    ):
        refused(sentence, "--score", name, "--prune-to", 0.5, *flags)


@pytest.mark.parametrize("sentence, flags", [
    ("--score-batches is not an option of --score synflow; leave it out",
     score("synflow", "--score-batches", 3)),
    ("--score-rounds is not an option of --score magnitude; leave it out",
     (*ONCE, "--score-rounds", 3)),
    ("--score-batches applies to pruning during training; add --prune-to",
     ("--score-batches", 3)),
    ("--score-rounds applies to --prune-schedule one-shot; leave it out",
     ("--score", "snip", "--prune-to", 0.5, "--prune-end", 6, "--prune-every", 2,
      "--score-rounds", 3)),
    ("--score-batches 0 is out of range; give 1 or more", score("snip", "--score-batches", 0)),
    ("--score-rounds -1 is out of range; give 1 or more", score("snip", "--score-rounds", -1)),
])  # fmt: skip
def test_flags_that_would_be_ignored_are_refused(refused, sentence, flags):
    refused(sentence, *flags)


def test_snip_may_sum_the_gradients_of_the_first_updates(train):
    flags = ("--prune-schedule", "one-shot", "--prune-start", 3, "--prune-end", 3)
    runs = [train("--score", "snip", "--prune-to", 0.8, *flags, to=to) for to in (2, 4)]
    assert [run.task.run.mask.sparsity > 0.79 for run in runs] == [False, True]

"""RigL: its updates against a plain computation, its window of gradients, and its restarts."""

import copy
import math
import re
from functools import partial

import pytest

pytest.importorskip("fairseq")

import torch
from fairseq.data import iterators
from matrix.training import ON_CPU, Training, configuration, in_this_process
from toy import assert_pruned, assert_same_training, kill_at, same, train_two

from fairseq_lottery.formats import mask_from_state
from fairseq_lottery.tickets.folder_check import check_folder
from fairseq_lottery.training.optimizers import MaskedOptimizer

RIGL = (
    *("--pruner", "rigl", "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 12),
    *("--prune-every", 4, "--update-freq", 2, "--store-ema", "--ema-decay", 0.9),
)
LAST = "checkpoint_last.pt"


@pytest.fixture
def train(trained):
    return partial(trained, to=12, updates=12)


# --- against a plain computation -----------------------------------------------------------


def reference_updates(training, keep, updates, rate, fraction, end):
    """RigL by the paper's algorithm, in plain torch: yields masks and weights after each update.

    ``keep`` has the first mask by name. Every update is followed by an exchange.
    """
    model = copy.deepcopy(training.trainer.get_model())
    criterion = training.trainer.get_criterion()
    named = dict(model.named_parameters())
    keep = {name: mask.clone() for name, mask in keep.items()}
    batches = training.epoch.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True)
    groups = iter(iterators.GroupedIterator(batches, 2))
    for name, mask in keep.items():
        named[name].data[~mask] = 0
    for update in range(1, updates + 1):
        model.zero_grad()
        tokens = 0
        for sample in next(groups):
            loss, size, _ = criterion(model, sample)
            loss.backward()
            tokens += size
        dense = {name: p.grad / tokens for name, p in named.items() if p.grad is not None}
        sparse = {n: g * keep[n] if n in keep else g for n, g in dense.items()}
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in sparse.values()))
        for name, gradient in sparse.items():
            named[name].data -= rate * gradient * min(1.0, 1.0 / (float(norm) + 1e-6))
        share = fraction / 2 * (1 + math.cos(math.pi * update / end))
        for name, mask in keep.items():
            weights, free = named[name].data, torch.ones_like(mask)
            sizes, steps = weights.abs().flatten().tolist(), dense[name].abs().flatten().tolist()
            if "embed_tokens" in name:
                free[1] = False  # the padding row
            active = [i for i in range(mask.numel()) if (mask & free).flatten()[i]]
            count = math.floor(share * len(active) + 0.5)
            dropped = sorted(active, key=sizes.__getitem__)[:count]
            inactive = [i for i in range(mask.numel()) if not mask.flatten()[i]] + dropped
            mask.view(-1)[dropped] = False
            # largest gradients first, among equal ones the first position
            best = sorted((-steps[i], i) for i in inactive)[:count]
            mask.view(-1)[[i for _, i in best]] = True
            weights[~mask] = 0
        yield keep, {name: p.data for name, p in named.items()}


def test_the_first_three_updates_equal_a_plain_computation(train, toy_data, tmp_path):
    same_training = ("--update-freq", 2, "--lr", 0.5, "--dropout", 0)
    flags = (*RIGL, "--prune-every", 1, "--prune-fraction", 0.4, *same_training)
    first = train(*flags, "--prune-every", 11, folder="first", optimizer="masked_sgd", to=1)
    keep = {name: mask.clone() for name, mask in first.task.run.mask.items()}
    folder = tmp_path / "plain"
    cfg = configuration(toy_data, folder, *same_training, optimizer="sgd", lottery=False)
    with in_this_process():
        plain = Training(cfg)
        expected = [
            ({n: m.clone() for n, m in masks.items()}, {n: w.clone() for n, w in values.items()})
            for masks, values in reference_updates(plain, keep, 3, 0.5, 0.4, 12)
        ]
    changed = 0
    for update, (masks, values) in enumerate(expected, 1):
        training = train(*flags, folder=f"{update}", optimizer="masked_sgd", to=update)
        for name, mask in training.task.run.mask.items():
            assert mask.equal(masks[name]), (update, name)
            changed += int((mask != keep[name]).sum())
        for name, weight in training.task.run.model.named_parameters():
            torch.testing.assert_close(weight.data, values[name], rtol=1e-4, atol=1e-6)
    assert changed > 100


# --- the window ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window, summed", [(None, [4, 8]), (1, [4, 8]), (3, [2, 3, 4, 6, 7, 8]), (0, range(1, 12))]
)
def test_dense_gradients_are_copied_in_the_window_only(train, monkeypatch, window, summed):
    seen, held = [], []
    update_sums = MaskedOptimizer._sum_gradients

    def watched(self, factor):
        assert self._is_dense
        seen.append(training.update + 1)
        update_sums(self, factor)

    monkeypatch.setattr(MaskedOptimizer, "_sum_gradients", watched)
    flags = RIGL if window is None else (*RIGL, "--prune-gradient-updates", window)
    training = train(*flags, to=0)
    with in_this_process():
        for update in range(1, 13):
            training.run(update)
            optimizer = training.task.run._masked
            if optimizer.summed_gradients is not None:
                held.append(update)
            else:
                assert not optimizer._is_dense
    assert seen == [u for u in summed if u < 12] or (window == 0 and seen == list(range(1, 13)))
    # what a checkpoint after an update would store
    assert held == [u for u in seen if u not in (4, 8, 12) or (window == 0 and u < 12)]


def test_a_window_of_all_updates_equals_a_pruner_of_a_users_own(train):
    """Such a pruner gets all gradients since the last exchange, with or without the field."""
    own = train(*RIGL, "--pruner", "matrix.pruners:OfGradients", folder="own").task.run.mask
    whole = train(*RIGL, "--prune-gradient-updates", 0, folder="0").task.run.mask
    assert whole == own
    assert train(*RIGL, "--prune-gradient-updates", 4, folder="4").task.run.mask == own
    assert train(*RIGL, folder="1").task.run.mask != own


@pytest.mark.parametrize("precision", ON_CPU)
@pytest.mark.parametrize("window", [1, 3])
def test_a_resumed_run_continues_to_the_bit(train, tmp_path, precision, window):
    """Stopped in the middle of a window of three, and right before one of one."""
    flags = (*RIGL, "--prune-gradient-updates", window)
    if precision == "amp" and window > 1:
        pytest.skip("fairseq stores no optimizer state that amp could resume the sums from")
    whole = train(*flags, folder="whole", precision=precision, watch=True)
    train(*flags, to=7, precision=precision)
    parts = train(*flags, precision=precision, watch=True)
    assert whole.watch.exchanged > 0 and parts.watch.exchanged > 0
    for part, state in whole.state().items():
        assert same(state, parts.state()[part]), part
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_other_flags_in_the_middle_are_refused(train, capsys):
    train(*RIGL, to=5)
    for flags in (("--prune-gradient-updates", 2), ("--prune-fraction", 0.5)):
        with pytest.raises(SystemExit):
            train(*RIGL, *flags)
        assert "the run was pruning by rigl to 0.8 from update 0 to 12" in capsys.readouterr().err
    # the defaults of the pruner, written out
    assert train(*RIGL, "--prune-gradient-updates", 1, "--prune-fraction", 0.3, to=6).update == 6


@pytest.mark.parametrize("window", [-1, 5])
def test_a_window_out_of_range_is_refused(train, capsys, window):
    with pytest.raises(SystemExit) as stopped:
        train(*RIGL, "--prune-gradient-updates", window)
    assert stopped.value.code == 2
    sentence = f"--prune-gradient-updates {window} is out of range (0 to --prune-every, 4); 0 sums"
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_have_one_mask_and_resume_in_a_window(toy):
    flags = (*RIGL, "--prune-gradient-updates", 3, "--scope", "erk", "--save-interval-updates", 6)
    logs = [done.ok().out for done in train_two(toy, "whole", *flags, updates=12)]
    explored = toy.load("whole", LAST)["task_state"]["lottery"]["explored"]
    rate = 1 - mask_from_state(explored).sparsity
    logged = re.findall(r"\bexplored[\": ]+([0-9.]+)", "".join(logs))
    assert float(logged[-1]) == pytest.approx(rate, abs=1e-3) and rate > 0.21
    killed = train_two(toy, "parts", *flags, updates=12, prelude=lambda: kill_at(7))
    assert all(done.code != 0 for done in killed)
    for done in train_two(toy, "parts", *flags, updates=12):
        done.ok()
    assert_same_training(toy.load("whole", LAST), toy.load("parts", LAST))
    assert_pruned(toy.load("whole", LAST), toy.mask("whole", LAST))
    checked = check_folder(toy.path("whole"))
    assert [one.problems for one in checked] == [()] * len(checked)

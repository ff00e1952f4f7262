"""Pruned weights that keep their values, against mask x variable in a plain training."""

from functools import partial

import pytest

pytest.importorskip("fairseq")

import torch
from masked_variables import Reference, updates
from matrix.invariants import assert_zero_bits, master_parts
from matrix.training import ON_CPU, Training, configuration, in_this_process
from toy import assert_pruned, assert_same_training, kill_at, same, train_two

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_checkpoint, read_source
from fairseq_lottery.formats.checkpoints.safe_load import safe_load
from fairseq_lottery.tickets.folder_check import check_folder

SCHEDULE = ("--lr", 0.1, "--prune-to", 0.3, "--prune-end", 12, "--prune-every", 2)
REGROW = (*SCHEDULE, "--pruner", "gradual-regrow")
LAST = "checkpoint_last.pt"
#: torch 1.12 adds the gradients of two batches to a product and to a weight in another order
FREQUENCY = 1 if torch.__version__.startswith("1.") else 2


@pytest.fixture
def train(trained):
    return partial(trained, to=8, updates=16)


# --- against an independent training ---------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer, flags",
    [
        ("sgd", ("--lr", 5, "--update-freq", FREQUENCY)),
        ("adafactor", ("--lr", 0.1, "--clip-norm", 0.0)),
    ],
)
def test_updates_are_those_of_mask_times_variable(toy_data, tmp_path, optimizer, flags):
    """Masks, weights and values, to the bit after every update; no momentum."""
    schedule = ("--prune-to", 0.6, "--prune-end", 24, "--prune-every", 3)
    given = ("--max-update", 27, *flags)
    pruning = (*schedule, "--pruner", "gradual-regrow")
    ours, masked = tmp_path / "ours", f"masked_{optimizer}"
    ours = configuration(toy_data, ours, *given, *pruning, optimizer=masked)
    plain = tmp_path / "plain"
    plain = configuration(toy_data, plain, *given, optimizer=optimizer, lottery=False)
    came_back = 0
    with in_this_process():
        training, reference = Training(ours), Reference(plain)
        for update, _ in zip(updates(reference), updates(training)):
            if update % 3 == 0 and update <= 24:
                scores = {name: value.abs() for name, value in reference.variables().items()}
                sparsity = 0.6 - 0.6 * (1 - update / 24) ** 3  # Zhu and Gupta (2017)
                came_back += reference.prune(sparsity, scores)
            run = training.task.run
            assert same(reference.masks(), dict(run.mask)), update
            weights = dict(training.trainer.get_model().named_parameters())
            for name, expected in reference.weights().items():
                assert torch.equal(weights[name], expected), (update, name)
            if update < 24:
                values = run.state()["pruned_values"]
                for name, variable in reference.variables().items():
                    assert torch.equal(values[name], variable[~run.mask[name]]), (update, name)
            if update == 27:
                break
    assert came_back > 10, "weights come back"


def test_it_differs_from_gradual_by_what_comes_back(train):
    updates = (2, 6, 12)
    gradual = {u: train(*SCHEDULE, folder="gradual", to=u).task.run.mask for u in updates}
    regrow = {u: train(*REGROW, folder="regrow", to=u).task.run.mask for u in updates}
    assert regrow[2] == gradual[2], "nothing was pruned before"
    assert all(regrow[update].pruned == gradual[update].pruned for update in updates)
    assert regrow[12] != gradual[12]
    assert gradual[12].is_subset_of(gradual[6]) and not regrow[12].is_subset_of(regrow[6])


# --- what comes back, everywhere -------------------------------------------------------------


def full(keep, values):
    tensor = torch.zeros(keep.shape)
    tensor[~keep] = values
    return tensor


@pytest.mark.parametrize("precision", ON_CPU)
def test_a_weight_comes_back_with_its_value_everywhere(train, precision):
    """In the model, its master and its EMA; the optimizer knows nothing of it."""
    flags = (*REGROW, "--store-ema", "--ema-decay", 0.9, "--update-freq", 4)
    training = train(*flags, to=9, precision=precision)
    run, trainer = training.task.run, training.trainer
    before, values = run.mask, run.state()["pruned_values"]
    model = dict(trainer.get_model().named_parameters())
    average = dict(trainer.ema.get_model().named_parameters())
    parts = master_parts(trainer, before)
    state = trainer.optimizer.optimizer.state
    for name, keep in before.items():
        own, cut = parts[name]
        for tensor in (model[name], cut(own), average[name]):
            assert_zero_bits(tensor, keep, name)
    came_back, change = 0, run._change_mask

    def watched(*args, **kwargs):
        nonlocal came_back
        change(*args, **kwargs)
        after = run.state()["pruned_values"]
        for name, keep in run.mask.items():
            regrown, still = keep & ~before[name], ~keep & ~before[name]
            then, now = full(before[name], values[name]), full(keep, after[name])
            assert torch.equal(then[still], now[still]), name
            own, cut = parts[name]
            for tensor in (model[name], cut(own), average[name]):
                expected = then[regrown].to(tensor.dtype)
                assert torch.equal(tensor.detach()[regrown], expected), name
            moments = [v for v in state[own].values() if torch.is_tensor(v)]
            moments = [cut(v) for v in moments if v.shape == own.shape]
            assert len(moments) == 2 and not any(v[regrown].any() for v in moments)
            came_back += int(regrown.sum())

    run._change_mask = watched
    with in_this_process():
        training.run(10)
    assert came_back > 10


@pytest.mark.parametrize("precision", ON_CPU)
def test_a_resumed_run_goes_on_to_the_bit(train, tmp_path, precision):
    flags = (*REGROW, "--store-ema", "--ema-decay", 0.9, "--update-freq", 4)
    whole = train(*flags, to=16, folder="whole", precision=precision)
    for update in (1, 5, 9, 16):
        parts = train(*flags, to=update, precision=precision)
    assert same(whole.state(), parts.state())
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_values_are_stored_for_pruned_weights_until_the_last_step(train, tmp_path):
    train(*REGROW, to=11)
    state = read_checkpoint(tmp_path / "run" / LAST)
    lottery, mask = state["task_state"]["lottery"], read_source(tmp_path / "run" / LAST).mask
    values = lottery["pruned_values"]
    assert {name: len(pruned) for name, pruned in values.items()} == {
        name: mask.pruned_in(name) for name in mask
    }
    assert all(pruned.dtype == torch.float32 for pruned in values.values())
    assert sum(int(pruned.count_nonzero()) for pruned in values.values()) > 0.9 * mask.pruned
    train(*REGROW, to=12)
    assert "pruned_values" not in read_checkpoint(tmp_path / "run" / LAST)["task_state"]["lottery"]


def test_a_schedule_on_a_ticket_and_one_after_another(train, tmp_path):
    """What a ticket or an earlier schedule pruned has the value zero."""
    train(to=2, folder="dense")
    flags = ("--mask-from", tmp_path / "dense" / LAST, "--sparsity", 0.5)
    flags = (*flags, *REGROW, "--prune-to", 0.8, "--prune-start", 2)
    run = train(*flags, to=3).task.run
    first = read_source(tmp_path / "run" / "ticket.safetensors").mask
    assert not any(values.any() for values in run.state()["pruned_values"].values())
    assert run.mask == first, "the schedule starts at the sparsity of the ticket"
    assert train(*flags, to=12).task.run.mask.is_subset_of(first)
    train(*SCHEDULE, "--prune-end", 4, folder="then", to=4)
    flags = (*REGROW, "--prune-to", 0.8, "--prune-start", 4)
    assert train(*flags, folder="then", to=12).task.run.mask.sparsity == pytest.approx(
        0.8, abs=0.01
    )


# --- files -----------------------------------------------------------------------------------


NAME = "decoder.layers.0.fc1.weight"


@pytest.fixture(scope="module")
def checkpoint(toy_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    cfg = configuration(toy_data, folder, "--max-update", 16, *REGROW)
    with in_this_process():
        training = Training(cfg)
        training.watch = None
        training.run(5).save()
    return folder / LAST


def with_values(values, **changes):
    return {**values, **{NAME: changes.get("to", values[NAME])}}


BAD = {
    "a list": (lambda values: [1], "its task_state.lottery.pruned_values is a list"),
    "another matrix": (
        lambda values: {"x": torch.ones(3)}, "its pruned_values have other matrices than its mask",
    ),
    "one matrix less": (
        lambda values: {n: v for n, v in values.items() if n != NAME}, "have other matrices",
    ),
    "one value more": (
        lambda values: {**values, NAME: torch.cat([values[NAME], torch.ones(1)])},
        f"its pruned_values of {NAME} are not 20 fp32 numbers, one for each pruned weight",
    ),
    "another shape": (lambda values: {**values, NAME: values[NAME][None]}, "are not 20 fp32"),
    "half precision": (lambda values: {**values, NAME: values[NAME].half()}, "are not 20 fp32"),
    "NaN": (
        lambda values: {**values, NAME: values[NAME] * float("nan")}, "are not all finite",
    ),
    "texts": (lambda values: {**values, NAME: "x"}, "which is not a tensor"),
    "a view of one number": (
        lambda values: {**values, NAME: torch.ones(1).expand(10**9)},
        "its task_state.lottery.pruned_values ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_malformed_values_are_one_sentence(checkpoint, tmp_path, capsys, case):
    change, sentence = BAD[case]
    state = safe_load(checkpoint)
    lottery = state["task_state"]["lottery"]
    lottery["pruned_values"] = change(lottery["pruned_values"])
    torch.save(state, tmp_path / LAST)
    assert main(["inspect", str(tmp_path / LAST)]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1 and sentence in printed[0]


def test_a_checkpoint_without_its_values_is_not_resumed(checkpoint, toy_data, tmp_path, capsys):
    state = safe_load(checkpoint)
    del state["task_state"]["lottery"]["pruned_values"]
    torch.save(state, tmp_path / LAST)
    with in_this_process(), pytest.raises(SystemExit) as stopped:
        Training(configuration(toy_data, tmp_path, "--max-update", 16, *REGROW))
    assert stopped.value.code == 2
    assert (
        "lacks the values of pruned weights of --pruner gradual-regrow" in capsys.readouterr().err
    )


def test_files_are_checked_averaged_and_exported(train, tmp_path):
    """Values are not weights: nothing of them is exported."""
    folder = tmp_path / "run"
    train(*REGROW, "--prune-every", 6, "--snapshot-updates", "4,8", to=7)
    (folder / LAST).rename(folder / "checkpoint_1_7.pt")
    (tmp_path / "copy").mkdir()
    torch.save(safe_load(folder / "checkpoint_1_7.pt"), folder / LAST)
    train(*REGROW, "--prune-every", 6, "--snapshot-updates", "4,8", to=8)
    assert main(["inspect", "--check", str(folder)]) == 0
    seven, eight = (folder / name for name in ("checkpoint_1_7.pt", LAST))
    mean = tmp_path / "mean.pt"
    assert main(["average", str(seven), str(eight), "--out", str(mean)]) == 0
    assert read_source(mean).agrees and read_source(mean).mask == read_source(eight).mask
    for to, out in (("dense", "dense.pt"), ("compact", "small.safetensors")):
        assert main(["export", str(eight), "--to", to, "--out", str(tmp_path / out)]) == 0
        exported = read_source(tmp_path / out)
        assert not exported.lottery
        assert same(dict(exported.weights), dict(read_source(eight).weights))


# --- as commands -----------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_are_killed_and_resumed(toy):
    flags = (
        *("--pruner", "gradual-regrow", "--prune-to", 0.9, "--prune-end", 11, "--prune-every", 2),
        *("--save-interval-updates", 4, "--update-freq", 4, "--store-ema", "--ema-decay", 0.9),
    )
    for done in train_two(toy, "whole", *flags, updates=12):
        done.ok()
    killed = train_two(toy, "parts", *flags, updates=12, prelude=lambda: kill_at(5))
    assert all(done.code != 0 for done in killed)
    assert toy.load("parts", LAST)["task_state"]["lottery"]["pruned_values"]
    for done in train_two(toy, "parts", *flags, updates=12):
        done.ok()
    assert_same_training(toy.load("whole", LAST), toy.load("parts", LAST))
    assert_pruned(toy.load("whole", LAST), toy.mask("whole", LAST))
    assert main(["inspect", "--check", str(toy.path("whole"))]) == 0

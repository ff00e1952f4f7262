"""Trainings that would go on from a bad checkpoint of their own: one sentence, and nothing else."""

import copy

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.training import Training, configuration, in_this_process

from fairseq_lottery.formats import read_checkpoint, save_ticket
from fairseq_lottery.tickets import DrawPlan, draw

pytestmark = pytest.mark.slow

PRUNING = ("--prune-to", 0.8, "--prune-start", 1, "--prune-end", 6, "--prune-every", 1,
           "--score", "matrix.scores:taylor", "--snapshot-updates", "5")  # fmt: skip
NAME = "decoder.layers.0.fc1.weight"  # 12 x 8
LAST = "checkpoint_last.pt"


@pytest.fixture(scope="module")
def state(toy_data, tmp_path_factory):
    """What a ticket that is pruned on has saved after three updates, and its command."""
    folder = tmp_path_factory.mktemp("good")
    with in_this_process():
        first = configuration(toy_data, folder / "dense", "--max-update", 2)
        Training(first).run(2).save()
        ticket = folder / "ticket.safetensors"
        save_ticket(ticket, draw(DrawPlan(str(folder / "dense" / LAST), sparsity=0.5)))
        flags = ("--ticket", ticket, "--max-update", 8, *PRUNING)
        Training(configuration(toy_data, folder / "run", *flags)).run(3).save()
    return read_checkpoint(folder / "run" / LAST), flags


def entry(name, value):
    return lambda state: state["task_state"]["lottery"].__setitem__(name, value)


def within(name, **changes):
    return lambda state: state["task_state"]["lottery"][name].update(changes)


def optimizer(name, value):
    return lambda state: state["last_optimizer_state"]["lottery"].__setitem__(name, value)


def of_state(name, value):
    return lambda state: state.__setitem__(name, value)


def lost(*path):
    def remove(state):
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return remove


BAD = {
    "a schedule that is a list": entry("growth", [1]),
    "a schedule that is a text": entry("growth", "x"),
    "a schedule that is empty": entry("growth", {}),
    "a schedule with one entry more": within("growth", more=1),
    "a schedule with one entry less": lost("task_state", "lottery", "growth", "end"),
    "a target that is a text": within("growth", final="0.8"),
    "a target that is a tensor": within("growth", final=torch.tensor(0.8)),
    "a target that is nothing": within("growth", final=None),
    "a target that is NaN": within("growth", final=float("nan")),
    "a target beyond all": within("growth", final=7.0),
    "a target of everything": within("growth", final=1.0),
    "a target below the start": within("growth", initial=0.9),
    "no update between": within("growth", every=0),
    "an end before the start": within("growth", start=30),
    "an end beyond 64 bits": within("growth", end=10**30),
    "an unknown schedule": within("growth", schedule="x"),
    "a mask that is empty": entry("mask", {}),
    "a mask that is gone": entry("mask", None),
    "a pruner that is unknown": within("growth", pruner="x"),
    "a pruner that is a list": within("growth", pruner=[]),
    "a pruner with the fields of another": within("growth", pruner="set"),
    "start weights that are a list": entry("start_weights", [1]),
    "start weights of another matrix": entry("start_weights", {"x": torch.ones(3)}),
    "start weights of another shape": lambda state: entry("start_weights", {
        name: torch.ones(3) for name in state["task_state"]["lottery"]["mask"]["bits"]
    })(state),
    "explored weights that are a list": entry("explored", [1]),
    "explored weights without bits": entry("explored", {"bits": {}, "shapes": {}}),
    "explored weights of another matrix": entry(
        "explored", {"bits": {"x": torch.ones(3).byte()}, "shapes": {"x": [3, 8]}, "protected": {}}
    ),
    "start signs that are a list": entry("start_signs", [1]),
    "start signs of another size": within("start_signs", **{NAME: torch.ones(3).byte()}),
    "start signs of another type": within("start_signs", **{NAME: torch.ones(12)}),
    "start signs that are a number": within("start_signs", **{NAME: 3}),
    "start signs of one matrix less": lost("task_state", "lottery", "start_signs", NAME),
    "start signs of one matrix more": within("start_signs", x=torch.ones(3).byte()),
    "a ticket without its signature": lost("task_state", "lottery", "ticket", "signature"),
    "a ticket whose signature is a number": within("ticket", signature=3),
    "a digest that is a number": entry("ticket_digest", 3),
    "choices that are a list": entry("choices", [1]),
    "choices of a set": entry("choices", {"sparsity": {1}}),
    "files that are a list": entry("files", [1]),
    "files of texts": entry("files", {"mask_from": "x"}),
    "ways to rank that are a text": entry("ranking", "x"),
    "a patience that is a text": entry("patience", {"best": 1.0, "num_runs": "x"}),
    "a patience for nothing": entry("patience", {"num_runs": 3}),
    "gradients that are a text": optimizer("gradients", "x"),
    "gradients of texts": optimizer("gradients", ["x"]),
    "gradients of another shape": optimizer("gradients", [torch.ones(2)]),
    "gradients that are whole numbers": lambda state: state["last_optimizer_state"]["lottery"]
    .__setitem__("gradients", [
        one.long() for one in state["last_optimizer_state"]["lottery"]["gradients"]
    ]),
    "gradients that are none": optimizer("gradients", []),
    "shapes without sizes": optimizer("shapes", [[None]]),
    "no updates at all": of_state("optimizer_history", []),
    "no history": lost("optimizer_history"),
    "an update that is not said": lambda state: state["optimizer_history"][-1].pop("num_updates"),
}  # fmt: skip


def go_on(state, flags, data, folder):
    """The next start of the run whose last checkpoint is ``state``; returns that file."""
    folder.mkdir()
    torch.save(state, folder / LAST)
    with in_this_process():
        Training(configuration(data, folder, *flags)).run(8)
    return folder / LAST


@pytest.mark.parametrize("case", BAD)
def test_nothing_goes_on_from_a_bad_checkpoint(state, toy_data, tmp_path, capsys, case):
    bad, flags = copy.deepcopy(state[0]), state[1]
    BAD[case](bad)
    with pytest.raises(SystemExit) as stopped:
        go_on(bad, flags, toy_data, tmp_path / "run")
    printed = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fairseq-lottery: ")]
    assert stopped.value.code == 2
    assert len(printed) == 1 and f"{tmp_path / 'run' / LAST} " in printed[0]
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LAST]


def test_checkpoints_of_older_versions_go_on(state, toy_data, tmp_path):
    old, flags = copy.deepcopy(state[0]), state[1]
    for name in ("files", "ranking", "patience"):
        del old["task_state"]["lottery"][name]
    go_on(old, flags, toy_data, tmp_path / "old")
    go_on(state[0], flags, toy_data, tmp_path / "new")
    snapshots = [tmp_path / run / "snapshot_5.safetensors" for run in ("old", "new")]
    assert snapshots[0].read_bytes() == snapshots[1].read_bytes()

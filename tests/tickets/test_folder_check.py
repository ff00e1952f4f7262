import json
import shutil
import zipfile
from dataclasses import replace

import pytest
import torch
from small import (
    EMBEDDING,
    PRUNABLE,
    Run,
    full_mask,
    load,
    optimizer_state,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_to_state, save_ticket, ticket_digest
from fairseq_lottery.masks import Gradual, Mask, SparseEvolutionary, select, store_pruner
from fairseq_lottery.tickets.folder_check import check_folder

FC1, FC2 = "encoder.layers.0.fc1.weight", "encoder.layers.0.fc2.weight"


def halves(*names):
    """A mask that prunes the first half of these matrices, of all that are prunable."""
    mask = full_mask()
    entries = {name: keep.clone() for name, keep in mask.items()}
    for name in names:
        entries[name].view(-1)[: entries[name].numel() // 2] = False
    return Mask(entries, mask.protected)


def pruned(mask, seed=0):
    """Weights that are zero where the mask prunes."""
    found = weights(seed)
    for name, keep in mask.items():
        found[name] = found[name] * keep
    return found


def checkpoint(path, mask, update=20, values=None, **changes):
    """A checkpoint with all that can hold a weight: moments, masters and EMA."""
    values = values or pruned(mask, update)
    state = optimizer_state(values, update)
    state["lottery"]["masters"] = {name: tensor.clone() for name, tensor in values.items()}
    extra = {"ema": {n: t.clone() for n, t in values.items()},
             "ema_fp32_params": {n: t.clone() for n, t in values.items()}}  # fmt: skip
    changes = {"last_optimizer_state": state, "extra_state": extra, **changes}
    save_checkpoint(path, values, update, mask, **changes)
    return state, extra


@pytest.fixture
def run(tmp_path):
    """A sound run: two checkpoints and a snapshot under masks that shrink."""
    first, second = halves(FC1), halves(FC1, FC2)
    checkpoint(tmp_path / "checkpoint_1_10.pt", first, 10)
    save_snapshot_of(tmp_path / "snapshot_20.safetensors", pruned(second), 20, second)
    checkpoint(tmp_path / "checkpoint_last.pt", second, 20)
    return tmp_path


def problems(folder):
    return {p.file.rpartition("/")[2]: p.problems for p in check_folder(folder) if p.problems}


def test_a_sound_run(run):
    found = {one.file.rpartition("/")[2]: one for one in check_folder(run)}
    assert {name: one.problems for name, one in found.items()} == {
        "checkpoint_1_10.pt": (), "checkpoint_last.pt": (), "snapshot_20.safetensors": ()
    }  # fmt: skip
    last = found["checkpoint_last.pt"]
    assert (last.kind, last.update, last.pruned, last.prunable) == ("checkpoint", 20, 24, PRUNABLE)
    assert last.checked == (
        "weights", "masters", "exp_avg", "exp_avg_sq", "ema", "ema_fp32_params"
    )  # fmt: skip
    assert found["snapshot_20.safetensors"].checked == ("weights",)


@pytest.mark.parametrize(
    "group", ["weights", "masters", "exp_avg", "exp_avg_sq", "ema", "ema_fp32_params"]
)
def test_one_entry_that_is_not_zero(run, group):
    mask = halves(FC1, FC2)
    values = pruned(mask)
    state, extra = checkpoint(run / "checkpoint_last.pt", mask, 20, values)
    index = list(values).index(FC2)
    wrong = {
        "weights": values,
        "masters": state["lottery"]["masters"],
        "exp_avg": {FC2: state["state"][index]["exp_avg"]},
        "exp_avg_sq": {FC2: state["state"][index]["exp_avg_sq"]},
        **extra,
    }[group][FC2]
    wrong.view(-1)[3] = 1e-30
    save_checkpoint(
        run / "checkpoint_last.pt", values, 20, mask, last_optimizer_state=state, extra_state=extra
    )
    assert problems(run) == {
        "checkpoint_last.pt": (f"1 pruned entries of {FC2} are not zero in its {group}",)
    }


def test_a_mask_that_grew_back(run):
    checkpoint(run / "checkpoint_2_15.pt", halves(FC2), 15)
    said = problems(run)
    assert list(said) == ["checkpoint_2_15.pt"]
    assert "between it and checkpoint_1_10.pt" in said["checkpoint_2_15.pt"][0]


def test_two_masks_of_one_update(run):
    checkpoint(run / "checkpoint_best.pt", halves(FC1), 20)
    assert set(problems(run)) == {"checkpoint_last.pt", "snapshot_20.safetensors"}


def test_a_mask_that_was_lost(run):
    save_checkpoint(run / "checkpoint_last.pt", weights(), 30)
    assert problems(run)["checkpoint_last.pt"][0].endswith("is missing")


def test_a_dense_start_is_no_loss(run):
    save_snapshot_of(run / "snapshot_0.safetensors", weights(), 0)
    assert problems(run) == {}


def lottery(mask, **changes):
    return {"lottery": {"mask": mask_to_state(mask), **changes}}


@pytest.mark.parametrize(
    ("names", "update", "fits"),
    [((), 10, True), ((FC1,), 10, False), ((), 20, False), ((), 5, True), ((FC1,), 5, True)],
)
def test_the_count_that_a_schedule_asks_for(tmp_path, names, update, fits):
    gradual = Gradual(0.0, 0.5, start=10, end=40, every=10)
    mask = halves(*names)
    state = lottery(mask, growth=store_pruner("gradual", gradual))
    checkpoint(tmp_path / "checkpoint_last.pt", mask, update, task_state=state)
    found = problems(tmp_path)
    assert (not found) == fits
    if not fits:
        assert " by the schedule" in found["checkpoint_last.pt"][0]


SET = SparseEvolutionary(final=0.5, start=0, end=40, every=5)


def halves_everywhere(first):
    """Half of every matrix is pruned: the first half of its weights, or the last."""
    entries = {name: torch.ones_like(keep) for name, keep in full_mask().items()}
    for name, keep in entries.items():
        flat = (keep[2:] if name == EMBEDDING else keep).view(-1)
        half = full_mask().size(name) // 2
        (flat[:half] if first else flat[len(flat) - half :]).fill_(False)
    return Mask(entries, full_mask().protected)


def test_weights_come_back_under_a_pruner_that_regrows_alone(tmp_path):
    """Also where another one followed: what lies between two files is not known."""
    stored = {
        "set": store_pruner("set", SET),
        "gradual": store_pruner("gradual", Gradual(0.5, 0.5, 0, 40, 5)),
        "own": {**store_pruner("set", SET), "pruner": "own:Pruner"},
    }

    def run(*names):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        masks = [halves_everywhere(first=number % 2 == 0) for number in range(len(names))]
        for update, (name, mask) in enumerate(zip(names, masks), 1):
            state = lottery(mask, growth=stored[name])
            checkpoint(folder / f"checkpoint_1_{update}.pt", mask, update, task_state=state)
        return problems(folder)

    assert run("set", "set") == run("set", "gradual") == run("gradual", "own") == {}
    assert list(run("gradual", "gradual")) == ["checkpoint_1_2.pt"]


@pytest.mark.parametrize("pruner, fits", [("set", False), ("own:Pruner", True)])
def test_a_count_that_is_checked_where_the_pruner_is_known(tmp_path, pruner, fits):
    stored = {**store_pruner("set", replace(SET, final=0.6)), "pruner": pruner}
    mask = halves_everywhere(True)
    checkpoint(tmp_path / "checkpoint_last.pt", mask, 7, task_state=lottery(mask, growth=stored))
    found = [sentence for one in problems(tmp_path).values() for sentence in one]
    assert [sentence.endswith("expected 0.6 by the schedule") for sentence in found] == (
        [] if fits else [True]
    )


def test_every_matrix_at_what_is_due(tmp_path):
    mask = full_mask()
    entries = {name: keep.clone() for name, keep in mask.items()}
    for name, keep in entries.items():
        first = mask.size(name) // 2  # of an even number; the padding row is the second
        (keep[2:] if name == EMBEDDING else keep).view(-1)[:first] = False
    mask = Mask(entries, mask.protected)
    state = lottery(mask, growth=store_pruner("gradual", Gradual(0.0, 0.5, 0, 10, 5)))
    checkpoint(tmp_path / "checkpoint_last.pt", mask, 10, task_state=state)
    assert problems(tmp_path) == {}


def test_another_ticket_and_another_sparsity(tmp_path):
    (tmp_path / "dense").mkdir()
    ticket = Run(tmp_path / "dense").draw()
    run = tmp_path / "run"
    run.mkdir()
    save_ticket(run / "ticket.safetensors", ticket)
    named = {"ticket": ticket.record, "ticket_digest": ticket_digest(run / "ticket.safetensors")}
    state = lottery(ticket.mask, **named)
    checkpoint(run / "checkpoint_last.pt", ticket.mask, 20, task_state=state)
    assert problems(run) == {}
    other = halves(FC1)
    state = lottery(other, **{**named, "ticket_digest": "0" * 64})
    checkpoint(run / "checkpoint_last.pt", other, 20, task_state=state)
    said = problems(run)["checkpoint_last.pt"]
    assert f" {12 / PRUNABLE:.6f}, expected 0.500000" in said[0]
    assert said[1].startswith("its ticket is not the ticket.safetensors")
    assert said[2].startswith("between it and ticket.safetensors, pruned")


def test_tickets_of_other_runs_lie_beside_each_other(tmp_path):
    """As a search leaves three of one update; each is looked at, none is held against another."""
    drawn = Run(tmp_path)
    for name, sparsity in (("good", 0.5), ("bad", 0.7)):
        save_ticket(tmp_path / f"found-{name}.safetensors", drawn.draw(sparsity=sparsity))
    found = {one.file.rpartition("/")[2]: one for one in check_folder(tmp_path)}
    tickets = [found[f"found-{name}.safetensors"] for name in ("good", "bad")]
    assert [one.kind for one in tickets] == ["ticket"] * 2 and tickets[0].pruned < tickets[1].pruned
    assert not any(one.problems for one in found.values())


def test_what_cannot_be_read_is_told_and_the_rest_looked_at(run):
    last = run / "checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    (run / "notes.pt").write_text("no checkpoint")
    found = check_folder(run)
    assert len(found) == 4
    assert [one.kind for one in found].count("unreadable") == 2
    assert set(problems(run)) == {"checkpoint_last.pt", "notes.pt"}


def test_flipped_bytes_of_a_checkpoint(run):
    last = run / "checkpoint_last.pt"
    with zipfile.ZipFile(last) as archive:
        entry = max(archive.infolist(), key=lambda one: one.file_size)
    content = bytearray(last.read_bytes())
    content[entry.header_offset + 200] ^= 1
    last.write_bytes(content)
    assert problems(run)["checkpoint_last.pt"]


def test_folders_below(run, tmp_path):
    shutil.copytree(run, run / "seed1" / "slt")
    assert len(check_folder(run)) == 6


def test_the_command(run, capsys):
    assert main(["inspect", str(run), "--check"]) == 0
    out = capsys.readouterr().out
    assert (
        f"checkpoint_last.pt: checkpoint, update 20, 24/{PRUNABLE} pruned; zero in weights" in out
    )
    assert main(["inspect", str(run), "--check", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    (run / "checkpoint_last.pt").write_bytes(b"")
    assert main(["inspect", str(run), "--check"]) == 2
    said = capsys.readouterr()
    assert f"1 of 3 files in {run} have problems, the first is" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("what", ["none", "file", "empty"])
def test_nothing_to_check(tmp_path, what):
    folder = {"none": tmp_path / "none", "file": tmp_path / "file", "empty": tmp_path}[what]
    if what == "file":
        folder.write_text("")
    with pytest.raises(LotteryError, match="is not a folder|contains no checkpoint"):
        check_folder(folder)


def test_reached():
    gradual = Gradual(0.0, 0.9, start=10, end=40, every=7)
    for update in range(50):
        due = [u for u in range(update + 1) if gradual.is_due(u)]
        expected = gradual.sparsity_at(due[-1]) if due else 0.0
        assert gradual.sparsity_at(update) == expected
    assert torch.tensor(gradual.sparsity_at(16)) == 0


def changed(run, *path, to):
    """The last checkpoint with another entry at ``path``: a value, or a function of the old."""
    last = run / "checkpoint_last.pt"
    state = load(last)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to(inner[path[-1]]) if callable(to) else to
    torch.save(state, last)


def with_bad(number):
    """A function that puts ``number`` into a weight that survives."""

    def changing(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[-1] = number
        return tensor

    return changing


def without(name):
    return lambda mapping: {key: value for key, value in mapping.items() if key != name}


MASTERS = ("last_optimizer_state", "lottery", "masters")
MOMENTS = ("last_optimizer_state", "state")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("group", ["model", "ema", "ema_fp32_params", "exp_avg", "exp_avg_sq"])
def test_a_survivor_that_is_no_number(run, group, bad):
    """Also where fp32 masters beside it are what the rest looks at."""
    place = {
        "model": ("model", FC2),
        "exp_avg": (*MOMENTS, list(weights()).index(FC2), "exp_avg"),
        "exp_avg_sq": (*MOMENTS, list(weights()).index(FC2), "exp_avg_sq"),
    }.get(group, ("extra_state", group, FC2))
    changed(run, *place, to=with_bad(bad))
    said = problems(run)["checkpoint_last.pt"][0]
    assert said.endswith("has entries that are NaN or infinite") if group == "model" else (
        said == f"its {group} has a {FC2} with entries that are NaN or infinite"
    )  # fmt: skip


def test_a_bias_of_the_ema_that_is_no_number(run):
    bias = "encoder.layers.0.fc1.bias"
    changed(run, "extra_state", "ema", bias, to=with_bad(float("nan")))
    assert problems(run)["checkpoint_last.pt"] == (
        f"its ema has a {bias} with entries that are NaN or infinite",
    )


def test_buffers_of_an_ema_are_not_initialised(run):
    buffer = "encoder.embed_positions._float_tensor"
    changed(run, "extra_state", "ema", to=lambda ema: {**ema, buffer: torch.tensor([torch.nan])})
    assert problems(run) == {}


@pytest.mark.parametrize(
    "place, group",
    [(MASTERS, "masters"), (("extra_state", "ema"), "ema"),
     (("extra_state", "ema_fp32_params"), "ema_fp32_params")],
)  # fmt: skip
def test_a_matrix_that_is_missing(run, place, group):
    changed(run, *place, to=without(FC1))
    assert problems(run)["checkpoint_last.pt"] == (f"its {group} has no {FC1}",)


@pytest.mark.parametrize(
    "ema, said",
    [
        ([1, 2], "its ema is a list"),
        ("x", "its ema is a str"),
        ({}, "its ema has no decoder.layers.0.encoder_attn.k_proj.weight"),
        ({1: torch.ones(2)}, "its ema has no decoder.layers.0.encoder_attn.k_proj.weight"),
        ({FC1: 3}, f"its ema of {FC1} is not a tensor of shape (6, 4)"),
        ({FC1: torch.ones(3)}, f"its ema of {FC1} is not a tensor of shape (6, 4)"),
    ],
)
def test_an_ema_that_is_none(run, ema, said):
    """A traceback, or no word of it, as long as it is only asked for what it has."""
    whole = isinstance(ema, dict) and FC1 in ema
    changed(run, "extra_state", "ema", to=(lambda old: {**old, **ema}) if whole else ema)
    found = problems(run)["checkpoint_last.pt"]
    assert found == (said,) or "is not a fairseq checkpoint: " in found[0]


@pytest.mark.parametrize("lost", [None, {}])
@pytest.mark.parametrize("what", ["growth", "ticket", "task"])
def test_a_mask_that_was_taken_out(tmp_path, what, lost):
    """Of a checkpoint by itself: no other file of the folder tells."""
    mask = halves(FC1)
    growth = store_pruner("gradual", Gradual(0.0, 0.5, start=10, end=40, every=10))
    stored = {"growth": {"growth": growth}, "ticket": {"ticket": {"signature": "x"}}, "task": {}}
    cfg = {"model": {"arch": "transformer"}, "task": {"prune_to": 0.5} if what == "task" else {}}
    state = lottery(mask, **stored[what])
    state["lottery"]["mask"] = lost
    checkpoint(tmp_path / "checkpoint_last.pt", mask, task_state=state, cfg=cfg)
    said = problems(tmp_path)["checkpoint_last.pt"][0]
    if lost is None:
        assert said == "it was trained under a mask but contains none"
    else:
        assert "its mask is empty" in said or "the stored mask is malformed" in said


def test_a_run_without_a_mask_has_lost_none(tmp_path):
    cfg = {"task": {"_name": "translation_lottery", "ticket": None, "prune_to": None}}
    save_checkpoint(tmp_path / "checkpoint_last.pt", weights(), cfg=cfg)
    save_checkpoint(tmp_path / "checkpoint_best.pt", weights(), task_state={})
    assert problems(tmp_path) == {}


@pytest.mark.parametrize(
    "growth",
    [[1], "x", {}, {"final": 0.5}, {"foo": 1}, {"final": "0.5"}, {"final": None},
     {"final": float("nan")}, {"every": 0}, {"schedule": "x"}, {"start": 50}],
    ids=str,
)  # fmt: skip
def test_a_schedule_that_is_none(tmp_path, growth):
    whole = store_pruner("gradual", Gradual(0.0, 0.5, start=10, end=40, every=10))
    changed_one = isinstance(growth, dict) and growth and growth != {"final": 0.5}
    state = lottery(halves(FC1), growth={**whole, **growth} if changed_one else growth)
    checkpoint(tmp_path / "checkpoint_last.pt", halves(FC1), task_state=state)
    said = problems(tmp_path)["checkpoint_last.pt"][0]
    assert "growth" in said or "schedule" in said or "--prune" in said


@pytest.mark.parametrize("stateful", [[], [{"betas": (0.9, 0.98)}], [{"momentum": 0.9}]])
def test_an_optimizer_whose_state_was_taken_out(run, stateful):
    changed(run, *MOMENTS, to={})
    changed(run, "last_optimizer_state", to=lambda old: {**old, "param_groups": stateful})
    assert problems(run)["checkpoint_last.pt"][0].startswith("the optimizer state of ")


def test_optimizers_that_keep_nothing(run):
    """Gradient descent, a run that was told to save none, and a start that is prepared."""
    last = run / "checkpoint_last.pt"
    state = load(last)
    whole = state["last_optimizer_state"]
    for optimizer in (
        {**whole, "state": {}, "param_groups": [{"momentum": 0, "lr": 1.0}]},
        None,
        {"state": {}, "param_groups": [], "lottery": {"fresh": True}},
    ):
        torch.save({**state, "last_optimizer_state": optimizer}, last)
        assert problems(run) == {}, optimizer


def test_a_weight_that_had_no_gradient_yet(run):
    """Layers that are dropped at random have no moments before their first update."""
    changed(run, *MOMENTS, to=without(list(weights()).index(FC1)))
    assert problems(run) == {}
    changed(run, *MOMENTS, list(weights()).index(FC2), to=without("exp_avg"))
    assert problems(run)["checkpoint_last.pt"] == (f"its exp_avg has no {FC2}",)


def test_moments_of_another_model_hide_no_leak(run):
    first = list(weights()).index(FC1)
    changed(run, *MOMENTS, first, "exp_avg_sq", to=torch.ones(3))
    assert "optimizer's exp_avg_sq has shape (3,)" in problems(run)["checkpoint_last.pt"][0]
    changed(run, *MOMENTS, first, to={"exp_avg": torch.zeros(6, 4), "foo": torch.ones(3)})
    assert "optimizer's foo has shape (3,)" in problems(run)["checkpoint_last.pt"][0]


def test_names_in_another_order(run):
    changed(run, "last_optimizer_state", "lottery", "names", to=lambda names: names[::-1])
    assert "expected (" in problems(run)["checkpoint_last.pt"][0]


def factored(values, beta1):
    """Adafactor's state: rows and columns of matrices, and vectors as they are."""
    state = optimizer_state(values)
    for entry, tensor in zip(state["state"].values(), values.values()):
        del entry["exp_avg_sq"]
        if not beta1:
            del entry["exp_avg"]
        if tensor.dim() > 1:
            entry["exp_avg_sq_row"] = torch.full(tensor.shape[:-1], 1e-30)
            entry["exp_avg_sq_col"] = torch.full((*tensor.shape[:-2], tensor.shape[-1]), 1e-30)
        else:
            entry["exp_avg_sq"] = torch.full(tensor.shape, 1e-30)
        entry["RMS"] = 1.0
    return state


def test_factored_moments_are_nothing_to_look_at_but_the_rest_is(run):
    mask = halves(FC1, FC2)
    values = pruned(mask)
    last = run / "checkpoint_last.pt"
    save_checkpoint(last, values, 20, mask, last_optimizer_state=factored(values, None))
    assert problems(run) == {}
    state = factored(values, 0.9)
    save_checkpoint(last, values, 20, mask, last_optimizer_state=state)
    found = {one.file.rpartition("/")[2]: one for one in check_folder(run)}["checkpoint_last.pt"]
    assert (found.checked, found.problems) == (("weights", "exp_avg"), ())
    state["state"][list(values).index(FC1)]["exp_avg"][0, 0] = 1.0
    save_checkpoint(last, values, 20, mask, last_optimizer_state=state)
    assert problems(run)["checkpoint_last.pt"] == (
        f"1 pruned entries of {FC1} are not zero in its exp_avg",
    )


@pytest.mark.parametrize(
    "update, back, fits", [(5, 0, True), (20, 0, True), (20, 1, False), (30, 1, False)]
)
def test_a_snapshot_is_held_against_the_schedule(tmp_path, update, back, fits):
    """It says none itself; the next checkpoint does. ``back`` weights of it are not pruned yet."""
    gradual = Gradual(0.0, 0.5, start=5, end=20, every=15)
    last = select({n: w.abs() for n, w in weights().items()}, full_mask(), 0.5)
    state = lottery(last, growth=store_pruner("gradual", gradual))
    checkpoint(tmp_path / "checkpoint_last.pt", last, 40, task_state=state)
    entries = {name: keep.clone() for name, keep in last.items()}
    entries[FC1].view(-1)[(~entries[FC1].view(-1)).nonzero()[:back]] = True
    mask = Mask(entries, last.protected) if update > 5 else full_mask()
    path = tmp_path / f"snapshot_{update}.safetensors"
    save_snapshot_of(path, pruned(mask), update, mask)
    said = problems(tmp_path)
    assert (said == {}) is fits
    assert fits or said[path.name] == ("its sparsity is 309/620, expected 0.5 by the schedule",)


def test_a_snapshot_is_held_against_the_ticket(tmp_path):
    mask = halves(FC1, FC2)
    state = lottery(mask, ticket={"sparsity": mask.sparsity})
    checkpoint(tmp_path / "checkpoint_last.pt", mask, 20, task_state=state)
    save_snapshot_of(tmp_path / "snapshot_5.safetensors", pruned(mask), 5, mask)
    assert problems(tmp_path) == {}
    save_snapshot_of(tmp_path / "snapshot_5.safetensors", pruned(halves(FC1)), 5, halves(FC1))
    assert "as in its ticket" in problems(tmp_path)["snapshot_5.safetensors"][0]

import json
import shutil
import zipfile

import pytest
import torch
from small import (
    EMBEDDING,
    PRUNABLE,
    Run,
    full_mask,
    optimizer_state,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Gradual, Mask
from fairseq_lottery.tasks.growth import growth_state
from fairseq_lottery.tickets import mask_to_state, save_ticket, ticket_digest
from fairseq_lottery.tickets.check import check_folder

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
    assert last.looked_at == (
        "weights", "masters", "exp_avg", "exp_avg_sq", "ema", "ema_fp32_params"
    )  # fmt: skip
    assert found["snapshot_20.safetensors"].looked_at == ("weights",)


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
    assert "of it and checkpoint_1_10.pt" in said["checkpoint_2_15.pt"][0]


def test_two_masks_of_one_update(run):
    checkpoint(run / "checkpoint_best.pt", halves(FC1), 20)
    assert set(problems(run)) == {"checkpoint_last.pt", "snapshot_20.safetensors"}


def test_a_mask_that_was_lost(run):
    save_checkpoint(run / "checkpoint_last.pt", weights(), 30)
    assert problems(run)["checkpoint_last.pt"][0].endswith("has lost its mask")


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
    state = lottery(mask, growth=growth_state(gradual))
    checkpoint(tmp_path / "checkpoint_last.pt", mask, update, task_state=state)
    found = problems(tmp_path)
    assert (not found) == fits
    if not fits:
        assert "weights are pruned, and " in found["checkpoint_last.pt"][0]


def test_every_matrix_at_what_is_due(tmp_path):
    mask = full_mask()
    entries = {name: keep.clone() for name, keep in mask.items()}
    for name, keep in entries.items():
        first = mask.size(name) // 2  # of an even number; the padding row is the second
        (keep[2:] if name == EMBEDDING else keep).view(-1)[:first] = False
    mask = Mask(entries, mask.protected)
    state = lottery(mask, growth=growth_state(Gradual(0.0, 0.5, 0, 10, 5)))
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
    assert said[0] == f"its sparsity is {12 / PRUNABLE:.6f}, and its ticket's is 0.500000"
    assert said[1].startswith("it was trained from another ticket than the ticket.safetensors")
    assert said[2].startswith("weights are pruned in one of it and ticket.safetensors")


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
    assert f"1 of 3 files in {run} are not what they should be, the first" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("what", ["none", "file", "empty"])
def test_nothing_to_check(tmp_path, what):
    folder = {"none": tmp_path / "none", "file": tmp_path / "file", "empty": tmp_path}[what]
    if what == "file":
        folder.write_text("")
    with pytest.raises(LotteryError, match="is no folder|holds no checkpoint"):
        check_folder(folder)


def test_reached():
    gradual = Gradual(0.0, 0.9, start=10, end=40, every=7)
    for update in range(50):
        due = [u for u in range(update + 1) if gradual.is_due(u)]
        expected = gradual.sparsity_at(due[-1]) if due else 0.0
        assert gradual.reached(update) == expected
    assert torch.tensor(gradual.reached(16)) == 0

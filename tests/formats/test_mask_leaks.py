"""Weights where a mask prunes: whatever reads a file that has some refuses it, or says so."""

import pytest
import torch
from small import (
    DICTIONARIES,
    Run,
    full_mask,
    load,
    optimizer_state,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_to_state, read_checkpoint, read_source
from fairseq_lottery.formats.mask_leaks import count_leaks, refuse_leaking
from fairseq_lottery.masks import Mask
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.tickets.average import average
from fairseq_lottery.tickets.inspection import inspect_file

FC1 = "encoder.layers.0.fc1.weight"
HALF = {"model": {"arch": "transformer"}, "task": {}, "common": {"fp16": True}}


@pytest.fixture
def mask(tmp_path):
    return Run(tmp_path).draw().mask


def zeroed(mask, seed=3):
    found = weights(seed)
    for name, keep in mask.items():
        found[name] = found[name] * keep
    return found


def saved(path, mask, leak=(), masters=True):
    """A half-precision run with an entry too many in its ``weights`` or ``masters``."""
    groups = {"weights": zeroed(mask), "masters": zeroed(mask)}
    place = tuple((~mask[FC1]).nonzero()[0])
    for group in leak:
        groups[group][FC1][place] = 1e-30
    state = optimizer_state(groups["masters"])
    if masters:
        state["lottery"]["masters"] = groups["masters"]
    rounded = {name: tensor.half().float() for name, tensor in groups["weights"].items()}
    if "weights" in leak:
        rounded[FC1][place] = 1e-30
    return save_checkpoint(path, rounded, mask=mask, last_optimizer_state=state, cfg=HALF)


def test_counting():
    mask = Mask({"w": torch.tensor([[True, False], [False, True]]), "v": torch.ones(2).bool()})
    tensors = {"w": torch.tensor([[0.0, -0.0], [1e-45, 0.0]]), "v": torch.ones(2)}
    assert count_leaks(tensors, mask) == {"w": 1}
    assert count_leaks({"w": torch.eye(2)}, mask) == {}, "a negative zero and a survivor are none"


@pytest.mark.parametrize("group", ["weights", "masters"])
def test_every_reader(tmp_path, mask, group):
    path = saved(tmp_path / "leak.pt", mask, (group,))
    said = f"leak.pt: 1 pruned entries of {FC1} are not zero in its {group}"
    out = tmp_path / "out"
    good = saved(tmp_path / "good.pt", mask)
    for read in (
        lambda: average([path], out),
        lambda: average([good, path], out),
        lambda: draw(DrawPlan(mask_from=path, sparsity=0.9)),
        lambda: draw(DrawPlan(mask_from=good, start_from=path, sparsity=0.9)),
        lambda: refuse_leaking(read_checkpoint(path), path),
        lambda: read_source(path).refuse_leaks(),
    ):
        with pytest.raises(LotteryError, match=said):
            read()
    assert not out.exists()
    assert not inspect_file(path)["agrees"] and inspect_file(good)["agrees"]


def test_a_snapshot(tmp_path, mask):
    path = save_snapshot_of(tmp_path / "s.safetensors", weights(), 20, mask)
    with pytest.raises(LotteryError, match="s.safetensors: .* are not zero in its weights"):
        draw(DrawPlan(mask_from=path, sparsity=0.9))
    assert not inspect_file(path)["agrees"]


@pytest.mark.parametrize("masters", [True, False])
def test_what_training_leaves_is_taken(tmp_path, mask, masters):
    """In half precision, with masters and without."""
    paths = [saved(tmp_path / f"{name}.pt", mask, masters=masters) for name in "ab"]
    average(paths, tmp_path / "mean.pt")
    assert inspect_file(tmp_path / "mean.pt")["agrees"]
    source = read_source(paths[0])
    assert source.masters is masters and set(source.groups) == (
        {"weights", "masters"} if masters else {"weights"}
    )
    drawn = draw(DrawPlan(mask_from=paths[0], sparsity=0.9))
    assert drawn.mask.is_subset_of(mask)


@pytest.mark.parametrize("before", ["dense", "pruning"])
def test_a_start_that_nothing_is_pruned_in_yet(tmp_path, before):
    path = save_checkpoint(
        tmp_path / "c.pt", weights(), mask=full_mask() if before == "pruning" else None
    )
    average([path], tmp_path / "mean.pt")
    assert draw(DrawPlan(mask_from=path, sparsity=0.5)).mask.pruned == 310
    assert inspect_file(path)["agrees"]


def test_a_weight_that_is_no_number_behind_masters(tmp_path, mask):
    """Plain fairseq would load it, and an export write it."""
    path = saved(tmp_path / "c.pt", mask)
    state = load(path)
    state["model"][FC1][tuple(mask[FC1].nonzero()[0])] = float("nan")
    torch.save(state, path)
    with pytest.raises(LotteryError, match=f"c.pt: {FC1} has entries that are NaN or infinite"):
        read_source(path)


def test_buffers_that_fairseq_does_not_initialise(tmp_path, mask):
    path = saved(tmp_path / "c.pt", mask)
    state = load(path)
    state["model"]["encoder.embed_positions._float_tensor"][0] = float("nan")
    torch.save(state, path)
    average([path], tmp_path / "mean.pt")
    assert read_source(tmp_path / "mean.pt").mask == mask


def test_a_mask_of_another_model(tmp_path, mask):
    other = {name: keep for name, keep in mask.items() if name != FC1}
    state = mask_to_state(Mask({**other, FC1: torch.ones(4, 6).bool()}, mask.protected))
    lottery = {"lottery": {"mask": state, "dictionaries": DICTIONARIES.to_tensors()}}
    path = save_checkpoint(tmp_path / "c.pt", zeroed(mask), task_state=lottery)
    with pytest.raises(LotteryError, match=rf"the mask of {FC1} has shape \(4, 6\)"):
        average([path], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()
    with pytest.raises(LotteryError, match=rf"the mask of {FC1} has shape \(4, 6\)"):
        read_source(path)

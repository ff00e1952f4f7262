import pytest
import torch
from small import Run, full_mask, model, optimizer_state, save_checkpoint, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint, read_source
from fairseq_lottery.tickets.average import average, last_checkpoints

FC1 = "encoder.layers.0.fc1.weight"


def constant(value, mask=None, dtype=torch.float32):
    """Every weight the same, zero where pruned."""
    parameters = {name: torch.full_like(w, value) for name, w in weights().items()}
    for name, keep in (mask or {}).items():
        parameters[name][~keep] = 0
    return {name: w.to(dtype) for name, w in parameters.items()}


def test_the_mean_is_exact(tmp_path):
    paths = [
        save_checkpoint(tmp_path / f"{i}.pt", constant(value))
        for i, value in enumerate((1.0, 2.0, 4.5, 2.5, 0.0))
    ]
    average(paths, tmp_path / "mean.pt")
    state = read_checkpoint(tmp_path / "mean.pt")
    assert list(state["model"]) == list(model(weights())), "tied names and buffers too"
    for name, mean in model(constant(2.0)).items():
        assert torch.equal(state["model"][name], mean), name


def test_the_sum_is_not_rounded(tmp_path):
    """In single precision 2**24 + 1 + 1 would be 2**24."""
    paths = [
        save_checkpoint(tmp_path / f"{i}.pt", constant(value))
        for i, value in enumerate((2.0**24, 1.0, 1.0))
    ]
    average(paths, tmp_path / "mean.pt")
    mean = read_source(tmp_path / "mean.pt").weights[FC1]
    assert torch.equal(mean, torch.full_like(mean, (2**24 + 2) / 3))


def test_half_precision_stays_half(tmp_path):
    paths = [
        save_checkpoint(tmp_path / f"{i}.pt", constant(value, dtype=torch.float16))
        for i, value in enumerate((1.0, 1.5))
    ]
    average(paths, tmp_path / "mean.pt")
    mean = read_checkpoint(tmp_path / "mean.pt")["model"][FC1]
    assert mean.dtype == torch.float16 and mean.float().unique().tolist() == [1.25]


def test_the_mask_and_what_loads_the_model_are_kept(tmp_path):
    mask = Run(tmp_path).draw().mask
    paths = []
    for i, value in enumerate((1.0, -3.0)):
        parameters = constant(value, mask)
        path = tmp_path / f"{i}.pt"
        paths.append(
            save_checkpoint(
                path, parameters, mask=mask, last_optimizer_state=optimizer_state(parameters)
            )
        )
    average(paths, tmp_path / "mean.pt")
    source = read_source(tmp_path / "mean.pt")
    assert source.mask == mask
    for name, keep in mask.items():
        assert torch.equal(source.weights[name], -1.0 * keep)
    state, first = read_checkpoint(tmp_path / "mean.pt"), read_checkpoint(paths[0])
    assert state["last_optimizer_state"] is None
    for key in ("args", "cfg", "optimizer_history", "extra_state"):
        assert state[key] == first[key]


def test_masks_are_never_mixed(tmp_path):
    run = Run(tmp_path)
    saved = {
        name: save_checkpoint(tmp_path / f"{name}.pt", constant(1.0, mask), mask=mask)
        for name, mask in (
            ("half", run.draw().mask),
            ("more", run.draw(sparsity=0.6).mask),
            ("full", full_mask()),
            ("dense", None),
        )
    }
    for one, two in (("half", "more"), ("half", "full"), ("half", "dense"), ("dense", "more")):
        with pytest.raises(LotteryError, match=f"{two}.pt and .*{one}.pt have different masks"):
            average([saved[one], saved[two]], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


def test_another_model_is_refused_by_its_first_difference(tmp_path):
    one = save_checkpoint(tmp_path / "one.pt", weights())
    other = weights()
    other[FC1] = torch.ones(8, 4)
    two = save_checkpoint(tmp_path / "two.pt", other)
    with pytest.raises(LotteryError, match=rf"{FC1} has shape \(6, 4\) in .*one.pt and \(8, 4\)"):
        average([one, two], tmp_path / "mean.pt")


def test_nothing_is_overwritten_unless_asked(tmp_path):
    one = save_checkpoint(tmp_path / "one.pt", constant(1.0))
    out = save_checkpoint(tmp_path / "mean.pt", constant(5.0))
    with pytest.raises(LotteryError, match="mean.pt exists already"):
        average([one], out)
    assert read_source(out).weights[FC1].unique().tolist() == [5.0]
    average([one], out, overwrite=True)
    assert read_source(out).weights[FC1].unique().tolist() == [1.0]


def named(folder, *names):
    for name in names:
        (folder / name).touch()


def last(folder, count):
    return [path.name for path in last_checkpoints([folder], count)]


def test_the_last_ones_are_found_by_number(tmp_path):
    named(tmp_path, *(f"checkpoint{epoch}.pt" for epoch in (1, 2, 9, 10, 11)))
    named(tmp_path, "checkpoint_last.pt", "checkpoint_best.pt", "checkpoint12.pt.tmp", "x.txt")
    assert last(tmp_path, 3) == ["checkpoint9.pt", "checkpoint10.pt", "checkpoint11.pt"]
    with pytest.raises(LotteryError, match="has fewer than 6 numbered checkpoints") as refused:
        last(tmp_path, 6)
    flags = "--save-interval-updates N --keep-interval-updates -1"
    assert f"(5); train with {flags} to keep one every N updates, or" in str(refused.value)
    # by update, where there are enough of such
    named(tmp_path, *(f"checkpoint_{epoch}_{u}.pt" for epoch, u in ((9, 900), (10, 1000))))
    assert last(tmp_path, 2) == ["checkpoint_9_900.pt", "checkpoint_10_1000.pt"]
    assert last(tmp_path, 3)[0] == "checkpoint9.pt"


def test_last_wants_one_folder_and_a_count(tmp_path):
    named(tmp_path, "checkpoint1.pt")
    for folders in ([], [tmp_path, tmp_path], [tmp_path / "checkpoint1.pt"], [tmp_path / "gone"]):
        with pytest.raises(LotteryError, match="--last expects one folder"):
            last_checkpoints(folders, 1)
    with pytest.raises(LotteryError, match="--last 0 must be at least 1"):
        last(tmp_path, 0)


def test_models_that_different_heads_were_cut_out_of_are_not_averaged(tmp_path):
    paths = [
        save_checkpoint(tmp_path / f"{cut}.pt", constant(1.0), cfg={"model": {"slim": cut}})
        for cut in ("1100", "0011")
    ]
    with pytest.raises(LotteryError, match="different heads or units cut out; average first"):
        average(paths, tmp_path / "mean.pt")
    average([paths[0]], tmp_path / "alone.pt")

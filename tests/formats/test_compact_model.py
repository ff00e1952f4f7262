import pytest
import torch
from small import EMBEDDING, TIED, full_mask, model, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.compact_model import KIND, PackedModel, from_state, load_model
from fairseq_lottery.formats.source import outline_of, read_source
from fairseq_lottery.masks import Mask

FC1 = "encoder.layers.0.fc1.weight"


def pruned():
    """A plain checkpoint at half its weights, with a survivor that is 0 and one that is -0."""
    mask = full_mask()
    entries = {n: torch.rand(k.shape, generator=torch.Generator().manual_seed(3)) < 0.5
               for n, k in mask.items()}  # fmt: skip
    entries[EMBEDDING][1] = True
    entries[FC1][0, :3] = True
    mask = Mask(entries, mask.protected)
    values = {n: t * mask[n] if n in mask else t for n, t in weights().items()}
    for name in mask:  # a product with zero may be a negative zero
        values[name][~mask[name]] = 0.0
    values[FC1][0, :2] = torch.tensor([0.0, -0.0])
    state = {
        "args": None,
        "cfg": {"model": {"arch": "transformer", "lr": [0.1]}, "common": {"fp16": False}},
        "model": model(values),
        "optimizer_history": [{"num_updates": 20}],
        "task_state": {},
    }
    return state, mask


def same(a, b):
    assert list(a["model"]) == list(b["model"])
    for name, tensor in a["model"].items():
        other = b["model"][name]
        assert tensor.dtype == other.dtype and tensor.shape == other.shape
        assert tensor.reshape(-1).numpy().tobytes() == other.reshape(-1).numpy().tobytes(), name
    rest = [{key: value for key, value in one.items() if key != "model"} for one in (a, b)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_there_and_back_to_the_bit(tmp_path, compact, given):
    state, mask = pruned()
    tensors, record = from_state(state, mask if given else None)
    path = tmp_path / "model.safetensors"
    container.save(path, KIND, tensors, record, compact=compact)
    found, found_mask = load_model(path)
    same(found, state)
    if given:
        assert found_mask == mask
    else:
        assert not found_mask[FC1][0, 0] and found_mask[FC1][0, 1], "-0 is no zero to the bit"
        assert found_mask.is_subset_of(mask)


def test_a_tied_tensor_is_stored_once(tmp_path):
    tensors, record = from_state(*pruned())
    assert record["ties"] == {name: EMBEDDING for name in TIED}
    assert not any(name in key for key in tensors for name in TIED)
    assert tensors["buffer/encoder.version"].item() == 3


def test_as_a_source(tmp_path):
    state, mask = pruned()
    path = tmp_path / "model.safetensors"
    container.save(path, KIND, *from_state(state, mask), compact=True)
    source = read_source(path)
    assert (source.kind, source.update, source.masters) == ("model", 20, True)
    assert source.mask == mask and source.architecture == {"arch": "transformer"}
    assert torch.equal(source.weights[FC1], state["model"][FC1])


def test_settings_beyond_json_come_back(tmp_path):
    """The default betas of Adam are a tuple, and the best loss of a plateau starts as infinite."""
    state, mask = pruned()
    state["cfg"]["optimizer"] = {"adam_betas": (0.9, 0.999)}
    state["optimizer_history"][0]["lr_scheduler_state"] = {"best": float("inf"), 1: None}
    path = tmp_path / "model.safetensors"
    container.save(path, KIND, *from_state(state, mask), compact=True)
    found = load_model(path)[0]
    same(found, state)
    assert found["cfg"]["optimizer"]["adam_betas"] == (0.9, 0.999)


def test_settings_that_are_no_plain_data():
    state, mask = pruned()
    with pytest.raises(LotteryError, match=r"extra_state.x\[1\] has type Tensor"):
        from_state({**state, "extra_state": {"x": [0, torch.ones(1)]}}, mask)


@pytest.mark.parametrize("compact", [False, True])
def test_one_at_a_time_to_the_bit(tmp_path, compact):
    state, mask = pruned()
    path = tmp_path / "model.safetensors"
    container.save(path, KIND, *from_state(state, mask), compact=compact)
    packed = PackedModel(path)
    assert all(tensor.is_meta for tensor in packed.state["model"].values())
    assert {n: t.shape for n, t in packed.state["model"].items()} == {
        n: t.shape for n, t in state["model"].items()
    }
    assert packed.state["cfg"] == state["cfg"]
    outline, whole = outline_of(packed), read_source(path)
    assert (outline.architecture, outline.shapes) == (whole.architecture, whole.shapes)
    for name in list(packed.weights):
        kept, values = packed.take(name)
        expected = state["model"][name]
        if name in mask:
            assert torch.equal(kept, mask[name])
            expected = expected[mask[name]]
        else:
            assert kept is None
        assert values.dtype == expected.dtype
        assert values.numpy().tobytes() == expected.numpy().tobytes(), name
        with pytest.raises(KeyError):
            packed.take(name)


def test_a_number_that_is_not_finite(tmp_path):
    tensors, record = from_state(*pruned())
    tensors[f"values/{FC1}"][0] = float("nan")
    path = tmp_path / "model.safetensors"
    container.save(path, KIND, tensors, record)
    for read in (load_model, PackedModel):
        with pytest.raises(LotteryError, match=f"{FC1} has entries that are NaN or infinite"):
            read(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t, r: t.pop(f"values/{FC1}"),
        lambda t, r: t.update({f"values/{FC1}": t[f"values/{FC1}"][:-1]}),
        lambda t, r: t.update({f"mask/{FC1}": t[f"mask/{FC1}"][:-1]}),
        lambda t, r: t.update({"more/x": torch.ones(1)}),
        lambda t, r: r.pop("mask"),
        lambda t, r: t.pop(f"mask/{FC1}"),
        lambda t, r: r["mask"]["shapes"].pop(FC1),
        lambda t, r: r["mask"]["shapes"].update({FC1: [2**40, 2**40]}),
        lambda t, r: r["mask"]["protected"].update({FC1: 99}),
        lambda t, r: r["mask"]["protected"].update({"another.weight": 1}),
        lambda t, r: r["names"].append("another.weight"),
        lambda t, r: r["ties"].update({"a": "b"}),
        lambda t, r: r.update(settings=None),
        lambda t, r: r.update(ties=[]),
        lambda t, r: r["settings"]["cfg"].update(x={"__type__": "set", "value": []}),
        lambda t, r: r["settings"]["cfg"].update(x={"__type__": "float"}),
        lambda t, r: r["settings"]["cfg"].update(x={"__type__": "dict", "value": [[[], 1]]}),
    ],
)
def test_inconsistent_files(tmp_path, change):
    tensors, record = from_state(*pruned())
    change(tensors, record)
    path = tmp_path / "model.safetensors"
    container.save(path, KIND, tensors, record)
    for read in (load_model, PackedModel):
        with pytest.raises(LotteryError, match="malformed"):
            read(path)

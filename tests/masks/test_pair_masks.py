"""Masks of pairs of languages: their union, combinations, similarity and files."""

import numpy as np
import pytest
import torch

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.pair_masks import (
    load_pair_masks,
    pair_masks_from_state,
    pair_masks_to_state,
    save_pair_masks,
)
from fairseq_lottery.masks import Mask, PairMasks

SHAPES = {"encoder.a": (3, 4), "decoder.b": (5, 7)}


def mask(seed, protected=None):
    chance = np.random.default_rng(seed)
    kept = {name: torch.from_numpy(chance.random(shape) < 0.5) for name, shape in SHAPES.items()}
    for name, row in (protected or {}).items():
        kept[name][row] = True
    return Mask(kept, protected)


@pytest.fixture
def masks():
    """Two masks; two of the three pairs share the second."""
    one, two = (mask(seed, {"encoder.a": 1}) for seed in (1, 2))
    return PairMasks({"en-fr": two, "en-de": one, "fr-en": two})


def test_the_union_keeps_what_one_of_them_keeps(masks):
    for name in SHAPES:
        one, two = masks["en-de"][name].numpy(), masks["en-fr"][name].numpy()
        assert (masks.union[name].numpy() == (one | two)).all()
    assert list(masks) == ["en-de", "en-fr", "fr-en"]
    assert [pairs for _, pairs in masks.groups] == [["en-de"], ["en-fr", "fr-en"]]


def test_rules_for_a_pair_without_a_mask(masks):
    one, two = masks["en-de"], masks["en-fr"]
    assert masks.find("en-de") is one and masks.find("x-y", "fr-en") is two
    assert masks.find("en-de", "fr-en") is two, "a rule replaces a mask"
    assert masks.find("x-y", "union:en-de,fr-en,en-fr") == masks.union
    assert masks.find("x-y", "intersection:en-de,fr-en") == one.intersection(two)
    sides = masks.find("x-y", "sides:en-de,fr-en")
    assert torch.equal(sides["encoder.a"], one["encoder.a"])
    assert torch.equal(sides["decoder.b"], two["decoder.b"])
    with pytest.raises(LotteryError, match="do not have the pair de-fr, only en-de, en-fr, fr-en;"):
        masks.find("de-fr")
    for rule in ("none:en-de", "sides:en-de", "sides:en-de,en-fr,fr-en", "union:"):
        with pytest.raises(LotteryError, match="describe a mask|has no mask"):
            masks.find("de-fr", rule)
    with pytest.raises(LotteryError, match="the pair de-fr in 'union:en-de,de-fr' has no mask; ch"):
        masks.find("de-fr", "union:en-de,de-fr")


def test_similarities_are_jaccard_indices(masks):
    rows = {(a, b): (value, chance) for a, b, value, chance in masks.similarities()}
    assert set(rows) == {("en-de", "en-fr"), ("en-de", "fr-en"), ("en-fr", "fr-en")}
    assert rows["en-fr", "fr-en"][0] == 1
    kept = {}
    for pair in ("en-de", "en-fr"):
        bits = masks[pair]["encoder.a"].numpy().copy()
        bits[1] = False  # the protected row counts in no number
        kept[pair] = np.concatenate([bits.ravel(), masks[pair]["decoder.b"].numpy().ravel()])
    expected = (kept["en-de"] & kept["en-fr"]).sum() / (kept["en-de"] | kept["en-fr"]).sum()
    assert rows["en-de", "en-fr"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "there are no masks of pairs"),
        ({"en": mask(1)}, "'en' is not a pair of languages"),
        ({"en-": mask(1)}, "'en-' is not a pair of languages"),
        ({"en-de": mask(1), "en-fr": mask(2, {"encoder.a": 0})}, "different prunable sets"),
    ],
)
def test_malformed_masks(given, sentence):
    with pytest.raises(LotteryError, match=sentence):
        PairMasks(given)


def test_a_file_has_each_distinct_mask_once(masks, tmp_path):
    path = tmp_path / "m.safetensors"
    save_pair_masks(path, masks)
    loaded = load_pair_masks(path)
    assert loaded.digest() == masks.digest() and loaded.union == masks.union
    assert {name for name in container.load(path, "pair-masks")[0]} == {
        f"mask/{number}/{name}" for number in (0, 1) for name in SHAPES
    }
    other = PairMasks({**masks, "fr-en": masks["en-de"]})
    assert other.digest() != masks.digest() and other.union == masks.union


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["pairs"].update({"en-de": 7}),
        lambda state: state["pairs"].update({"en-de": "x"}),
        lambda state: state["pairs"].pop("en-de"),
        lambda state: state["bits"].pop("1"),
        lambda state: state["bits"]["1"].update({"encoder.a": torch.zeros(2)}),
        lambda state: state.update(shapes={"encoder.a": [3, 4]}),
        lambda state: state.update(shapes=None),
        lambda state: state.update(protected={"encoder.a": 9}),
        lambda state: state.update(pairs={}),
        lambda state: state.update(pairs=None),
    ],
)
def test_a_malformed_file_is_one_sentence(masks, tmp_path, change):
    state = pair_masks_to_state(masks)
    change(state)
    with pytest.raises(LotteryError):
        pair_masks_from_state(state)
    bits = {f"mask/{n}/{k}": t for n, one in state.pop("bits").items() for k, t in one.items()}
    container.save(tmp_path / "m.safetensors", "pair-masks", bits, state)
    with pytest.raises(LotteryError, match=r"m\.safetensors is malformed"):
        load_pair_masks(tmp_path / "m.safetensors")


def test_other_files_are_refused(tmp_path, capsys):
    path = str(tmp_path / "m.safetensors")
    assert main(["pair-masks", path]) == 2
    assert "there is no file" in capsys.readouterr().err
    container.save(path, "mask", {"mask/a": torch.zeros(1, dtype=torch.uint8)}, {})
    assert main(["pair-masks", path]) == 2
    assert "is a mask, not a file of masks of pairs of languages" in capsys.readouterr().err

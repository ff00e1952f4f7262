"""Old layouts, made by hand; tests/training/test_layouts.py has those of real trainings."""

from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file
from small import weights

pytest.importorskip("fairseq")

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint import read_checkpoint
from fairseq_lottery.formats.checkpoints.legacy_layouts import upgraded


def upgraded_weights(weights):
    return upgraded({"model": weights})["model"]


def sections_of(args):
    return upgraded({"model": {}, "args": Namespace(**args)})["cfg"]


VERSION = {"decoder.version": torch.tensor([3.0])}


def test_fused_matrices_are_split_as_fairseq_splits_them(tmp_path):
    whole = {**weights(), **VERSION}
    found = dict(whole)
    for name in {key.rsplit(".", 2)[0] for key in found if "_attn." in key}:
        for kind in ("weight", "bias"):
            parts = [found.pop(f"{name}.{p}_proj.{kind}") for p in "qkv"]
            found[f"{name}.in_proj_{kind}"] = torch.cat(parts)
    assert upgraded_weights(whole) is whole
    split = upgraded_weights(found)
    assert split.keys() == whole.keys()
    assert all(torch.equal(split[name], weight) for name, weight in whole.items())
    # each has memory of its own, without which safetensors writes none of them
    save_file(split, str(tmp_path / "x.safetensors"))


def test_norms_and_the_output_are_renamed():
    found = {
        "encoder.layers.0.layer_norms.1.weight": torch.ones(4),
        "decoder.layers.10.layer_norms.1.bias": torch.ones(4),
        "decoder.layers.10.layer_norms.2.bias": torch.zeros(4),
        "decoder.embed_out": torch.ones(12, 4),
        **VERSION,
    }
    assert set(upgraded_weights(found)) == {
        "encoder.layers.0.final_layer_norm.weight",
        "decoder.layers.10.encoder_attn_layer_norm.bias",
        "decoder.layers.10.final_layer_norm.bias",
        "decoder.output_projection.weight",
        "decoder.version",
    }


@pytest.mark.parametrize("arch", ["transformer", "my_tiny"])
def test_names_are_those_of_an_architecture_of_ones_own(arch, tmp_path):
    """torch.nn.MultiheadAttention names its weights as fairseq's once did."""
    name = "encoder.layers.0.self_attn.in_proj_weight"
    cfg = {"model": Namespace(arch=arch)}
    torch.save({"model": {name: torch.ones(6, 2)}, "cfg": cfg}, tmp_path / "x.pt")
    assert (name in read_checkpoint(tmp_path / "x.pt")["model"]) == (arch == "my_tiny")


def test_a_matrix_that_is_none_is_one_sentence():
    with pytest.raises(LotteryError, match="fairseq cannot upgrade its weights"):
        upgraded_weights({"encoder.layers.0.self_attn.in_proj_weight": torch.tensor(1.0)})


ARGS = {"arch": "transformer", "encoder_embed_dim": 16, "data": ["bin"], "source_lang": "en",
        "lr": [0.1], "max_positions": 77, "fp16": True}  # fmt: skip


def test_arguments_become_sections_as_in_fairseq():
    found = sections_of({**ARGS, "eval_bleu_args": '{"beam": 5}'})
    assert found["task"]["data"] == "bin" and found["task"]["source_lang"] == "en"
    assert found["common"]["fp16"] is True and found["optimization"]["lr"] == [0.1]
    model = vars(found["model"])
    assert (model["encoder_embed_dim"], model["max_source_positions"]) == (16, 77)


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "x' task.y='z", "a\\", "a\nb", {"a": 1}, [[1]], ["${a}"]], ids=str
)
def test_arguments_that_fairseq_might_interpret_are_refused(value):
    with pytest.raises(LotteryError, match="its argument tensorboard_logdir is .* a plain value"):
        sections_of({**ARGS, "tensorboard_logdir": value})


def test_arguments_that_fairseq_does_not_take():
    with pytest.raises(
        LotteryError, match="does not have its architecture 'my_tiny'; give the fol"
    ):
        sections_of({**ARGS, "arch": "my_tiny"})
    with pytest.raises(
        LotteryError, match="fairseq cannot convert its args .*; load and save it with"
    ):
        sections_of({**ARGS, "task": "translation", "left_pad_source": "None of these("})

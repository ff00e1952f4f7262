"""Models that are built anew from what a file says of them, whoever wrote it."""

from dataclasses import replace

import pytest
import torch
from small import DICTIONARIES, weights

pytest.importorskip("fairseq")

from fairseq.models import ARCH_MODEL_REGISTRY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_source, save_snapshot
from fairseq_lottery.inference.model_builder import arguments_of, initial_weights

ARCHITECTURE = {
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_embed_dim": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_embed_dim": 6 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{"arch": "transformer", "share_all_embeddings": True},
}


def snapshot(folder, **settings):
    record = {"update": 0, "masters": True, "architecture": {**ARCHITECTURE, **settings}}
    save_snapshot(folder / "snapshot.safetensors", weights(), None, DICTIONARIES, record)
    return read_source(folder / "snapshot.safetensors")


@pytest.mark.parametrize(
    "key, value",
    [
        # fairseq evaluates both of these where it builds a model
        ("adaptive_softmax_cutoff", "[__import__('os').mkdir({!r}), 4]"),
        ("encoder_xformers_att_config", "__import__('os').mkdir({!r})"),
        ("encoder", "__import__('os').mkdir({!r})"),
        ("decoder_layers", "__import__('os').mkdir({!r})"),
        ("adaptive_softmax_cutoff", "[0] * 10**12"),
        ("adaptive_softmax_cutoff", "4,8\n"),
    ],
)
def test_no_setting_is_run_as_a_program(key, value, tmp_path):
    canary = tmp_path / "canary"
    program = value.format(str(canary))
    sides = {"xformers_att_config": program, "embed_dim": 4}
    source = snapshot(tmp_path, **{key: sides if key == "encoder" else program})
    with pytest.raises(LotteryError, match=f"has {key} .* which fairseq might run as a program"):
        initial_weights(source, 1)
    assert not canary.exists()


def test_words_that_a_model_declares_and_flat_lists_of_numbers_are_no_programs(tmp_path):
    settings = {
        "arch": "lightconv", "decoder_conv_type": "lightweight", "encoder_kernel_size_list": [3, 7],
        "decoder_kernel_size_list": [3, 7],
        "adaptive_softmax_cutoff": [6, 9], "activation_fn": "gelu",
    }  # fmt: skip
    found = vars(arguments_of(snapshot(tmp_path, **settings)))
    assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize(
    "key, value",
    [
        ("decoder_conv_type", "other"), ("decoder_conv_type", "__import__('os')"),
        ("encoder_kernel_size_list", ["3"]), ("encoder_kernel_size_list", [[3]]),
        ("encoder_kernel_size_list", [{}]), ("pretrained", "word"),
    ],
)  # fmt: skip
def test_other_words_and_lists_are_refused(tmp_path, key, value):
    source = snapshot(tmp_path)
    settings = {**source.architecture, "arch": "lightconv", key: value}
    with pytest.raises(LotteryError, match=f"has {key} .* which fairseq might run as a program"):
        arguments_of(replace(source, architecture=settings))


def test_one_kernel_size_for_very_many_layers_is_refused_before_it_is_repeated(tmp_path):
    source = snapshot(tmp_path)
    settings = {"arch": "lightconv", "encoder_layers": 10**12, "encoder_kernel_size_list": [3]}
    with pytest.raises(LotteryError, match="has encoder_layers 10+,"):
        arguments_of(replace(source, architecture={**source.architecture, **settings}))


@pytest.fixture
def unbuilt(monkeypatch):
    """No model is built in this test."""
    model = ARCH_MODEL_REGISTRY["transformer"]
    monkeypatch.setattr(model, "build_model", lambda *a: pytest.fail("it was built"))


@pytest.mark.parametrize(
    "key, value",
    [
        *[(f"{side}_{key}", value) for side in ("encoder", "decoder") for key, value in (
            ("layers", 3), ("layers", 10**7), ("layers", -1), ("ffn_embed_dim", 7),
            ("ffn_embed_dim", 10**9), ("embed_dim", 5), ("embed_dim", -5),
            ("attention_heads", 0), ("attention_heads", -1), ("attention_heads", 10**6),
            ("layers_to_keep", "1,1,1"),
        )],
        ("max_source_positions", 10**11), ("max_target_positions", 10**11),
        ("decoder_output_dim", 5), ("decoder_input_dim", 10**6),
        ("adaptive_softmax_cutoff", "1000000,12"),
        ("adaptive_softmax_cutoff", [6, 1000000]), ("adaptive_softmax_cutoff", [6] * 1001),
        ("adaptive_softmax_factor", 1e-9),
        ("dropout", float("nan")), ("dropout", float("inf")), ("encoder_conv_dim", 10**6),
    ],
)  # fmt: skip
def test_a_model_that_is_larger_than_its_weights_is_not_built(tmp_path, key, value, unbuilt):
    source = snapshot(tmp_path)
    source = replace(source, architecture={**source.architecture, key: value})
    with pytest.raises(LotteryError) as refused:
        initial_weights(source, 1)
    said = f"{key.replace('_to_keep', '')} {3 if 'keep' in key else str(value)[:50]}"
    assert str(refused.value) == (
        f"the architecture of {source.path} has {said}, which does not match its weights; use the"
        " file as it was written"
    )


def test_layers_that_are_all_but_empty_do_not_pass_for_large_ones(tmp_path, unbuilt):
    """Every setting fits some weight, and all together describe 16 billion."""
    table = torch.zeros(4, 1 << 14)
    layers = {f"encoder.layers.{n}.fc1.weight": torch.zeros(1, 1) for n in range(15)}
    source = snapshot(tmp_path)
    settings = {**source.architecture, "encoder_layers": 15, "encoder_embed_dim": 1 << 14}
    weights = {"encoder.embed_tokens.weight": table, **layers}
    settings = {key: value for key, value in settings.items() if not key.startswith("decoder")}
    settings.update(encoder_ffn_embed_dim=1, decoder_layers=0)
    source = replace(source, architecture=settings, weights=weights)
    with pytest.raises(LotteryError, match=r" has 161\d{8} weights"):
        initial_weights(source, 1)


@pytest.mark.parametrize("key, value", [("encoder_attention_heads", 3), ("encoder_layers", "2")])
def test_what_fairseq_does_not_build_is_one_sentence(tmp_path, key, value):
    source = snapshot(tmp_path, **{key: value})
    with pytest.raises(LotteryError, match="snapshot.safetensors cannot be built from"):
        initial_weights(source, 1)


def test_a_list_of_numbers_is_a_setting_and_no_other_list(tmp_path):
    found = arguments_of(snapshot(tmp_path, decoder_kernel_size_list=[3, 7]))
    assert found.decoder_kernel_size_list == [3, 7]
    for value in (["a(b)"], [[3]]):
        with pytest.raises(LotteryError, match="has decoder_kernel_size_list .* as a program"):
            arguments_of(snapshot(tmp_path, decoder_kernel_size_list=value))


def test_numbers_in_a_text_are_what_they_were(tmp_path):
    found = initial_weights(snapshot(tmp_path, decoder_layers_to_keep="1"), 1)
    assert "decoder.layers.0.fc1.weight" in found and "decoder.layers.1.fc1.weight" not in found


def test_a_file_of_embeddings_is_not_read(tmp_path):
    """Its values would be replaced; the file is the training's, or anything of anybody's."""
    plain = initial_weights(snapshot(tmp_path), 1)
    (tmp_path / "snapshot.safetensors").unlink()
    named = {"encoder_embed_path": "/dev/zero", "decoder_embed_path": "gone"}
    again = initial_weights(snapshot(tmp_path, **named), 1)
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)

"""Models that are built anew from what a file says of them, whoever wrote it."""

import pytest
import torch
from small import DICTIONARIES, weights

pytest.importorskip("fairseq")

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tasks import initial_weights
from fairseq_lottery.tickets import read_source, save_snapshot

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

from argparse import Namespace

import pytest

from fairseq_lottery.formats.checkpoints.settings import architecture_of


def test_the_models_own_settings_are_those_of_no_other_section():
    """fairseq stores all arguments of a training as its model's."""
    model = {
        "arch": "mine", "share_all_embeddings": True, "max_source_positions": 1024,
        "no_decoder_final_norm": True, "merge_src_tgt_embed": False, "my_width": 5,
        "decoder_kernel_size_list": [3, 7], "encoder_layers_to_keep": None,
        "lr": [0.1], "clip_norm": 1.0, "data": "/x", "save_dir": "/y", "optimizer": "adam",
        "my_table": {"a": 1}, "slim": "{}",
    }  # fmt: skip
    others = {
        "task": {"data": "/x", "max_source_positions": 1024}, "checkpoint": {"save_dir": "/y"},
        "optimization": {"lr": [0.1], "clip_norm": 1.0}, "optimizer": {"adam_eps": 1e-8},
    }  # fmt: skip
    expected = {
        "arch": "mine", "decoder_kernel_size_list": [3, 7], "encoder_layers_to_keep": None,
        "max_source_positions": 1024, "merge_src_tgt_embed": False, "my_width": 5,
        "no_decoder_final_norm": True, "share_all_embeddings": True,
    }  # fmt: skip
    assert architecture_of({**others, "model": model}) == expected
    assert architecture_of({**others, "model": Namespace(**model)}) == expected


def test_texts_of_a_task_that_stores_all_arguments_are_not_the_models():
    model = {"arch": "mine", "encoder_layers": "2", "data": "bin", "lang_pairs": "en-de", "wide": 5}
    cfg = {"model": Namespace(**model), "task": Namespace(**{**model, "lang_pairs": ["en-de"]})}
    assert architecture_of(cfg) == {"arch": "mine", "encoder_layers": "2", "wide": 5}


def test_sections_hold_before_flat_settings():
    """In a checkpoint of ``fairseq-hydra-train`` the flat ones are defaults that nothing reads."""
    pytest.importorskip("fairseq")
    sides = {"embed_dim": 16, "layers": 1, "attention_heads": 2}
    model = {
        "_name": "transformer", "encoder": sides, "decoder": {**sides, "ffn_embed_dim": 24},
        "decoder_input_dim": 512, "encoder_embed_dim": 512, "dropout": 0.1,
    }  # fmt: skip
    found = architecture_of({"model": model})
    assert found["encoder_embed_dim"] == found["decoder_input_dim"] == 16
    assert found["decoder_output_dim"] == 16 and found["decoder_ffn_embed_dim"] == 24
    assert found["encoder_ffn_embed_dim"] == 2048, "the default of fairseq's own class"
    assert "encoder" not in found and found["dropout"] == 0.1

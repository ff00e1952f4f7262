"""Lines translated by compact files, and by the same weights in other files."""

import json
import subprocess
import sys

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import Task, settings_of, transformer
from small import load
from toy import alone

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container, is_parameter
from fairseq_lottery.formats.compact_model import KIND, from_state
from fairseq_lottery.inference.translation import TranslationOptions, open_translator
from fairseq_lottery.sparse.sparse_matrix import Matrix

LINES = ["4 5 6 7", "8 9 9 unseen 11 12", "", "79", "  ", "30 31 4 70 71 72 73 74"]


def write(folder, density=0.2, task=None, **changes):
    """A checkpoint, a compact file of it and its data folder; return the model, too."""
    model = transformer(density, **changes)
    for parameter in model.parameters():
        parameter.data += 0.0  # no negative zeros
    arguments = {**vars(settings_of(**changes)), "arch": "transformer", "_name": "transformer"}
    names = {"source_lang": "en", "target_lang": "de", "data": str(folder), **(task or {})}
    state = {
        "args": None,
        "cfg": {"model": arguments, "task": {"_name": "translation", **names}, "common": {}},
        "model": model.state_dict(),
        "optimizer_history": [{"num_updates": 3}],
    }
    for language in ("en", "de"):
        Task.source_dictionary.save(str(folder / f"dict.{language}.txt"))
    torch.save(state, folder / "dense.pt")
    container.save(folder / "model.safetensors", KIND, *from_state(state), compact=True)
    return model


def expected(model, lines, **search):
    """Translations by fairseq's own search and dictionaries."""
    words, found = Task.source_dictionary, []
    generator = SequenceGenerator([model], words, **search)
    for line in lines:
        if not line.strip():
            found.append("")
            continue
        ids = words.encode_line(line, add_if_not_exist=False, line_tokenizer=str.split).long()
        sample = {"src_tokens": ids[None], "src_lengths": torch.tensor([len(ids)])}
        best = generator.generate([model], {"net_input": sample})[0][0]
        found.append(words.string(best["tokens"]))
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"share_all_embeddings": False},
        {"share_all_embeddings": False, "share_decoder_input_output_embed": True},
        {"encoder_learned_pos": True, "decoder_learned_pos": True},
        {"share_all_embeddings": False, "encoder_normalize_before": True,
         "decoder_normalize_before": True},
    ],
)  # fmt: skip
def test_as_fairseq_translates_the_dense_model(tmp_path, changes):
    model = write(tmp_path, **changes)
    search = {"beam_size": 4, "len_penalty": 0.6, "max_len_b": 9}
    theirs = expected(model, LINES, **search)
    assert len(set(theirs)) > 2
    options = TranslationOptions(beam=4, lenpen=0.6, max_len_b=9)
    for name in ("model.safetensors", "dense.pt"):
        translator = open_translator(tmp_path / name, options=options)
        assert translator.translate(LINES) == theirs
        assert [translator.translate([line])[0] for line in LINES] == theirs


def test_the_longest_translation_follows_the_source(tmp_path):
    model = write(tmp_path)
    theirs = expected(model, LINES, beam_size=5, max_len_a=1, max_len_b=3)
    found = open_translator(
        tmp_path / "model.safetensors", options=TranslationOptions(max_len_a=1, max_len_b=3)
    )
    assert [found.translate([line])[0] for line in LINES] == theirs
    assert len({len(line.split()) for line in theirs}) > 2


def test_a_model_of_half_precision(tmp_path):
    model = write(tmp_path)
    state = load(tmp_path / "dense.pt")
    # 0.12.2 has a buffer whose memory is not initialised
    state["model"] = {n: t.half().nan_to_num(0, 0, 0) for n, t in state["model"].items()}
    container.save(tmp_path / "half.safetensors", KIND, *from_state(state), compact=True)
    model.half().float()
    found = open_translator(tmp_path / "half.safetensors", options=TranslationOptions(max_len_b=20))
    assert found.translate(LINES) == expected(model, LINES, max_len_b=20, beam_size=5)


def test_no_matrix_of_the_file_is_dense(tmp_path, monkeypatch):
    """Neither as a parameter of the model nor on the way."""
    from fairseq_lottery.sparse import matrix_choices, sparse_matrix

    write(tmp_path, density=0.1)
    monkeypatch.setattr(matrix_choices.Choices, "is_worth", lambda *args: True)
    monkeypatch.setattr(sparse_matrix.Survivors, "dense", _only_vectors)
    translator = open_translator(tmp_path / "model.safetensors")
    named = translator._model.named_parameters()
    assert all(p.dim() < 2 for name, p in named if is_parameter(name))
    assert len([m for m in translator._model.modules() if isinstance(m, Matrix)]) == 33
    assert translator.translate(LINES)[0]


def _only_vectors(survivors):
    assert survivors.kept is None and survivors.values.dim() < 2
    return survivors.values


def test_joined_subwords(tmp_path):
    write(tmp_path)
    path, options = tmp_path / "model.safetensors", TranslationOptions(remove_bpe="sentencepiece")
    plain = open_translator(path).translate(LINES)
    joined = open_translator(path, options=options).translate(LINES)
    assert joined == [line.replace(" ", "") for line in plain]


def refusal(path, *args, **kwargs):
    with pytest.raises(LotteryError) as caught:
        open_translator(path, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_dictionaries(tmp_path):
    write(tmp_path)
    with open(tmp_path / "dict.de.txt", "a") as file:
        file.write("more 1\n")
    for name in ("model.safetensors", "dense.pt"):
        assert "has 81 symbols, but the model of" in refusal(tmp_path / name)
    (tmp_path / "dict.de.txt").unlink()
    assert "give the data folder with --data" in refusal(tmp_path / "model.safetensors")


def test_another_architecture(tmp_path):
    write(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors, record = container.load(path, KIND)
    for key, value, reason in (
        ("encoder_ffn_embed_dim", 40, "was cut"),
        ("encoder_layers", 1, "only one of them has encoder.layers.1."),
        ("decoder_attention_heads", 3, "do not match its architecture"),
        ("arch", "no_such", "which fairseq does not have"),
        ("activation_fn", "print(1)", "might run as a program"),
        ("encoder_layers", 10**7, "does not match its weights"),
    ):
        settings = json.loads(json.dumps(record["settings"]))
        settings["cfg"]["model"][key] = value
        container.save(path, KIND, tensors, {**record, "settings": settings}, compact=True)
        assert reason in refusal(path), (key, value)


def test_weights_that_the_model_lacks(tmp_path):
    write(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors, record = container.load(path, KIND)
    name = "encoder.layers.0.fc1.bias"
    del tensors[f"values/{name}"]
    record["names"].remove(name)
    container.save(path, KIND, tensors, record, compact=True)
    assert f"only one of them has {name}" in refusal(path)


def test_models_that_it_does_not_translate_with(tmp_path):
    write(tmp_path, task={"_name": "masked_lm"})
    assert "the task of" in refusal(tmp_path / "model.safetensors")
    write(tmp_path, task={"_name": "translation_multi_simple_epoch", "lang_pairs": "en-de"})
    assert "translate with fairseq-generate" in refusal(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "options, said",
    [
        ({"beam": 0}, "--beam 0 is less than 1"),
        ({"lenpen": float("nan")}, "--lenpen nan is not a number"),
        ({"max_len_b": 0}, "--max-len-b 0 is out of range"),
        ({"remove_bpe": "xy"}, "--remove-bpe xy is unknown; choose @@ , "),
        ({"max_len_a": -1}, "--max-len-a -1 or"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(LotteryError, match=said):
        TranslationOptions(**options)


def test_a_sentence_that_is_too_long(tmp_path):
    write(tmp_path, max_source_positions=9, max_target_positions=9)
    translator = open_translator(tmp_path / "model.safetensors")
    assert translator.translate(["4 " * 8])
    with pytest.raises(LotteryError, match="has 9 tokens, but the model takes at most 8"):
        translator.translate(["4", "4 " * 9])


@pytest.mark.slow
def test_memory_is_in_proportion_to_the_survivors(tmp_path):
    """A process of its own opens a model of 93 MB at 95 %, whose matrices take 7 MB."""
    sides = ("encoder", "decoder")
    sizes = {f"{s}_embed_dim": 512 for s in sides} | {f"{s}_ffn_embed_dim": 4096 for s in sides}
    model = write(tmp_path, density=0.05, **sizes)
    dense = sum(4 * parameter.numel() for parameter in model.parameters())
    assert dense > 90e6
    code = f"""
import resource
import fairseq
from fairseq_lottery.inference.translation import translator
from fairseq_lottery.sparse import matrix_choices, kernel
kernel.native()
matrix_choices.Choices.is_worth = lambda *args: True
peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
translator.open_translator({str(tmp_path / "model.safetensors")!r}).translate(["4 5 6"])
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=alone(), check=True
    )
    assert int(done.stdout.split()[-1]) < dense / 2

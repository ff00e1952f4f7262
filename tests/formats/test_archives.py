"""fairseq's released archives: stand-ins in their layout, read by fairseq and by our commands."""

import hashlib
import json
import os
import shutil
import tarfile

import pytest
import torch

pytest.importorskip("fairseq")

import released
from fairseq import checkpoint_utils
from fairseq.models.roberta import RobertaModel, XLMRModel
from small import load

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import is_parameter, load_ticket, read_source, trainable
from fairseq_lottery.formats.checkpoints.legacy_layouts import upgraded
from fairseq_lottery.tickets import DrawPlan, draw


def by_hub(model_class):
    def load(folder):
        hub = model_class.from_pretrained(str(folder), bpe=None)
        return hub.model, hub.task

    return load


def by_task(folder):
    path, data = str(folder / "model.pt"), {"data": str(folder)}
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides=data)
    return model, task


XLMR = {"arch": "roberta_large", "task": "multilingual_masked_lm"}
ROBERTA = "masked_lm", by_hub(RobertaModel)
MBART = "translation_from_pretrained_bart", by_task
#: how it is written, its settings, the task of its adapter, and fairseq's own loader
ARCHIVES = {
    "roberta": (released.write_roberta, {}, *ROBERTA),
    "roberta-fp32-zip": (released.write_roberta, {"half": False, "zipped": True}, *ROBERTA),
    "xlmr": (released.write_roberta, XLMR, "masked_lm", by_hub(XLMRModel)),
    "mbart": (released.write_mbart, {}, *MBART),
    "mbart-half-zip": (released.write_mbart, {"half": True, "zipped": True}, *MBART),
    "mbart-without-tokens": (released.write_mbart, {"add_lang_token": False}, *MBART),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_tensors_and_dictionaries_are_those_that_fairseq_loads(name, tmp_path):
    write, settings, task_name, load = ARCHIVES[name]
    folder, built = write(tmp_path / "archive", **settings)
    model, task = load(folder)
    expected, made = trainable(model), trainable(built)
    for path in (folder, folder / "model.pt"):
        source = read_source(path)
        assert source.weights.keys() == expected.keys() == made.keys()
        for key, weight in source.weights.items():
            assert torch.equal(weight, expected[key]), key
            assert torch.allclose(weight, made[key], atol=2e-3), key
        assert (source.kind, source.update, source.mask) == ("checkpoint", 500_000, None)
        assert source.masters == (name == "roberta-fp32-zip" and not source.settings.common["fp16"])
        for symbols in source.find_dictionaries().symbols.values():
            assert list(symbols) == task.source_dictionary.symbols[4:]
    assert source.adapter.name == task_name and symbols[-1] == "<mask>"
    if name == "mbart":
        assert symbols[-4:-1] == ("[ar_AR]", "[de_DE]", "[en_XX]")
    assert source.sha256 == hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()


def test_every_name_and_shape_of_roberta_base():
    """50,265 rows (50,260 lines, four symbols, <mask>), 514 positions, 12 layers of 768."""
    wide, inner, rows = 768, 3072, 50_265
    layer = dict(zip(released.LAYER, (
        *((3 * wide, wide), (3 * wide,), (wide, wide), (wide,), (wide,), (wide,)),
        *((inner, wide), (inner,), (wide, inner), (wide,), (wide,), (wide,)),
    )))  # fmt: skip
    end = dict(zip(released.END, ((wide,), (wide,), (rows, wide), (rows,), (wide, wide),
                                  (wide,), (wide,), (wide,))))  # fmt: skip
    shapes = {"sentence_encoder.embed_tokens.weight": (rows, wide),
              "sentence_encoder.embed_positions.weight": (514, wide)}  # fmt: skip
    for number in range(12):
        shapes.update({f"sentence_encoder.layers.{number}.{n}": s for n, s in layer.items()})
    shapes.update(end)
    assert len(shapes) == 154
    # views of one number: names and shapes need no memory
    weights = {f"decoder.{name}": torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    args = released.roberta_args(
        encoder_layers=12, encoder_embed_dim=wide, encoder_ffn_embed_dim=inner,
        encoder_attention_heads=12,
    )  # fmt: skip
    found = upgraded({"model": weights, "args": args})["model"]
    small = released.build(released.roberta_args(encoder_layers=12), *released.WORDS, "<mask>")
    assert found.keys() == set(filter(is_parameter, small.state_dict()))
    stack = "encoder.sentence_encoder"
    assert found[f"{stack}.layers.11.self_attn.k_proj.weight"].shape == (wide, wide)
    assert found[f"{stack}.layers.11.self_attn.v_proj.bias"].shape == (wide,)
    assert found[f"{stack}.layernorm_embedding.bias"].shape == (wide,)
    parameters = sum(t.numel() for n, t in found.items() if n != "encoder.lm_head.weight")
    # 124,697,433 in the transformers library, whose model has a token type of 768 more
    assert parameters == 124_697_433 - wide


def test_a_head_of_a_fine_tuned_archive_stays(tmp_path):
    folder, model = released.write_roberta(tmp_path / "mnli")
    state = load(folder / "model.pt")
    model.register_classification_head("mnli", num_classes=3)
    heads = {n: t for n, t in model.state_dict().items() if n.startswith("classification_heads.")}
    state["model"].update(heads)
    torch.save(state, folder / "model.pt")
    found = read_source(folder).weights
    assert len(heads) == 4 and all(torch.equal(found[name], heads[name]) for name in heads)


@pytest.fixture
def roberta(tmp_path):
    return released.write_roberta(tmp_path / "roberta")[0]


def test_commands_show_the_hash_of_the_archive(roberta, tmp_path, capsys):
    digest = hashlib.sha256((roberta / "model.pt").read_bytes()).hexdigest()
    assert main(["inspect", str(roberta)]) == 0
    assert f"\nSHA-256 of the file {digest}\n" in capsys.readouterr().out
    assert main(["inspect", str(roberta), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == digest
    out = str(tmp_path / "ticket.safetensors")
    given = ("--mask-from", str(roberta), "--start-from", str(roberta / "model.pt"))
    assert main(["ticket", *given, "--sparsity", "0.25", "--out", out]) == 0
    ticket, source = load_ticket(out), read_source(roberta)
    entry = {"digest": source.digest(), "update": 500_000, "sha256": digest}
    assert ticket.record["sources"] == {"mask_from": entry, "start_from": entry}
    assert ticket.adapter.name == "masked_lm"
    assert ticket.dictionaries["source"] == (*released.WORDS, "<mask>")
    for name, value in ticket.values.items():
        kept = ticket.mask[name] if name in ticket.mask else torch.ones_like(value).bool()
        assert torch.equal(value, source.weights[name] * kept)
    capsys.readouterr()
    assert main(["inspect", out, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["sha256"] is None and described["record"]["sources"]["mask_from"] == entry


def test_other_commands_take_the_folder(roberta, tmp_path, capsys):
    weights = read_source(roberta).weights
    shutil.copy(roberta / "dict.txt", tmp_path)
    for name, more in (("plain.pt", ()), ("small.safetensors", ("--to", "compact"))):
        out = str(tmp_path / name)
        assert main(["export", str(roberta), *more, "--out", out]) == 0
        source = read_source(out)
        assert all(torch.equal(source.weights[key], weight) for key, weight in weights.items())
        assert source.find_dictionaries() == read_source(roberta).find_dictionaries()
    assert main(["complexity", str(roberta), "--out", str(tmp_path / "results")]) == 0
    assert main(["inspect", str(roberta), "--check"]) == 0
    assert "model.pt: checkpoint, update 500000, dense" in capsys.readouterr().out


def refused(words, capsys):
    assert main(list(map(str, words))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"encoder_attention_heads": 8},
         "has 8 heads per encoder layer, but {other} has 4; use models of one architecture"),
        ({"encoder_layers": 3}, "has 3 encoder layers, but {other} has 2; use"),
        ({"encoder_embed_dim": 24}, "has 24 encoder dimensions, but {other} has 16; use"),
        ({"encoder_ffn_embed_dim": 48}, "has 48 FFN units per encoder layer, but {other} has 32"),
    ],
)  # fmt: skip
def test_another_structure_is_one_sentence(roberta, tmp_path, capsys, changes, sentence):
    other, _ = released.write_roberta(tmp_path / "other", **changes)
    out = tmp_path / "ticket.safetensors"
    given = ("--mask-from", roberta, "--start-from", other, "--sparsity", "0.5", "--out", out)
    line = refused(("ticket", *given), capsys)
    start = f"fairseq-lottery: --start-from {other / 'model.pt'} "
    assert line.startswith(start + sentence.format(other=roberta / "model.pt")), line
    assert not out.exists()


def test_another_dictionary_is_one_sentence(roberta, tmp_path):
    swapped = ("w1", "w0", *released.WORDS[2:])
    other, _ = released.write_roberta(tmp_path / "other", words=swapped)
    plan = DrawPlan(mask_from=str(roberta), start_from=str(other), sparsity=0.5)
    with pytest.raises(LotteryError, match="dictionary of the data symbol 0 is 'w1', expected 'w0"):
        draw(plan)


def test_the_dictionary_of_another_model_is_refused(roberta, tmp_path):
    released.dictionary_of(*released.WORDS, "more").save(str(roberta / "dict.txt"))
    sentence = r"dict.txt has 66 symbols with those that fairseq adds, but .* has 65 rows in its"
    with pytest.raises(LotteryError, match=sentence):
        read_source(roberta).find_dictionaries()
    (roberta / "dict.txt").unlink()
    with pytest.raises(LotteryError, match="no data folder .*put dict.txt beside a released mod"):
        read_source(roberta).find_dictionaries()
    assert read_source(roberta).own_dictionaries is None


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["args", "extra_state"])
def test_code_in_an_archive_is_refused_and_does_not_run(roberta, tmp_path, capsys, zipped, place):
    state = load(roberta / "model.pt")
    if place == "args":
        state["args"].tokenizer = Evil(tmp_path / "ran")
    else:
        state["extra_state"]["train_meters"] = Evil(tmp_path / "ran")
    torch.save(state, roberta / "model.pt", _use_new_zipfile_serialization=zipped)
    assert "requires posix.mkdir, which is not plain data" in refused(
        ("inspect", roberta), capsys
    ).replace("'", "")
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_is_not_unpacked_is_one_sentence(roberta, tmp_path, capsys):
    packed = tmp_path / "roberta.base.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(roberta, "roberta.base")
    sentence = "is a compressed archive; unpack it with tar -xzf and give the folder in it"
    assert refused(("inspect", packed), capsys).endswith(f"{packed} {sentence}")
    (roberta / "model.pt").unlink()
    line = refused(("inspect", roberta), capsys)
    assert line == f"fairseq-lottery: {roberta} is a folder; name a file in it"

"""Checkpoints without the heads and units that contribute nothing, through every form and command.

Cut models themselves are tested in tests/heads/test_cutting.py.
"""

import json
import math
import re
from argparse import Namespace

import pytest
import torch
from engines import always
from live import DIM, FFN, HEADS, WORDS, anatomy, sentences, transformer, translate
from small import pair_of, save_checkpoint, save_snapshot_of, weights
from toy import LOTTERY, call, hypotheses, same

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.checkpoint_forms import export, whole_state
from fairseq_lottery.formats import is_parameter, read_checkpoint, trainable
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import clear_biases, weight_masks
from fairseq_lottery.heads.slim.cut_settings import read_cut
from fairseq_lottery.heads.slim.cutting import cut
from fairseq_lottery.heads.slim.slim_checkpoint import slim_checkpoint, whole_checkpoint
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.tickets.average import average
from fairseq_lottery.tickets.inspection import inspect_file

SYMBOLS = tuple(str(number) for number in range(WORDS - 4))
POSITIONS = {"max_source_positions": 64, "max_target_positions": 64}
SETTINGS = {
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_embed_dim": DIM for side in ("encoder", "decoder")},
    **{f"{side}_ffn_embed_dim": FFN for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": HEADS for side in ("encoder", "decoder")},
    **{"share_all_embeddings": True, "arch": "transformer", "_name": "transformer", **POSITIONS},
}
TASK = "translation_lottery"
CROSS, ENCODER = "decoder.layers.1.encoder_attn", "encoder.layers.0.self_attn"


def uneven(found):
    """ComponentMask of a model: attentions of no head to all, FFNs of no unit to all."""
    last = list(found.heads)[-1]
    size = next(iter(found.units.values()))
    heads = {name: list(range(n % found.heads[name])) for n, name in enumerate(found.heads)}
    heads[last] = list(range(found.heads[last]))
    units = {name: list(range(0, size, n + 2)) for n, name in enumerate(found.units)}
    units["decoder.layers.0"] = list(range(size))
    return ComponentMask(found, {"heads": heads, "units": units})


def zero(parameters, components):
    """Zeros, in place, where ``components`` prunes something."""
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    for name, keep in weight_masks(components, shapes).items():
        parameters[name][~keep] = 0
    clear_biases(parameters, components)


def save(path, model, settings=None, task=None, **changes):
    before = model.encoder.layers[0].normalize_before
    norms = {f"{side}_normalize_before": before for side in ("encoder", "decoder")}
    settings = settings or Namespace(**SETTINGS, **norms)
    cfg = {"model": settings, "task": {"_name": TASK, **(task or {})}}
    task_state = {"lottery": {"dictionaries": pair_of(SYMBOLS, SYMBOLS).to_tensors()}}
    return save_checkpoint(
        path, weights(), model=model.state_dict(),
        **{"cfg": cfg, "task_state": task_state, **changes},
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """With zeros in the place of uneven components."""
    made = transformer(**POSITIONS)
    zero({n: p.detach() for n, p in trainable(made).items()}, uneven(anatomy(made)))
    return made


@pytest.fixture
def checkpoint(model, tmp_path):
    return save(tmp_path / "zeros.pt", model)


def numel(state):
    tied = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")
    names = (name for name in state["model"] if is_parameter(name) and name not in tied)
    return sum(state["model"][name].numel() for name in names)


def test_what_is_written(model, checkpoint, tmp_path):
    told = export(checkpoint, tmp_path / "slim.pt", "slim")
    components = uneven(anatomy(model))
    assert told.components == components and told.even == 0
    state = read_checkpoint(tmp_path / "slim.pt")
    assert state["cfg"]["task"]["_name"] == "translation_lottery"
    assert state["last_optimizer_state"] is None and state["cfg"]["common"]["user_dir"] is None
    assert read_cut(state["cfg"]["model"]) == components
    assert not {f"{CROSS}.q_proj.weight", "decoder.layers.0.fc1.bias"} & state["model"].keys()
    kept = json.loads(state["cfg"]["model"]["slim"])
    assert kept["heads"][CROSS] == "0000" and kept["heads"][ENCODER] == "1111"
    assert kept["units"]["encoder.layers.0"] == "01" * (FFN // 2)
    before, after = told.parameters
    assert before == sum(p.numel() for p in trainable(model).values())
    assert after == numel(state) < 0.8 * before
    assert told.describe().splitlines() == [
        f"{components.count_pruned('heads')} of 24 heads and"
        f" {components.count_pruned('units')} of 96 units"
        " are cut out",
        f"{before} -> {after} parameters ({after / before:.3f}); {told.flops[0] / 1e6:.2f} ->"
        f" {told.flops[1] / 1e6:.2f} million operations a token at 25 tokens"
        f" ({told.flops[1] / told.flops[0]:.3f})",
    ]


def test_the_command(checkpoint, tmp_path, capsys):
    out = str(tmp_path / "slim.pt")
    assert main(["export", checkpoint, "--to", "slim", "--out", out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out}: 10 of 24 heads and ") and " parameters (0." in lines[1]
    assert lines[2] == "it loads with --user-dir of this plugin and --task translation_lottery"
    assert main(["export", checkpoint, "--to", "slim", "--out", out]) == 2
    assert capsys.readouterr().err == (
        f"fairseq-lottery: {out} exists already; remove it or choose another name\n"
    )


def test_it_is_the_model_of_before(model, checkpoint, tmp_path):
    """Built and cut as the task does."""
    export(checkpoint, tmp_path / "slim.pt", "slim")
    state = read_checkpoint(tmp_path / "slim.pt")
    built = transformer(seed=9, **POSITIONS)
    cut(built, read_cut(state["cfg"]["model"]))
    built.load_state_dict(state["model"])
    for beam in (1, 5):
        for (tokens, scores), (others, theirs) in zip(
            translate(model, sentences(), beam), translate(built.eval(), sentences(), beam)
        ):
            assert torch.equal(tokens, others)
            assert torch.allclose(scores, theirs, atol=1e-5)


def test_every_form_and_back(checkpoint, tmp_path):
    paths = {name: tmp_path / name for name in ("slim.pt", "zeros2.pt", "again.pt", "plain.pt")}
    export(checkpoint, paths["slim.pt"], "slim")
    export(checkpoint, paths["plain.pt"])
    export(paths["slim.pt"], paths["zeros2.pt"])
    export(paths["slim.pt"], paths["again.pt"], "slim")
    states = {name: read_checkpoint(path) for name, path in paths.items()}
    assert states["plain.pt"]["cfg"]["task"]["_name"] == "translation"
    assert same(states["plain.pt"], states["zeros2.pt"])
    assert same(states["slim.pt"], states["again.pt"])
    small = tmp_path / "slim.safetensors"
    export(paths["slim.pt"], small, "compact")
    export(small, tmp_path / "dense-again.pt")
    told = export(small, tmp_path / "slim-again.pt", "slim")
    assert told.components.count_pruned("heads") > 0
    assert same(read_checkpoint(tmp_path / "dense-again.pt"), states["plain.pt"])
    assert same(read_checkpoint(tmp_path / "slim-again.pt"), states["slim.pt"])
    weights_of = {path: 4 * numel(states[path.name]) for path in paths.values()}
    for path, size in weights_of.items():
        assert size < path.stat().st_size < size + 60_000  # each embedding once, settings, names
    assert weights_of[paths["slim.pt"]] < 0.8 * weights_of[paths["plain.pt"]]
    assert small.stat().st_size < 0.6 * paths["slim.pt"].stat().st_size


def test_a_configuration_of_hydras(model, checkpoint, tmp_path):
    """Its sides are sections, and what is a default is left out."""
    sides = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": FFN, "attention_heads": HEADS}
    settings = {"_name": "transformer", "encoder": sides, "decoder": sides}
    nested = save(tmp_path / "nested.pt", model, settings)
    found = [export(path, f"{path}.slim", "slim") for path in (checkpoint, nested)]
    assert found[0].components == found[1].components and found[0].parameters == found[1].parameters
    settings = {"_name": "transformer", "share_all_embeddings": True}  # 8 heads by default
    with pytest.raises(LotteryError, match="zeros.pt has the architecture None"):
        export(save(tmp_path / "zeros.pt", model, {"encoder_layers": 2}), tmp_path / "x", "slim")
    eight = export(save(tmp_path / "e.pt", model, settings), tmp_path / "e2.pt", "slim")
    assert eight.components.count("heads") == 48


def test_what_cannot_become_smaller(tmp_path):
    made = transformer()
    path = save(tmp_path / "dense.pt", made)
    with pytest.raises(LotteryError, match="nothing can be cut out of .*dense.pt: every head and"):
        export(path, tmp_path / "out.pt", "slim")
    found = anatomy(made)
    parameters = {n: p.detach() for n, p in trainable(made).items()}
    zero(parameters, ComponentMask(found, {"heads": {CROSS: [0, 1, 3]}}, "uniform"))
    path = save(tmp_path / "even.pt", made)
    with pytest.raises(LotteryError, match="even.pt: its 3 pruned heads attend evenly and"):
        export(path, tmp_path / "out.pt", "slim")
    zero(parameters, ComponentMask(found, {"units": {"encoder.layers.1": [5]}}))
    for kind in ("weight", "bias"):  # even, and no values either
        parameters[f"{CROSS}.v_proj.{kind}"][12:] = 0
    path = save(tmp_path / "both.pt", made)
    told = export(path, tmp_path / "out.pt", "slim")
    assert list(told.components.pruned("heads")) == [(CROSS, 3)]
    assert "\n2 pruned heads are not cut: they attend evenly" in told.describe()
    assert told.describe().startswith("1 of 24 heads and 1 of 96 units are cut out\n")
    start = save_snapshot_of(tmp_path / "start.safetensors", weights())
    with pytest.raises(LotteryError, match="is a snapshot, but --to"):
        export(start, tmp_path / "out2.pt", "slim")
    with pytest.raises(LotteryError, match="--round requires"):
        export(path, tmp_path / "out2.pt", "slim", "fp16")
    with pytest.raises(LotteryError, match="out.pt exists already"):
        export(path, tmp_path / "out.pt", "slim")
    assert not (tmp_path / "out2.pt").exists()


@pytest.mark.parametrize(
    "text",
    [
        *(7, "", "[]", "{}", '{"heads": {}}', '{"heads": [], "units": {}}', "{" * 5000),
        *('{"heads": {}, "units": {}, "more": {}}', '{"heads": {"a": 3}, "units": {}}'),
        *('{"heads": {"a": ""}, "units": {}}', '{"heads": {"a": "102"}, "units": {}}'),
        json.dumps({"heads": {}, "units": {"encoder.layers.0": "1" * (1 << 22)}}),
    ],
    ids=lambda text: str(text)[:40],
)
def test_settings_that_are_none_of_ours(text):
    for settings in (Namespace(slim=text), {"slim": text}):
        with pytest.raises(
            LotteryError, match="heads and units that were cut out of the checkpoint is malformed"
        ):
            read_cut(settings)


def test_settings_of_another_model(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "slim.pt", "slim")
    state = read_checkpoint(tmp_path / "slim.pt")
    own = json.loads(state["cfg"]["model"]["slim"])

    def with_settings(heads, units):
        text = json.dumps({"heads": {**own["heads"], **heads}, "units": {**own["units"], **units}})
        model = {**state["cfg"]["model"], "slim": text}
        return {**state, "cfg": {**state["cfg"], "model": model}}

    for heads, units, said in (
        (
            {CROSS: "0001"},
            {},
            f"{CROSS}.q_proj.weight does not match the settings of the cut model",
        ),
        (
            {ENCODER: "0111"},
            {},
            f"{ENCODER}.q_proj.weight does not match the settings of the cut model",
        ),
        ({CROSS: "00000"}, {}, f"no attention {CROSS} of 5 heads"),
        (
            {},
            {"encoder.layers.0": "01" * 5_000},
            "encoder.layers.0.fc1.weight does not match the settings",
        ),
        ({}, {"encoder.layers.7": "01"}, "has no vector encoder.layers.7.fc2.bias"),
        ({"self_attn": "01"}, {}, "'self_attn' is not in a layer of a Transformer"),
    ):
        with pytest.raises(LotteryError, match=said):
            whole_checkpoint(with_settings(heads, units), "x.pt")
        torch.save(with_settings(heads, units), tmp_path / "bad.pt")
        with pytest.raises(LotteryError, match=said):
            export(tmp_path / "bad.pt", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_a_whole_model_is_left_alone(checkpoint):
    state = read_checkpoint(checkpoint)
    assert same(whole_state(state, "x.pt"), state)
    for cfg in (None, {}, {"model": None}):
        assert whole_state({**state, "cfg": cfg}, "x.pt")["model"] is state["model"]
        with pytest.raises(LotteryError, match="x.pt has the architecture None"):
            slim_checkpoint({**state, "cfg": cfg}, "x.pt")


def test_looking_at_it_and_averaging(checkpoint, model, tmp_path):
    export(checkpoint, tmp_path / "slim.pt", "slim")
    told = inspect_file(tmp_path / "slim.pt")
    assert told["parameters"] == numel(read_checkpoint(tmp_path / "slim.pt"))
    assert told["agrees"] and told["kind"] == "checkpoint"
    more = transformer(seed=4, **POSITIONS)
    zero({n: p.detach() for n, p in trainable(more).items()}, uneven(anatomy(more)))
    export(save(tmp_path / "other.pt", more), tmp_path / "slim2.pt", "slim")
    average([tmp_path / "slim.pt", tmp_path / "slim2.pt"], tmp_path / "mean.pt")
    mean = read_checkpoint(tmp_path / "mean.pt")
    assert read_cut(mean["cfg"]["model"]) == uneven(anatomy(model))
    name = "decoder.layers.1.fc1.weight"
    first, second = (read_checkpoint(tmp_path / f"slim{n}.pt")["model"][name] for n in ("", "2"))
    assert torch.allclose(mean["model"][name], (first + second) / 2)


def test_a_ticket_of_it_is_for_no_other_model(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "slim.pt", "slim")
    slim = str(tmp_path / "slim.pt")
    for sources in ((slim, checkpoint), (checkpoint, slim), (slim, None)):
        plan = DrawPlan(mask_from=sources[0], start_from=sources[1], sparsity=0.5, reset="keep")
        with pytest.raises(LotteryError, match="cut out of .*slim.pt, so it cannot be trained"):
            draw(plan)


def damaged(name):
    """Ways to make a slim checkpoint what it is not: state -> its change in place."""
    cross, even = f"{CROSS}.out_proj.bias", f"{ENCODER}.out_proj.bias"
    fewer = "decoder.layers.0.self_attn"  # has two heads of four

    def weight(which, change):
        return lambda state: state["model"].update({which: change(state["model"][which])})

    def setting(**changes):
        def change(state):
            own = json.loads(state["cfg"]["model"]["slim"])
            for kind, kept in changes.items():
                own[kind] = {**own[kind], **kept} if kept else {}
            state["cfg"]["model"]["slim"] = json.dumps(own)

        return change

    return {
        "removed": lambda state: state["cfg"]["model"].pop("slim"),
        "null": lambda state: state["cfg"]["model"].update(slim=None),
        "empty": setting(heads=None, units=None),
        "no units": setting(units=None),
        "uncut": setting(heads={fewer: "1111"}),
        "more heads": setting(heads={ENCODER: "1" * 16}),
        "more units": setting(units={"decoder.layers.0": "1" * 60}),
        "no width": weight(cross, lambda bias: bias[:0]),
        "half the width": weight(cross, lambda bias: bias[: DIM // 2]),
        "another type": weight(f"{fewer}.q_proj.weight", lambda matrix: matrix.half()),
        "another type of bias": weight(f"{fewer}.out_proj.bias", lambda bias: bias.double()),
        "whole numbers": weight(f"{fewer}.k_proj.bias", lambda bias: bias.long()),
        "three dimensions": weight(f"{fewer}.q_proj.weight", lambda matrix: matrix[None]),
        "a whole attention of another width": weight(even, lambda bias: bias[:3]),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        *("removed", "null", "empty", "no units", "uncut", "more heads", "more units", "no width"),
        *("half the width", "another type", "another type of bias", "whole numbers"),
        *("three dimensions", "a whole attention of another width"),
    ],
)
def test_what_is_no_slim_checkpoint(checkpoint, tmp_path, capsys, name):
    """Every reader refuses it in a sentence; it was taken for a checkpoint of plain fairseq."""
    export(checkpoint, tmp_path / "slim.pt", "slim")
    state = read_checkpoint(tmp_path / "slim.pt")
    state = {**state, "model": {n: tensor.clone() for n, tensor in state["model"].items()}}
    damaged(name)(state)
    bad = str(tmp_path / "bad.pt")
    torch.save(state, bad)
    out = ["--out", str(tmp_path / "out.pt")]
    for command in (["export", bad, *out], ["export", bad, "--to", "slim", *out], ["inspect", bad]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.startswith("fairseq-lottery: ") and said.count("\n") == 1
    assert not (tmp_path / "out.pt").exists()


@pytest.fixture
def text(tmp_path):
    lines = (" ".join(SYMBOLS[(7 * n + k * n) % 56] for k in range(1 + n % 9)) for n in range(40))
    (tmp_path / "text").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "text")


@pytest.fixture
def data(tmp_path):
    """Settings of a task whose data folder has the dictionaries."""
    for language in ("en", "de"):
        (tmp_path / f"dict.{language}.txt").write_text("".join(f"{s} 1\n" for s in SYMBOLS))
    return {"data": str(tmp_path), "source_lang": "en", "target_lang": "de"}


@pytest.fixture
def specs(monkeypatch):
    """CTranslate2's specifications after they were narrowed."""
    pytest.importorskip("ctranslate2", reason="CTranslate2 is installed on the modern stack only")
    from fairseq_lottery.heads.slim import ctranslate2_heads

    narrow, found = ctranslate2_heads.narrow, []

    def noted(*given):
        narrow(*given)
        found.append(given[0])

    monkeypatch.setattr(ctranslate2_heads, "narrow", noted)
    return found


def shape(linear):
    return tuple(linear.weight.numpy().shape)


@pytest.mark.parametrize("before", [False, True])
def test_in_ctranslate2(specs, text, data, before, tmp_path, caplog):
    from fairseq_lottery.export.ctranslate2_model import deploy

    norms = {f"{side}_normalize_before": before for side in ("encoder", "decoder")}
    made = transformer(**POSITIONS, **norms)
    zero({n: p.detach() for n, p in trainable(made).items()}, uneven(anatomy(made)))
    zeros, slim = save(tmp_path / "zeros.pt", made, task=data), tmp_path / "slim.pt"
    export(zeros, slim, "slim")
    export(slim, tmp_path / "slim.safetensors", "compact")
    for name, path in (("whole", zeros), ("slim", slim), ("small", tmp_path / "slim.safetensors")):
        found = deploy(path, tmp_path / name, check_on=text)
        assert found.is_exact and found.sentences == 40 and found.worst < 5e-5
    files = [(tmp_path / name / "model.bin").read_bytes() for name in ("whole", "slim", "small")]
    assert files[1] == files[2] and len(files[1]) < len(files[0])
    assert len(specs) == 2  # the whole model stays as it is
    kept = uneven(anatomy(made))["units"]
    for side in ("encoder", "decoder"):
        for number, layer in enumerate(getattr(specs[0], side).layer):
            units = max(1, int(kept[f"{side}.layers.{number}"].sum()))
            assert shape(layer.ffn.linear_0) == (units, DIM)
            assert shape(layer.ffn.linear_1) == (DIM, units)
    said = "one number of heads for the whole encoder: 1 heads of zeros fill up its 7 to 4 in each"
    assert said in caplog.text
    said = "one number of heads for the whole decoder: 9 heads of zeros fill up its 7 to 4 in each"
    assert said in caplog.text


def test_fewer_heads_in_ctranslate2(specs, text, data, tmp_path, caplog):
    """Heads whose number does not divide the model's width, and attentions without any."""
    from fairseq_lottery.export.ctranslate2_model import deploy

    made = transformer(**POSITIONS)
    found = anatomy(made)
    pruned = {n: [2] if "encoder." in n else list(range(HEADS)) for n in found.heads}
    zero(
        {n: p.detach() for n, p in trainable(made).items()}, ComponentMask(found, {"heads": pruned})
    )
    export(save(tmp_path / "zeros.pt", made, task=data), tmp_path / "slim.pt", "slim")
    for kind in (None, "int8"):
        told = deploy(tmp_path / "slim.pt", tmp_path / str(kind), kind, check_on=text)
        assert math.isfinite(told.worst) and (kind or told.is_exact)
    encoder, decoder = specs[0].encoder, specs[0].decoder
    assert (int(encoder.num_heads.numpy()), int(decoder.num_heads.numpy())) == (3, 1)
    fused, out = encoder.layer[1].self_attention.linear
    assert (shape(fused), shape(out)) == ((3 * 12, DIM), (DIM, 12))
    query, memory, out = decoder.layer[0].attention.linear
    assert (shape(query), shape(memory), shape(out)) == ((4, DIM), (8, DIM), (DIM, 4))
    assert "whole encoder" not in caplog.text
    assert "decoder: 4 heads of zeros fill up its 0 to 1 in each of 4 attentions" in caplog.text


@pytest.fixture(scope="module")
def trained(toy_data, dense, tmp_path_factory):
    """A trained toy with zeros in the place of uneven components, and its slim checkpoint."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("slim"))
    state = read_checkpoint(dense / "checkpoint_last.pt")
    shapes = {name: tuple(tensor.shape) for name, tensor in state["model"].items()}
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    zero(state["model"], uneven(Anatomy.of(shapes, heads)))
    torch.save(state, toy.folder / "zeros.pt")
    export(toy.folder / "zeros.pt", toy.folder / "slim.pt", "slim")
    return toy


def scores(done):
    """Sentence number -> score of its translation."""
    return {n: float(score) for n, score in re.findall(r"^H-(\d+)\t(\S+)\t", done.out, re.M)}


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--beam", 5], ["--beam", 1, "--batch-size", 1]], ids=str)
def test_generate_translates_as_before(trained, flags, monkeypatch):
    monkeypatch.setattr("fairseq_lottery.sparse.sparse_decoding.kept_choices", always)
    flags = [*flags, "--gen-subset", "test"]
    whole, slim, sparse = (
        trained.generate(name, *flags, *more).ok()
        for name, more in (("zeros.pt", []), ("slim.pt", []), ("slim.pt", ["--sparse-decode"]))
    )
    assert len(hypotheses(slim)) == 50
    assert hypotheses(whole) == hypotheses(slim) == hypotheses(sparse)
    assert scores(slim) == pytest.approx(scores(whole), abs=1e-4)
    assert "matrices are sparse" in sparse.out


@pytest.mark.slow
def test_interactive_and_two_models_at_once(trained):
    (trained.folder / "lines").write_text("w1 w2 w3\nw4 w5\nw6 w7 w8 w9 w10\n")
    found = []
    for models in ("zeros.pt", "slim.pt", "slim.pt:zeros.pt"):
        arguments = [trained.data, *LOTTERY[:4], "--path", models, "--input", "lines"]
        found.append(call("fairseq_cli.interactive", arguments, trained.folder).ok())
    assert len(hypotheses(found[0])) == 3
    assert hypotheses(found[0]) == hypotheses(found[1]) == hypotheses(found[2])


@pytest.mark.slow
def test_the_hub_interface(trained):
    """It takes the task that the checkpoint names, which the import of the plugin registers."""
    from fairseq.models.transformer import TransformerModel

    found = []
    for name in ("zeros.pt", "slim.pt"):
        hub = TransformerModel.from_pretrained(
            str(trained.folder), name, str(trained.data), user_dir=LOTTERY[1]
        )
        found.append(hub.translate(["w1 w2 w3", "w4 w5"], beam=5))
    assert found[0] == found[1] and len(found[0]) == 2


@pytest.mark.slow
def test_without_the_plugin_it_does_not_load(trained):
    done = trained.generate("slim.pt", lottery=False)
    assert done.code != 0
    assert "size mismatch for" in done.out or "Missing key(s)" in done.out
    assert not hypotheses(done)


@pytest.mark.slow
def test_settings_of_another_model_end_in_a_sentence(trained):
    state = read_checkpoint(trained.folder / "slim.pt")
    own = json.loads(state["cfg"]["model"]["slim"])
    own["units"]["encoder.layers.0"] += "1"
    for text, said in (
        (json.dumps(own), "the heads and units that were cut do not match the model"),
        ("{}", "the record of heads and units that were cut out of the checkpoint is malformed"),
    ):
        state["cfg"]["model"]["slim"] = text
        torch.save(state, trained.folder / "bad.pt")
        done = trained.generate("bad.pt")
        assert done.code == 2 and f"fairseq-lottery: {said}" in done.out
        assert "Traceback" not in done.out


@pytest.mark.slow
def test_no_training_draws_from_it(trained, dense):
    slim = trained.folder / "slim.pt"
    for flags in (
        ("--mask-from", slim, "--start-from", dense / "snapshot_5.safetensors", "--sparsity", 0.5),
        ("--mask-from", slim, "--sparsity", 0.5, "--reset", "keep"),
        ("--finetune-from-model", slim),
        ("--restore-file", slim),
    ):
        done = trained.train("drawn", *flags)
        assert done.code == 2 and "Traceback" not in done.out
        assert f"cut out of {slim}, so it cannot be trained" in done.out
    # ... its whole counterpart is one to draw from
    export(trained.folder / "slim.pt", trained.folder / "plain.pt")
    trained.train(
        "drawn", "--mask-from", trained.folder / "plain.pt", "--start-from",
        dense / "snapshot_5.safetensors", "--sparsity", 0.5, updates=2,
    ).ok()  # fmt: skip

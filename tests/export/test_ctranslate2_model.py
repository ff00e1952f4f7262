"""CTranslate2 models out of our files: they translate as fairseq does, or are refused."""

import json
import os
import random
import re
from argparse import Namespace

import pytest
import torch
from small import DICTIONARIES, SYMBOLS, pair_of, save_checkpoint, weights

pytest.importorskip("fairseq")
pytest.importorskip("ctranslate2", reason="CTranslate2 is installed on the modern stack only")

from ctranslate2.converters import FairseqConverter
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.checkpoint_forms import export
from fairseq_lottery.export.ctranslate2_model import deploy
from fairseq_lottery.export.ctranslate2_translator import load_translator, score, translate
from fairseq_lottery.export.translation_agreement import Agreement, _reason
from fairseq_lottery.formats import load_ticket, save_snapshot, save_ticket, trainable
from fairseq_lottery.inference.beam_search import Translation, _margin, translate_with_fairseq
from fairseq_lottery.tickets import DrawPlan, draw

SMALL = {
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_embed_dim": 16 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_embed_dim": 32 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    # models that are not trained translate until the last position
    **{"share_all_embeddings": True, "max_source_positions": 64, "max_target_positions": 24},
}
PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
APART = {"share_all_embeddings": False}
SENTENCES = 30


class _Task:
    source_dictionary = target_dictionary = Dictionary()


for _symbol in SYMBOLS:
    _Task.source_dictionary.add_symbol(_symbol)


def make(arch="transformer", **settings):
    """Settings and a model whose weights are larger than at a start: it prefers some tokens."""
    arguments = Namespace(arch=arch, _name=arch, **{**SMALL, **settings})
    ARCH_CONFIG_REGISTRY[arch](arguments)
    torch.manual_seed(1)
    model = ARCH_MODEL_REGISTRY[arch].build_model(arguments, _Task)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return arguments, model


def save(path, arguments, model, **changes):
    cfg = {"model": arguments, "task": {"_name": "translation_lottery"}}
    return save_checkpoint(path, weights(), model=model.state_dict(), **{"cfg": cfg, **changes})


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    chance = random.Random(0)
    lines = [" ".join(chance.choices(SYMBOLS, k=chance.randint(1, 9))) for _ in range(SENTENCES)]
    path = tmp_path_factory.mktemp("text") / "source.txt"
    path.write_text("\n".join(lines) + "\n\n")
    return str(path)


@pytest.fixture
def checkpoint(tmp_path):
    return save(tmp_path / "model.pt", *make())


@pytest.mark.parametrize(
    "settings",
    [
        *({}, PRE_NORM, {**APART, "share_decoder_input_output_embed": True}, APART),
        {"encoder_learned_pos": True, "decoder_learned_pos": True},
        *({"activation_fn": name} for name in ("gelu", "gelu_accurate")),
        *({"layernorm_embedding": True}, {"no_scale_embedding": True}),
        {"encoder_layers": 3, "decoder_layers": 1},
        *({f"{side}_attention_heads": 4} for side in ("encoder", "decoder")),
        {**APART, "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 48},
        *({"arch": "transformer_wmt_en_de"}, {"arch": "transformer_align"}),
    ],
    ids=str,
)
def test_fairseqs_transformers_translate_the_same(settings, text, tmp_path):
    path = save(tmp_path / "model.pt", *make(**settings))
    found = deploy(path, tmp_path / "out", check_on=text)
    assert (found.sentences, found.unexplained) == (SENTENCES, 0)
    assert found.equal >= 15 and found.worst < 2e-5


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"activation_fn": "tanh"}, "CTranslate2 .*: Option --activation-fn tanh is not supported"),
        ({"encoder_normalize_before": True}, "must have the same value; translate with fairseq"),
        ({"no_token_positional_embeddings": True}, "no-token-positional-embeddings is not supp"),
        ({"no_cross_attention": True}, "its converter fails .'NoneType' object has no"),
        ({**APART, "adaptive_softmax_cutoff": "4,8"}, "its converter fails"),
        ({**APART, "decoder_output_dim": 24}, "its converter fails"),
        # converted without a word, and another model then
        ({"cross_self_attention": True}, r"does not represent .* by up to 1\.\de\+00"),
    ],
    ids=str,
)
def test_what_ctranslate2_does_not_represent(settings, said, text, tmp_path):
    path = save(tmp_path / "model.pt", *make(**settings))
    with pytest.raises(LotteryError, match=said):
        deploy(path, tmp_path / "out", check_on=text)
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_a_wrong_converter_is_refused(quantization, checkpoint, text, tmp_path, monkeypatch):
    """Whatever the weights are stored as: what quantizing changes hides no mistake."""

    def wrong(self):
        spec = load(self)
        spec.decoder.layer[1].ffn.linear_1.weight[:, ::2] *= -1
        return spec

    load = FairseqConverter._load
    monkeypatch.setattr(FairseqConverter, "_load", wrong)
    said = r"does not represent .* by up to \d\.\de[+-]0\d .* (\d+) of 30 transl"
    with pytest.raises(LotteryError, match=said) as refused:
        deploy(checkpoint, tmp_path / "out", quantization, check_on=text)
    assert int(re.search(said, str(refused.value)).group(1)) == 11
    assert os.listdir(tmp_path) == ["model.pt"]


def test_no_transformer(text, tmp_path):
    arguments, model = make()
    arguments.arch = arguments._name = "lstm"
    path = save(tmp_path / "model.pt", arguments, model)
    with pytest.raises(LotteryError, match=r"model of .* \(lstm\)"):
        deploy(path, tmp_path / "out", check_on=text)


def test_a_configuration_of_hydras(text, tmp_path):
    """Hydra keeps the settings of each side in a section, and leaves out those of a default."""
    sides = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}
    positions = {"max_source_positions": 64, "max_target_positions": 24}
    model = {"_name": "transformer", "share_all_embeddings": True, **positions}
    cfg = {"model": {**model, "encoder": sides, "decoder": sides}, "task": {}}
    plain, nested = save(tmp_path / "a.pt", *make()), save(tmp_path / "b.pt", *make(), cfg=cfg)
    for path in (plain, nested):
        deploy(path, f"{path}.out", check_on=text)
    assert content(tmp_path / "a.pt.out") == content(tmp_path / "b.pt.out")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_that_holds_the_model_gives_the_same_one(text, tmp_path):
    arguments, model = make()
    parameters = {name: p.detach() for name, p in trainable(model).items()}
    record = {"update": 5, "masters": True, "architecture": vars(arguments)}
    save_snapshot(tmp_path / "start.safetensors", parameters, None, DICTIONARIES, record)
    plan = DrawPlan(
        mask_from=save(tmp_path / "trained.pt", *make()), sparsity=0.5,
        start_from=str(tmp_path / "start.safetensors"),
    )  # fmt: skip
    save_ticket(tmp_path / "ticket.safetensors", draw(plan))
    values = load_ticket(tmp_path / "ticket.safetensors").values
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(values[name])
    save_snapshot(tmp_path / "snapshot.safetensors", values, None, DICTIONARIES, record)
    save(tmp_path / "plain.pt", arguments, model)
    names = ["plain.pt", "ticket.safetensors", "snapshot.safetensors"]
    for name in names:
        deploy(tmp_path / name, tmp_path / f"{name}.out", check_on=text)
    found = [content(tmp_path / f"{name}.out") for name in names]
    assert set(found[0]) == {"config.json", "model.bin", "shared_vocabulary.json"}
    assert found[0] == found[1] == found[2]


def test_a_compact_file(checkpoint, text, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for language in ("en", "de"):
        (folder / f"dict.{language}.txt").write_text("".join(f"{s} 3\n" for s in SYMBOLS))
    arguments, model = make()
    task = {"_name": "translation", "source_lang": "en", "target_lang": "de", "data": "gone"}
    cfg = {"model": arguments, "task": task}
    path = save(tmp_path / "model.pt", arguments, model, cfg=cfg)
    small = tmp_path / "model.safetensors"
    export(path, small, "compact")
    with pytest.raises(LotteryError, match="unknown: there is no data folder gone in .*; give"):
        deploy(small, tmp_path / "out", check_on=text)
    deploy(small, tmp_path / "out", check_on=text, data=str(folder))
    deploy(path, tmp_path / "plain", check_on=text)
    assert content(tmp_path / "out") == content(tmp_path / "plain")
    (folder / "dict.de.txt").write_text("z 1\n")
    with pytest.raises(LotteryError, match="target dictionary of the data"):
        deploy(path, tmp_path / "out2", data=str(folder))
    with pytest.raises(LotteryError, match="dictionary .* has 5 symbols, .* 12"):
        deploy(small, tmp_path / "out2", data=str(folder), check_on=text)


def test_quantized_weights_are_reported_and_not_judged(text, tmp_path):
    checkpoint = save(tmp_path / "model.pt", *make(max_target_positions=64))
    exact = deploy(checkpoint, tmp_path / "exact", check_on=text)
    small = deploy(checkpoint, tmp_path / "int8", "int8", check_on=text)
    # without VNNI a CPU saturates sums of products of int8: single sentences are far off then
    assert exact.worst < 2e-5 < 1e-3 < small.mean < min(small.worst, 1)
    assert 10 < small.equal < exact.equal
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("exact", "int8")]
    assert sizes[1] < 0.5 * sizes[0]
    assert f"{small.equal} of 30 sentences are translated as by fairseq" in small.describe()
    assert "the others" not in small.describe()


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int8_float16"])
def test_types_that_this_cpu_may_not_compute_in(kind, checkpoint, text, tmp_path, capfd):
    found = deploy(checkpoint, tmp_path / "out", kind, check_on=text)
    assert 0 < found.mean < min(found.worst, 1)
    assert capfd.readouterr().err == ""  # CTranslate2 warns where it has to choose by itself


def test_weights_that_do_not_fit(text, tmp_path):
    arguments, model = make()
    with torch.no_grad():
        model.decoder.layers[0].fc1.weight.mul_(1e8)
    path = save(tmp_path / "model.pt", arguments, model)
    with pytest.raises(LotteryError, match="fc1.weight has weights that .*float16"):
        deploy(path, tmp_path / "out", "float16", check_on=text)
    assert os.listdir(tmp_path) == ["model.pt"]


def with_fairseq(model, text, **flags):
    lines = [line.split() for line in open(text).read().split("\n") if line]
    return translate_with_fairseq(model.eval(), *[_Task.source_dictionary] * 2, lines, **flags)


def test_exact_ties_are_no_disagreement(text, tmp_path):
    """Symbols with one embedding are equally likely everywhere, as rows without weights are."""
    arguments, model = make()
    with torch.no_grad():
        model.encoder.embed_tokens.weight[5] = model.encoder.embed_tokens.weight[4].clone()
    path = save(tmp_path / "model.pt", arguments, model)
    assert deploy(path, tmp_path / "out", check_on=text).is_exact
    assert sum(one.slack == 0 for one in with_fairseq(model, text)) > 0


def test_why_a_sentence_differs():
    def translation(tokens, slack):
        return Translation(list(tokens), [], slack)

    far, near = translation("ab", 1e-3), translation("ab", 1e-6)
    for wanted, found, shared, why in (
        (far, "ac", far, None),
        (near, "ac", far, "tie"),
        (far, "ac", near, "tie"),
        (far, "ac", translation("ac", 1e-3), "shared"),
        (far, "abcd", far, "cut"),
        (translation("abcd", 1e-3), "ac", far, "cut"),
    ):
        assert _reason(wanted, list(found), shared, limit=4, error=1e-5) == why
    counts = dict(sentences=9, equal=5, ties=1, shared=1, cut=1, limit=4, worst=1e-5, mean=1e-6)
    assert Agreement(**counts).describe() == (
        "5 of 9 sentences are translated as by fairseq, token by token (beam 5); the others:"
        " 1 at a tie of the search,"
        " 1 because CTranslate2 gives the probability of <pad> to other tokens,"
        " 1 cut off after 4 tokens, where fairseq adds </s> and CTranslate2 does not\n"
        "a token's log-probability differs by 1.0e-06 on average, by 1.0e-05 at most"
    )
    assert Agreement(**counts).unexplained == 1 and not Agreement(**counts).is_exact
    for worst, exact in ((3e-4, True), (3.1e-4, False), (float("inf"), False)):
        assert Agreement(**{**counts, "equal": 6, "worst": worst}).is_exact is exact


def test_a_search_that_is_decided_is_no_tie(text):
    """What fairseq's search hangs on is more than rounding: a difference would be seen as one."""
    done = with_fairseq(make()[1], text)
    assert len(done) == SENTENCES
    assert sum(one.slack > 2e-5 for one in done) > 0.9 * SENTENCES
    assert all(len(one.log_probs) == len(one.tokens) + 1 for one in done)


def test_what_may_not_be_selected_is_shared_out(text, tmp_path):
    """A model that is not trained would often select <pad>; the two then search by other rules."""
    arguments, model = make(**PRE_NORM)
    found = deploy(save(tmp_path / "m.pt", arguments, model), tmp_path / "out", check_on=text)
    assert found.is_exact and found.shared > 0
    assert f" {found.shared} because CTranslate2 gives the prob" in found.describe()
    own, shared = with_fairseq(model, text), with_fairseq(model, text, renormalize=True)
    translator = load_translator(tmp_path / "out", threads=1)
    lines = [line.split() for line in open(text).read().split("\n") if line]
    theirs = translate(translator, lines, longest=23)
    whole = [k for k in range(SENTENCES) if len(theirs[k]) < 23]
    assert sum(theirs[k] != own[k].tokens for k in whole) == found.shared
    assert all(theirs[k] == shared[k].tokens for k in whole)


@pytest.mark.parametrize(
    "scores, ends, margin",
    [
        # two go on; the third is dropped
        ([-1.0, -2.0, -2.5, -9.0], "....", 0.5),
        # the first is finished, the second and third go on; their order makes no difference,
        # nor does that of the two that go on without the finished one
        ([-1.0, -2.0, -2.0, -9.0], "x...", 1.0),
        # a finished one that is dropped because two are better
        ([-1.0, -2.0, -2.25, -9.0], "..x.", 0.25),
        ([-1.0, -2.0, -2.25, float("-inf")], "x..x", 1.25),
        ([-1.0, float("-inf"), float("-inf"), float("-inf")], "x...", float("inf")),
    ],
)
def test_how_close_a_step_was(scores, ends, margin):
    found = _margin(torch.tensor([scores]), torch.tensor([[c == "x" for c in ends]]), 2)
    assert found.tolist() == [margin]


def test_translating_with_the_folder(checkpoint, text, tmp_path):
    deploy(checkpoint, tmp_path / "out", check_on=text)
    translator = load_translator(tmp_path / "out", threads=1)
    forced = translate(translator, [["a", "b"], ["c"] * 30], beam=5, shortest=7, longest=7)
    assert [len(tokens) for tokens in forced] == [7, 7]
    given = score(translator, [["a"], ["b"]], forced)
    assert [len(log_probs) for log_probs in given] == [8, 8]  # with </s>
    assert json.loads((tmp_path / "out" / "config.json").read_text())["add_source_eos"] is True


def test_replaced_only_when_asked(checkpoint, text, tmp_path):
    out = tmp_path / "out"
    deploy(checkpoint, out, check_on=text)
    before = content(out)
    with pytest.raises(LotteryError, match="out exists already; remove it or choose another name"):
        deploy(checkpoint, out, "int8", check_on=text)
    wrong = save(tmp_path / "wrong.pt", *make(cross_self_attention=True))
    with pytest.raises(LotteryError, match="does not represent"):
        deploy(wrong, out, check_on=text, overwrite=True)
    assert content(out) == before
    deploy(checkpoint, out, "int8", check_on=text, overwrite=True)
    assert content(out) != before
    assert sorted(os.listdir(tmp_path)) == ["model.pt", "out", "wrong.pt"]


def test_sentences_are_asked_for(checkpoint, tmp_path):
    with pytest.raises(LotteryError, match="give --data FOLDER, or --check-on FILE"):
        deploy(checkpoint, tmp_path / "out")
    (tmp_path / "empty").write_text("\n \n")
    with pytest.raises(LotteryError, match="empty has no sentences"):
        deploy(checkpoint, tmp_path / "out", check_on=tmp_path / "empty")
    (tmp_path / "long").write_text("a\n" + "b " * 64)
    with pytest.raises(LotteryError, match="line 2 of .*long has 64 tokens, .*63"):
        deploy(checkpoint, tmp_path / "out", check_on=tmp_path / "long")
    with pytest.raises(LotteryError, match="--check-on .*none cannot be read: No such file"):
        deploy(checkpoint, tmp_path / "out", check_on=tmp_path / "none")
    with pytest.raises(LotteryError, match="--data .* has no file SPLIT.SOURCE-TARGET.LANG; give"):
        deploy(checkpoint, tmp_path / "out", data=str(tmp_path))


def test_nothing_of_a_strangers_is_run(text, tmp_path):
    """Neither what a pickle calls nor a setting that fairseq evaluates."""
    canary = str(tmp_path / "canary")

    class Call:
        def __reduce__(self):
            return os.mkdir, (canary,)

    arguments, model = make()
    pickled = save(tmp_path / "a.pt", arguments, model, extra_state={"best": Call()})
    arguments.adaptive_softmax_cutoff = f"[__import__('os').mkdir({canary!r}), 4]"
    evaluated = save(tmp_path / "b.pt", arguments, model)
    for path, said in ((pickled, "requires posix.mkdir"), (evaluated, "might run as a program")):
        with pytest.raises(LotteryError, match=said):
            deploy(path, tmp_path / "out", check_on=text)
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt"]


def test_weights_of_another_architecture(text, tmp_path):
    arguments, model = make()
    arguments.decoder_layers = 3
    path = save(tmp_path / "model.pt", arguments, model)
    with pytest.raises(LotteryError, match="do not match its architecture: .*decoder.layers"):
        deploy(path, tmp_path / "out", check_on=text)


def test_dictionaries_of_two_sides(text, tmp_path):
    """Symbols that a text file might lose: a blank inside, and fairseq's own names."""
    target = pair_of(SYMBOLS, (*"stuv", "w x", "#fairseq:overwrite", "<blank>2", "é"))
    arguments, model = make(**APART)
    lottery = {"mask": None, "dictionaries": target.to_tensors()}
    path = save(tmp_path / "model.pt", arguments, model, task_state={"lottery": lottery})
    found = deploy(path, tmp_path / "out", check_on=text)
    assert found.unexplained == 0 and found.equal >= 15
    kept = json.loads((tmp_path / "out" / "target_vocabulary.json").read_text())
    assert kept == ["<s>", "<blank>", "</s>", "<unk>", *target["target"]]

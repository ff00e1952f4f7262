import json
import random
import re
import unicodedata

import pytest
import torch
from small import (
    DICTIONARIES,
    MATRICES,
    PRUNABLE,
    SHAPES,
    full_mask,
    save_checkpoint,
    weights,
)

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_to_state, read_checkpoint
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import weight_masks
from fairseq_lottery.masks import Mask, prunable_matrices
from fairseq_lottery.workflow.stages.score import extra_score, main, read_translations, scores
from fairseq_lottery.workflow.stages.selected_model import choose, measure

SIGNATURE = "score:magnitude|scope:layer|reset:rewind@50"


def sentences(count, seed=1):
    """Sentences of six invented words and a full stop."""
    chance = random.Random(seed)
    words = [a + b + c for a in "bdfgklmnprstvw" for b in "aeiou" for c in "lmnrs"]
    return [" ".join(chance.choices(words, k=6)) + "." for _ in range(count)]


def translations(path, hypotheses, targets=None, kinds="STHD", order=None):
    """A file as fairseq-generate writes it: longest sentences first, so in no order."""
    lines = ["| INFO | loaded checkpoint"]
    for n in order or random.Random(5).sample(range(len(hypotheses)), len(hypotheses)):
        texts = {
            "S": f"source {n}",
            "T": (targets or hypotheses)[n],
            "H": f"-0.5\t{hypotheses[n]}",
            "D": f"-0.5\t{hypotheses[n]}",
        }
        lines += [f"{kind}-{n}\t{texts[kind]}" for kind in kinds]
        lines += [f"P-{n}\t-0.1 -0.2"]
    lines += ["Generate test with beam=5: BLEU4 = 1.0"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def mask_of(sparsity):
    """A mask that prunes this share of every matrix, but no padding row."""
    generator = torch.Generator().manual_seed(1)
    entries, protected = {}, {}
    for name, row in prunable_matrices(SHAPES).items():
        keep = torch.ones(SHAPES[name], dtype=torch.bool)
        free = torch.ones_like(keep)
        if row is not None:
            protected[name], free[row] = row, False
        places = free.flatten().nonzero().flatten()
        chosen = places[torch.randperm(len(places), generator=generator)]
        keep.view(-1)[chosen[: round(sparsity * len(places))]] = False
        entries[name] = keep
    return Mask(entries, protected)


def model(path, sparsity, leaks=0, **changes):
    """A checkpoint at a sparsity; ``leaks`` of its pruned weights are not zero."""
    parameters = weights(3)
    mask = mask_of(sparsity) if sparsity else None
    for name, keep in (mask or {}).items():
        parameters[name][~keep] = 0
    if leaks:
        pruned = (~mask["encoder.layers.0.fc1.weight"]).nonzero()[:leaks]
        for row, column in pruned:
            parameters["encoder.layers.0.fc1.weight"][row, column] = 1e-30
    lottery = {
        "mask": mask_to_state(mask) if mask else None,
        "dictionaries": DICTIONARIES.to_tensors(),
        "ticket": {"denominator": PRUNABLE, "signature": SIGNATURE} if mask else None,
    }
    save_checkpoint(path, parameters, 980, task_state={"lottery": lottery}, **changes)
    return path


# --- which translations are scored ---


def test_translations_in_the_order_of_the_references(tmp_path):
    texts = sentences(50)
    found, sources = read_translations(translations(tmp_path / "g", texts), texts)
    assert found == texts
    assert sources == [f"source {n}" for n in range(50)]


def test_what_fairseq_detokenised_is_preferred(tmp_path):
    texts = ["ein Satz.", "noch einer!"]
    path = translations(tmp_path / "g", texts)
    path.write_text(path.read_text().replace("H-0\t-0.5\tein Satz.", "H-0\t-0.5\tein Satz ."))
    assert read_translations(path, texts)[0] == texts
    plain = translations(tmp_path / "h", texts, kinds="STH")
    assert read_translations(plain, texts)[0] == texts


def test_an_empty_translation_and_tabs(tmp_path):
    hypotheses, texts = ["", "a\tb"], ["ein Satz", "zwei"]
    path = translations(tmp_path / "g", hypotheses, targets=texts)
    assert read_translations(path, texts)[0] == hypotheses


def test_separators_inside_a_sentence_end_no_line(tmp_path):
    texts = ["ein\u2028Satz", "noch\x85einer", "und\x0bnoch\x1ceiner", "Ende"]
    references = tmp_path / "test.de"
    references.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    path = translations(tmp_path / "g", texts)
    assert read_translations(path, texts)[0] == texts
    run(tmp_path, path, references, model(tmp_path / "m.pt", 0.0), 0.0)
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert {row["sentences"] for row in rows} == {4}


def refused(path, references):
    with pytest.raises(LotteryError) as refusal:
        read_translations(path, references)
    return str(refusal.value).replace(str(path), "FILE")


def test_1008_of_1014_sentences(tmp_path):
    """fairseq drops what does not fill a multiple of eight sentences."""
    texts = sentences(1014)
    path = translations(tmp_path / "g", texts[:1008])
    assert refused(path, texts).startswith(
        "FILE has 1008 translations for 1014 references (sentence 1008 is missing); "
    )


def test_a_sentence_that_is_missing_in_between(tmp_path):
    texts = sentences(20)
    path = translations(tmp_path / "g", texts, order=[n for n in range(20) if n != 7])
    assert "19 translations for 20 references (sentence 7 is missing)" in refused(path, texts)


def test_more_translations_than_references(tmp_path):
    texts = sentences(20)
    path = translations(tmp_path / "g", texts)
    assert "has 20 translations for 19 references; " in refused(path, texts[:19])


def test_doubled_translations(tmp_path):
    texts = sentences(20)
    path = translations(tmp_path / "g", texts)
    path.write_text(path.read_text() * 2)
    assert refused(path, texts).startswith("FILE translates sentence ")
    one = translations(tmp_path / "h", texts, kinds="STH")
    one.write_text(one.read_text() + "H-3\t-0.5\tund noch einmal\n")
    assert refused(one, texts) == f"{one} translates sentence 3 twice; delete it".replace(
        str(one), "FILE"
    )


@pytest.mark.parametrize(
    "line",
    ["D-3\t-0.5\tund noch einmal", "S-3\tsource 3", "T-3\tx", "P-3\t-0.1"],
)
def test_any_line_of_a_sentence_that_is_there_again(tmp_path, line):
    texts = sentences(5)
    path = translations(tmp_path / "g", texts)
    path.write_text(path.read_text() + line + "\n")
    assert refused(path, texts) == "FILE translates sentence 3 twice; delete it"


@pytest.mark.parametrize("kinds", ["STHD", "STH"])
def test_a_translation_that_is_cut(tmp_path, kinds):
    """Its sentence is there and looks like any other; what stands behind it is not."""
    texts = sentences(5)
    path = translations(tmp_path / "g", texts, kinds=kinds, order=[3, 0, 1, 4, 2])
    whole = path.read_text()
    for end in (f"{kinds[-1]}-2\t-0.5\t{texts[2][:9]}", f"{kinds[-1]}-2\t-0.5\t{texts[2]}\n"):
        path.write_text(whole[: whole.index(end) + len(end)])
        assert refused(path, texts) == (
            "FILE is truncated in sentence 2; delete it and translate again"
        )


def test_references_in_another_order(tmp_path):
    texts = sentences(20)
    path = translations(tmp_path / "g", texts)
    said = refused(path, texts[::-1])
    assert said.startswith("FILE and the references do not match line by line: sentence 0 is ")
    assert f"is {texts[0]!r}, but its reference is {texts[19]!r}; give the raw text" in said
    assert "line by line: sentence 0 " in refused(path, [*texts[1:], texts[0]])


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda texts: [*texts[:15], *texts[16:], "und noch einer."], 16),  # 15 was lost
        (lambda texts: [*texts[:16], texts[15], *texts[16:19]], 16),  # one is there twice
        (lambda texts: [*texts[:18], texts[19], texts[18]], 18),  # two have changed places
    ],
    ids=["lost", "doubled", "moved"],
)
def test_references_that_are_right_for_most_sentences(tmp_path, change, number):
    texts = sentences(20)
    path = translations(tmp_path / "g", texts)
    assert len(change(texts)) == 20
    assert refused(path, change(texts)).startswith(
        f"FILE and the references do not match line by line: sentence {number} is {texts[number]!r}"
    )


def test_a_sentence_that_is_normalised_into_another_one(tmp_path):
    """Its own reference differs, and the other one stands where it belongs."""
    texts = ["“Ja.”", "Nein.", '"Ja."', "Ende."]
    path = translations(tmp_path / "g", texts, targets=['"Ja."', "Nein.", '"Ja."', "Ende."])
    assert read_translations(path, texts)[0] == texts


def test_references_that_are_empty(tmp_path):
    path = translations(tmp_path / "g", [])
    assert refused(path, []) == "the references for FILE are empty; give those of the test set"


def test_references_of_another_text(tmp_path):
    path = translations(tmp_path / "g", sentences(20, seed=1))
    assert "do not match line by line" in refused(path, sentences(20, seed=2))


def test_some_sentences_are_in_every_text(tmp_path):
    """Normalised quotes make some targets differ; a few equal sentences make no equal text."""
    texts, others = sentences(20, seed=1), sentences(20, seed=2)
    path = translations(tmp_path / "g", texts)
    assert "do not match line by line" in refused(path, texts[:9] + others[9:])
    assert read_translations(path, texts[:10] + others[10:])[0] == texts


def test_translations_may_be_as_bad_as_they_like(tmp_path):
    texts = sentences(20)
    path = translations(tmp_path / "g", ["?"] * 20, targets=texts)
    assert read_translations(path, texts)[0] == ["?"] * 20


CHANGES = {
    "lowercased": str.lower,
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "ascii": lambda text: unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode(),
    "quotes": lambda text: text.translate(str.maketrans("“”—", '""-')),
    "moses": lambda text: re.sub(r"(\W)", r" \1 ", text).replace("-", "@-@").replace("'", "&apos;"),
    "pieces": lambda text: "▁" + text.replace(" ", " ▁"),
    "unknown": lambda text: re.sub(r"\w*[aeiou]r\w*", "<<unk>>", text),
}


@pytest.mark.parametrize("change", CHANGES)
def test_targets_in_another_form(tmp_path, change):
    """Every reference differs from its target, and a moved line is found all the same."""
    texts = [f"“ﬁx” — é's {text} Ａ{n}" for n, text in enumerate(sentences(40))]
    path = translations(tmp_path / "g", texts, targets=[CHANGES[change](text) for text in texts])
    assert read_translations(path, texts)[0] == texts
    lost = [*texts[:30], *texts[31:], "Ende."]
    said = refused(path, lost)
    assert re.match(r"FILE and the references do not match line by line: sentence 3\d is ", said)


def test_unknown_words_and_tokens_are_no_other_text(tmp_path):
    texts = ["Ein Zug fährt.", "Er sagt: 'Es ist so-und-so.'", "Ja & nein.", "Ende."]
    targets = ["Ein <<unk>> fährt .", "Er sagt : &apos; Es ist so @-@ und @-@ so . &apos;",
               "Ja &amp; nein .", "Ende ."]  # fmt: skip
    path = translations(tmp_path / "g", texts, targets=targets)
    assert read_translations(path, texts)[0] == texts
    unknown = translations(tmp_path / "h", texts, targets=["<<unk>>"] * 4)
    assert read_translations(unknown, texts)[0] == texts


# --- scores ---


def test_perfect_translations():
    texts = sentences(30)
    rows = scores(texts, texts, ["BLEU", "chrF", "TER"])
    assert [(row["metric"], round(row["score"], 6)) for row in rows] == [
        ("BLEU", 100.0), ("chrF", 100.0), ("TER", 0.0)
    ]  # fmt: skip
    assert rows[0]["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_one_wrong_word_of_ten():
    rows = scores(["a b c d e f g h i x"], ["a b c d e f g h i j"], ["TER", "BLEU"])
    assert rows[0]["score"] == pytest.approx(10.0)
    # 9 of 10, 8 of 9, 7 of 8, 6 of 7 n-grams
    assert rows[1]["score"] == pytest.approx(100 * (0.9 * 8 / 9 * 7 / 8 * 6 / 7) ** 0.25)


def test_a_score_of_the_users_own(tmp_path):
    (tmp_path / "h").write_text("a b\nc\n")
    places = {"hypotheses": f"{tmp_path}/h", "references": "r", "sources": "s"}
    row = extra_score("words", "echo 12 of 3 && wc -w <{hypotheses}", places)
    assert row == {
        "metric": "words", "score": 3.0, "signature": "echo 12 of 3 && wc -w <{hypotheses}"
    }  # fmt: skip
    for said in ("score = -1.5e-2", "COMET:-0.015", "score=-.015 -0.015"):
        assert extra_score("x", f"echo '{said}'", places)["score"] == -0.015


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo no number",
         "score_command own ended with exit code 0 and no number at the end: no number"),
        ("echo 'score: 0.83 (n=1000)'",
         "score_command own ended with exit code 0 and no number at the end: score: 0.83 (n=1000)"),
        ("echo COMET-22",
         "score_command own ended with exit code 0 and no number at the end: COMET-22"),
        ("echo 5; echo it broke >&2; exit 3",
         "score_command own ended with exit code 3 and a number at the end: it broke"),
    ],
)  # fmt: skip
def test_a_score_that_fails(command, message):
    with pytest.raises(LotteryError) as refusal:
        extra_score("own", command, {})
    assert str(refusal.value) == message


# --- the model behind them ---


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_what_a_model_has_lost_is_counted_in_it(tmp_path, sparsity):
    found = measure(model(tmp_path / "m.pt", sparsity), sparsity)
    mask = mask_of(sparsity)
    assert (found.update, found.prunable, found.denominator) == (980, PRUNABLE, "all-matrices")
    assert found.pruned == mask.pruned
    assert abs(found.pruned - sparsity * PRUNABLE) <= 0.5 * MATRICES
    assert len(found.matrices) == MATRICES
    assert found.matrices["encoder.layers.0.fc1.weight"] == pytest.approx(1 - sparsity, abs=0.03)
    assert found.signature == (SIGNATURE if sparsity else None)


@pytest.mark.parametrize(("has", "row"), [(0.5, 0.9), (0.5, 0.6), (0.5, 0.0), (0.0, 0.5)])
def test_a_model_of_another_sparsity(tmp_path, has, row):
    path = model(tmp_path / "m.pt", has)
    with pytest.raises(LotteryError) as refusal:
        measure(path, row)
    lost = mask_of(has).pruned
    assert str(refusal.value).startswith(
        f"sparsity of {path} is {lost / PRUNABLE:.4f} ({lost} of {PRUNABLE}), expected {row:g}; "
    )


def test_a_single_weight_that_leaks(tmp_path):
    path = model(tmp_path / "m.pt", 0.5, leaks=1)
    with pytest.raises(LotteryError) as refusal:
        measure(path, 0.5)
    assert str(refusal.value).startswith(f"{path}: encoder.layers.0.fc1.weight has nonzero weights")


CLOSED = {
    "heads": {"encoder.layers.0.self_attn": [1], "decoder.layers.1.encoder_attn": [0, 1]},
    "blocks": {"decoder.layers.0": [0]},
}


def closed_model(folder, extra=0, leaks=0, half=False):
    """A model whose mask is what ``CLOSED`` closes, and ``extra`` weights more; and the choice.

    With ``half`` every second weight that it leaves open in a matrix has gone besides.

    Two heads in each of 6 attentions, 6 units in each of 4 FFNs.
    """
    heads = [n.removesuffix(".out_proj.weight") for n in SHAPES if n.endswith("out_proj.weight")]
    layers = [name.removesuffix(".fc1.weight") for name in SHAPES if name.endswith("fc1.weight")]
    parts = ComponentMask(Anatomy(dict.fromkeys(heads, 2), dict.fromkeys(layers, 6)), CLOSED)
    save_choice(folder / "parts.json", parts, {})
    entries, parameters = dict(full_mask()), weights(3)
    for name, keep in weight_masks(parts, SHAPES).items():
        entries[name] = entries[name] & keep
    for name, keep in entries.items() if half else ():
        free = torch.ones_like(keep)
        if name in full_mask().protected:
            free[full_mask().protected[name]] = False
        entries[name] = keep.clone()
        entries[name].view(-1)[(keep & free).flatten().nonzero().flatten()[::2]] = False
    entries["encoder.layers.1.fc1.weight"].view(-1)[:extra] = False
    for name, keep in entries.items():
        parameters[name][~keep] = 0
    parameters["decoder.layers.0.fc2.weight"].view(-1)[:leaks] = 1e-30
    lottery = {"mask": mask_to_state(Mask(entries, full_mask().protected)),
               "dictionaries": DICTIONARIES.to_tensors()}  # fmt: skip
    save_checkpoint(folder / "m.pt", parameters, 30, task_state={"lottery": lottery})
    return folder / "m.pt", str(folder / "parts.json")


@pytest.mark.parametrize(
    ("kind", "closed", "of"), [("heads", 3, 12), ("blocks", 1, 4), ("units", 0, 24)]
)
def test_closed_parts_are_counted_by_kind(tmp_path, kind, closed, of):
    path, parts = closed_model(tmp_path)
    found = measure(path, 0.0, parts, kind, closed / of)
    assert (found.pruned, found.prunable, found.denominator) == (closed, of, kind)
    assert found.closed == {"heads": 3 / 12, "units": 0.0, "blocks": 1 / 4}
    assert found.matrices["decoder.layers.1.encoder_attn.out_proj.weight"] == 0
    assert found.matrices["encoder.layers.0.self_attn.q_proj.weight"] == 0.5


def test_closed_parts_in_a_model_that_is_pruned_besides(tmp_path):
    """Half of the weights that are left open, as the row says; parts are what is counted."""
    path, parts = closed_model(tmp_path, half=True)
    found = measure(path, 0.5, parts, "heads")
    assert (found.pruned, found.prunable, found.denominator) == (3, 12, "heads")
    for sparsity in (0.4, 0.0):
        with pytest.raises(LotteryError, match="sparsity of 0.4|pruned weights of"):
            measure(path, sparsity, parts, "heads")
    (tmp_path / "whole").mkdir()
    path, parts = closed_model(tmp_path / "whole")
    with pytest.raises(LotteryError) as refusal:
        measure(path, 0.5, parts, "heads")
    assert re.fullmatch(
        rf"{path} prunes 0 of \d+ weights in components that {parts} keeps, expected a sparsity of"
        " 0.5; train again", str(refusal.value),
    )  # fmt: skip


def test_a_choice_of_another_share_than_its_row(tmp_path):
    path, parts = closed_model(tmp_path)
    with pytest.raises(LotteryError) as refusal:
        measure(path, 0.0, parts, "heads", 0.5)
    assert str(refusal.value) == f"{parts} prunes 3 of 12 heads, expected a share of 0.5; delete it"


def test_a_model_that_was_closed_without_a_mask(tmp_path):
    path, parts = closed_model(tmp_path)
    plain = tmp_path / "plain.pt"
    torch.save({**read_checkpoint(path), "task_state": {}}, plain)
    found = measure(plain, 0.0, parts, "heads")
    assert (found.pruned, found.prunable) == (3, 12)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leaks": 1}, "decoder.layers.0.fc2.weight has nonzero weights that its mask prunes"),
        ({"extra": 1}, "1 pruned weights of encoder.layers.1.fc1.weight are in"),
    ],
)
def test_a_model_that_is_not_what_its_choice_says(tmp_path, changes, said):
    path, parts = closed_model(tmp_path, **changes)
    with pytest.raises(LotteryError) as refusal:
        measure(path, 0.0, parts, "heads")
    assert str(refusal.value).startswith(f"{path}: {said}")


def test_a_model_that_is_not_closed(tmp_path):
    _, parts = closed_model(tmp_path)
    path = model(tmp_path / "dense.pt", 0.0)
    with pytest.raises(LotteryError) as refusal:
        measure(path, 0.0, parts, "heads")
    said = f"has nonzero weights that {parts} prunes; train again"
    assert str(refusal.value) == f"{path}: encoder.layers.0.self_attn.q_proj.weight {said}"


def searched(path, unread=True):
    """A model at 50 % with a head whose queries and keys are gone.

    With ``unread`` nothing reads one FFN block, and another head, any more.
    """
    entries = {name: keep.clone() for name, keep in mask_of(0.5).items()}
    for name in ("q_proj", "k_proj"):
        keep = entries[f"encoder.layers.1.self_attn.{name}.weight"]
        keep[: len(keep) // 2] = False
    if unread:
        entries["decoder.layers.0.fc2.weight"][:] = False
        out = entries["encoder.layers.0.self_attn.out_proj.weight"]
        out[:, : out.shape[1] // 2] = False
    mask, parameters = Mask(entries, mask_of(0.5).protected), weights(3)
    for name, keep in mask.items():
        parameters[name][~keep] = 0
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    lottery = {"mask": mask_to_state(mask), "dictionaries": DICTIONARIES.to_tensors()}
    cfg = {"model": {"arch": "transformer", **heads}, "task": {}}
    save_checkpoint(path, parameters, 980, task_state={"lottery": lottery}, cfg=cfg)
    return path, mask


def test_weights_that_a_search_has_pruned_are_counted(tmp_path):
    """Under the mask of a training that went on, and in a model that has none of its own."""
    found, mask = searched(tmp_path / "found.pt")
    plain = tmp_path / "plain.pt"
    torch.save({**read_checkpoint(found), "task_state": {}}, plain)
    for path in (found, plain):
        counted = measure(path, 0.0, str(found), "weights")
        assert (counted.pruned, counted.prunable) == (mask.pruned, PRUNABLE)
        assert counted.denominator == "all-matrices"
        assert counted.closed == {
            "heads": 1 / 12, "units": 0.0, "blocks": 1 / 4, "weights": mask.sparsity,
        }  # fmt: skip
        assert counted.matrices["encoder.layers.0.fc1.weight"] == 0.5
    found, mask = searched(tmp_path / "other.pt", unread=False)
    counted = measure(found, 0.0, str(found), "weights")
    assert (counted.closed["heads"], counted.closed["blocks"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("sparsity", "said"),
    [
        (0.0, "layers.0.encoder_attn.k_proj.weight has nonzero weights that {found} prunes"),
        (0.9, "does not match {found}; train again"),
    ],
)
def test_a_model_that_has_another_mask_than_the_search(tmp_path, sparsity, said):
    found = model(tmp_path / "found.pt", 0.5)
    path = model(tmp_path / "m.pt", sparsity)
    with pytest.raises(LotteryError, match=re.escape(said.format(found=found))):
        measure(path, 0.0, str(found), "weights")


def test_the_best_and_the_last_model(tmp_path):
    for name, update in (("best", 500), ("last", 1000)):
        save_checkpoint(
            tmp_path / f"checkpoint_{name}.pt", weights(update), update,
            last_optimizer_state={"state": torch.ones(1000)},
        )  # fmt: skip
    for name, update in (("best", 500), ("last", 1000)):
        path = choose(tmp_path, name)
        state = read_checkpoint(path)
        assert path == tmp_path / f"{name}.pt"
        assert state["last_optimizer_state"] is None
        assert state["optimizer_history"][-1]["num_updates"] == update
        assert path.stat().st_size < (tmp_path / f"checkpoint_{name}.pt").stat().st_size
        assert measure(path, 0.0).update == update


def test_the_mean_of_the_last_models(tmp_path):
    for epoch in (1, 2, 3, 10):
        save_checkpoint(
            tmp_path / f"checkpoint{epoch}.pt", weights(epoch), 10 * epoch
        )  # fmt: skip
    path = choose(tmp_path, "average:2")
    assert path == tmp_path / "average2.pt"
    found = read_checkpoint(path)["model"]["encoder.layers.0.fc1.weight"]
    name = "encoder.layers.0.fc1.weight"
    assert torch.allclose(found, (weights(3)[name] + weights(10)[name]) / 2)
    assert measure(path, 0.0).update == 100


def test_a_model_elsewhere(tmp_path):
    save_checkpoint(tmp_path / "checkpoint_last.pt", weights(1))
    (tmp_path / "out").mkdir()
    assert choose(tmp_path, "last", tmp_path / "out") == tmp_path / "out" / "last.pt"


def test_there_is_no_best_model(tmp_path):
    with pytest.raises(LotteryError, match="has no checkpoint_best.pt; .*--validate-interval"):
        choose(tmp_path, "best")
    with pytest.raises(LotteryError, match="has no checkpoint_last.pt$"):
        choose(tmp_path, "last")


# --- all of it ---


def run(folder, path, references, checkpoint, sparsity, *more):
    main(
        ["--translations", str(path), "--references", str(references), "--model", str(checkpoint),
         "--sparsity", str(sparsity), "--out", str(folder), "--metrics", "BLEU", "TER", *more]
    )  # fmt: skip


def test_rows_for_the_records(tmp_path, capsys):
    texts = sentences(30)
    (tmp_path / "test.de").write_text("".join(f"{text}\n" for text in texts))
    checkpoint = model(tmp_path / "best.pt", 0.5)
    path = translations(tmp_path / "g", texts)
    run(tmp_path, path, tmp_path / "test.de", checkpoint, 0.5,
        "--score-command", "words", "wc -w <{sources}")  # fmt: skip
    assert (tmp_path / "hypotheses.txt").read_text().splitlines() == texts
    assert (tmp_path / "sources.txt").read_text().splitlines()[3] == "source 3"
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [(row["metric"], round(row["score"], 6)) for row in rows] == [
        ("BLEU", 100.0), ("TER", 0.0), ("words", 60.0)
    ]  # fmt: skip
    for row in rows:
        assert {key: row[key] for key in row if key not in ("metric", "score", "signature")} == {
            "sentences": 30,
            "update": 980,
            "pruned": mask_of(0.5).pruned,
            "prunable": PRUNABLE,
            "denominator": "all-matrices",
            "signature_of_ticket": SIGNATURE,
        }
    assert capsys.readouterr().out.startswith("BLEU 100.00 nrefs:1|case:mixed")


def test_what_is_refused_leaves_nothing(tmp_path):
    texts = sentences(10)
    (tmp_path / "test.de").write_text("".join(f"{text}\n" for text in texts))
    path = translations(tmp_path / "g", texts)
    checkpoint = model(tmp_path / "best.pt", 0.5)
    with pytest.raises(LotteryError, match="expected 0.9; "):
        run(tmp_path, path, tmp_path / "test.de", checkpoint, 0.9)
    with pytest.raises(LotteryError, match="^the references .*none.de cannot be read: "):
        run(tmp_path, path, tmp_path / "none.de", checkpoint, 0.5)
    with pytest.raises(LotteryError, match="score_command words ended with exit code 1"):
        run(tmp_path, path, tmp_path / "test.de", checkpoint, 0.5, "--score-command", "words",
            "exit 1")  # fmt: skip
    assert not (tmp_path / "scores.jsonl").exists()

"""Sentences that heads and FFN units are measured on: all of them, and what is a match."""

from types import SimpleNamespace

import pytest
import torch
from toy import call

pytest.importorskip("fairseq")

from matrix.training import Training, configuration, in_this_process

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures import loaded_heads, loaded_measures
from fairseq_lottery.inference import loaded_model
from fairseq_lottery.inference.sentences import sentences_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(dense):
    return loaded_heads.load_heads(dense / "checkpoint_last.pt")


def test_an_unknown_word_is_matched_by_nothing(made, monkeypatch):
    """BLEU of a model that says <unk> five times: 0 against unknown words, 100 against itself."""
    said = SimpleNamespace(tokens=["<unk>"] * 5)
    translate = "translate_with_fairseq"
    monkeypatch.setattr(
        loaded_measures, translate, lambda m, s, t, given, tokens: [said] * len(given)
    )
    judged = loaded_measures.Evaluator(made, loaded_measures.Sample(), "bleu")
    target = made.evaluation.dictionaries["target"]
    for word, expected in ((target.unk(), 0), (target.index("w7"), 100)):
        sentence = torch.tensor([word] * 5 + [target.eos()])
        judged.examples = [{"source": sentence, "target": sentence}] * 4
        said.tokens = [target[word]] * 5
        assert judged(ComponentMask(made.anatomy, {})) == pytest.approx(expected)


def test_sentences_that_the_model_is_too_short_for_are_left_out(toy, dense, caplog):
    """fairseq-train leaves them out of its training set, and counts them."""
    lines = {"en": ["w1"] * 1024, "de": ["w1"] * 9}  # 1,025 with </s>, the model takes 1,024
    symbols = [toy.data / "dict.en.txt", "--tgtdict", toy.data / "dict.de.txt"]
    for subset, others in (("valid", 6), ("test", 0)):
        for language, long in lines.items():
            text = "w2 w3\n" * others + " ".join(long) + "\n"
            toy.path(f"{subset}.{language}").write_text(text)
    call(
        "fairseq_cli.preprocess",
        ["-s", "en", "-t", "de", "--validpref", toy.path("valid"), "--testpref",
         toy.path("test"), "--srcdict", *symbols, "--destdir", toy.path("bin")],
        toy.folder,
    ).ok()  # fmt: skip
    made = loaded_heads.load_heads(dense / "checkpoint_last.pt", str(toy.path("bin")))
    found = loaded_model.examples(made, "valid", None)
    assert [len(found[k]["source"]) for k in range(len(found))] == [3] * 6
    assert "1 of 7 examples of valid" in caplog.text and "1024 source" in caplog.text
    assert len(loaded_model.examples(made, "valid", 4)) == 4
    with pytest.raises(LotteryError, match="every example of test in "):
        loaded_model.examples(made, "test", None)


def test_both_orders_of_the_languages_are_looked_for(toy_data, tmp_path):
    """The model translates from German, and the files are called en-de."""
    flags = ("--max-update", 1, "-s", "de", "-t", "en")
    with in_this_process():
        Training(configuration(toy_data, tmp_path / "run", *flags)).run(1).save()
    made = loaded_heads.load_heads(tmp_path / "run" / "checkpoint_last.pt")
    found = loaded_model.examples(made, "valid", None)
    first = (toy_data.parent / "valid.de").read_text().splitlines()
    source = made.evaluation.dictionaries["source"]
    assert [source.string(found[k]["source"]) for k in range(len(found))] == first
    some = sentences_of(made.evaluation.text, None, 1024)
    assert [" ".join(sentence) for sentence in some] == first


def test_too_small_batches_are_refused(dense, tmp_path, capsys):
    """The longest sentence of the toy has nine words and </s>."""
    words = ["heads", "importance", dense / "checkpoint_last.pt", "--out", tmp_path / "x.json"]
    assert main([str(word) for word in [*words, "--max-tokens", 3]]) == 2
    assert capsys.readouterr().err == (
        "fairseq-lottery: --max-tokens 3 is less than the 10 tokens of the longest example; give"
        " at least 10\n"
    )
    assert main([str(word) for word in [*words, "--max-tokens", 10]]) == 0


@pytest.mark.parametrize("measure", ["loss", "gradient", "confidence", "attention"])
@pytest.mark.parametrize("lost", [True, False])
def test_every_sentence_is_counted(made, monkeypatch, measure, lost):
    """fairseq's batches without their last one, or with their first one twice."""
    plain = loaded_model.batch_by_size

    def others(*given, **named):
        found = plain(*given, **named)
        return found[:-1] if lost else [*found, found[0]]

    monkeypatch.setattr(loaded_model, "batch_by_size", others)
    sample = loaded_measures.Sample(tokens=100)
    with pytest.raises(LotteryError, match=r"put \d\d of 51 examples into batches"):
        if measure == "loss":
            loaded_measures.Evaluator(made, sample)(ComponentMask(made.anatomy, {}))
        elif measure == "attention":
            loaded_measures.measure_changes(made, made, sample, measure, "sentence")
        else:
            loaded_measures.measure_importance(made, sample, measure)

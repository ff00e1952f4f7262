"""Sentences with language tokens: as fairseq's own tasks make them, and their translations."""

import re

import pytest
import toy
from languages import Runs, Tuning

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError

pytest.importorskip("fairseq")

import torch
from fairseq import checkpoint_utils, tasks

import fairseq_lottery.plugin  # noqa: F401 - it registers our tasks
from fairseq_lottery.inference.beam_search import translate_with_fairseq
from fairseq_lottery.inference.loaded_model import batches, examples, load_for_evaluation

pytestmark = pytest.mark.slow

LAST = "checkpoint_last.pt"
WAYS = {
    "target": [],
    "mbart-style": ["--lang-tok-style", "mbart"],
    "source": ["--langtoks", '{"main": ("src", None)}'],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("tokens"))
    for name, flags in WAYS.items():
        runs.train(name, 12, *flags).ok()
    return runs


@pytest.fixture(scope="module")
def tuning(tmp_path_factory):
    tuning = Tuning(tmp_path_factory.mktemp("mbart"))
    tuning.train("mbart", 12).ok()
    return tuning


@pytest.fixture(scope="module")
def trained(runs, tuning):
    """Name of a training -> runs with it."""
    return {**dict.fromkeys(WAYS, runs), "mbart": tuning}


def of_fairseq(path):
    """The validation set as the task of a checkpoint makes it."""
    task = tasks.setup_task(checkpoint_utils.load_checkpoint_to_cpu(path)["cfg"].task)
    task.load_dataset("valid", combine=False)
    return task, task.dataset("valid")


@pytest.mark.parametrize("way", [*WAYS, "mbart"])
def test_examples_and_batches_are_those_of_fairseq(trained, way):
    path = trained[way].path(way, LAST)
    loaded = load_for_evaluation(path, cpu=True)
    _, expected = of_fairseq(path)
    selected = examples(loaded, "valid", None)
    assert len(selected) == len(expected) == (21 if way == "mbart" else 4 * 21)
    for number in range(len(expected)):
        ours, theirs = selected.dataset[number], expected[number]
        assert ours["source"].tolist() == theirs["source"].tolist()
        assert ours["target"].tolist() == theirs["target"].tolist()
    batch = selected.dataset.collater([selected.dataset[n] for n in range(7)])
    theirs = expected.collater([expected[n] for n in range(7)])
    assert toy.same(batch["net_input"], theirs["net_input"])
    assert torch.equal(batch["target"], theirs["target"])


@pytest.mark.parametrize("way", ["target", "mbart"])
def test_the_loss_of_a_pair_and_of_all(trained, way):
    """The loss of all pairs is the sum over single pairs; fairseq-validate prints the same."""
    path = trained[way].path(way, LAST)
    loaded = load_for_evaluation(path, cpu=True)
    pairs = [] if way == "mbart" else ["en-de", "en-fr", "de-en", "fr-en"]
    totals = {}
    for subset in ["valid", *(f"valid.{pair}" for pair in pairs)]:
        total = count = 0
        for batch in batches(examples(loaded, subset, None), 1000, loaded.device):
            with torch.no_grad():
                loss, tokens, _ = loaded.evaluation.loss(loaded.model, batch)
            total, count = total + float(loss), count + tokens
        totals[subset] = total, count
    whole, *parts = totals.values()
    if parts:
        assert sum(count for _, count in parts) == whole[1]
        assert sum(total for total, _ in parts) == pytest.approx(whole[0], rel=1e-5)
        assert len({count for _, count in parts}) > 1
    runs = trained[way]
    flags = [runs.folder / "bin", *runs.task, "--user-dir", toy.PACKAGE, "--path", path]
    flags += ["-s", "en", "-t", "de"] if way == "mbart" else []
    done = toy.call("fairseq_cli.validate", [*flags, "--batch-size", 50], runs.folder).ok()
    printed = float(re.findall(r"nll_loss ([\d.]+)", done.out)[-1])
    assert printed == pytest.approx(whole[0] / whole[1] / 0.693147, abs=1e-3)


@pytest.mark.parametrize(("way", "pair"), [("target", "de-en"), ("source", "en-fr"), ("mbart", "")])
def test_translations_are_those_of_fairseq_generate(trained, way, pair):
    """Also their scores, in which a weak model's translations differ."""
    runs = trained[way]
    loaded = load_for_evaluation(runs.path(way, LAST), cpu=True)
    subset = f"test.{pair}" if pair else "test"
    added = loaded.evaluation.tokens_of(subset)
    selected = examples(loaded, subset, None)
    source, target = loaded.evaluation.dictionaries.values()
    sentences = [[source[k] for k in selected[n]["source"].tolist()[:-1]] for n in range(20)]
    ours = translate_with_fairseq(loaded.model, source, target, sentences, tokens=added)
    flags = ["--beam", 5, "--min-len", 1, "--max-len-b", 200, *WAYS.get(way, [])]
    done = runs.translate(pair or "en-de", f"{way}/{LAST}", *flags).ok()
    printed = dict(re.findall(r"^P-(\d+)\t(.*)$", done.out, re.M))
    assert len(printed) == 20
    for number, translation in enumerate(ours):
        scores = [float(score) for score in printed[str(number)].split()]
        scores = scores[1:] if "target" in added.before and not added.after else scores
        assert scores == pytest.approx([p / 0.693147 for p in translation.log_probs], abs=2e-4)


def test_heads_are_measured_on_a_pair(runs, tuning, capsys):
    path, out = runs.path("target", LAST), runs.path("heads.json")
    line = ["heads", "importance", path, "--subset", "valid.en-fr", "--cpu"]
    assert main([*line, "--out", out]) == 0
    line = ["heads", "ablate", path, "--metric", "bleu", "--sentences", "3", "--cpu"]
    assert main([*line, "--subset", "valid.en-fr", "--out", runs.path("bleu.json")]) == 0
    capsys.readouterr()
    assert main([*line, "--out", runs.path("no.json")]) == 2
    assert "translates one pair of languages; give --subset valid.en-de" in capsys.readouterr().err
    line = ["heads", "ablate", tuning.path("mbart", LAST), "--metric", "bleu", "--sentences", "3"]
    assert main([*line, "--cpu", "--out", runs.path("mbart.json")]) == 0


def test_refusals(runs, capsys, tmp_path):
    path = runs.path("target", LAST)
    assert main(["export", path, "--to", "ctranslate2", "--out", str(tmp_path / "c")]) == 2
    assert "does not support the language tokens" in capsys.readouterr().err
    loaded = load_for_evaluation(path, cpu=True)
    with pytest.raises(LotteryError, match="has no pairs of sentences in en-de or en-fr or de-en"):
        examples(loaded, "valid.de-fr", None)
    line = ["--mask-from", path, "--start-from", path, "--sparsity", "0.5"]
    assert main(["ticket", *line, "--out", str(tmp_path / "t.safetensors")]) == 0
    with pytest.raises(
        LotteryError, match="is a ticket without settings of the task translation_m"
    ):
        load_for_evaluation(tmp_path / "t.safetensors", data=runs.path("bin"), cpu=True)


def test_tokens_that_replace_the_end_are_refused(runs):
    """fairseq itself trains and translates with them."""
    flags = ["--lang-tok-replacing-bos-eos"]
    runs.train("replacing", 3, *flags).ok()
    assert len(toy.hypotheses(runs.translate("en-de", f"replacing/{LAST}", *flags).ok())) == 20
    with pytest.raises(
        LotteryError, match="--lang-tok-replacing-bos-eos is supported by fairseq's"
    ):
        load_for_evaluation(runs.path("replacing", LAST), cpu=True)

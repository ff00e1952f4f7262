"""``evaluate``: scores of classifiers, and losses, against fairseq's own and scikit-learn's."""

import json
import math
import re
import shutil

import pytest
import torch
import toy
from labelled import KINDS, SIZES, USER_DIR, Runs, head_of
from small import load

from fairseq_lottery.cli.main import main

pytest.importorskip("fairseq")
pytest.importorskip("sklearn")

from scipy import stats
from sklearn import metrics

pytestmark = pytest.mark.slow

#: the log of fairseq shows six digits
SHOWN = {"rel": 1e-5}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A model of each kind, and the last validation of its training as metric -> number."""
    runs = Runs(tmp_path_factory.mktemp("evaluate"))
    runs.logged = {}
    for kind, flags in {"two": [], "three": [], "rated": [], "text": ["--seed", 1]}.items():
        updates = 34 if kind == "two" else 60  # more give perfect scores
        log = runs.train(kind, kind + "-run", *flags, "--lr", 5e-3, updates=updates).ok().out
        line = re.findall(r"valid on 'valid' subset (.*)", log)[-1]
        runs.logged[kind] = {n: float(x) for n, x in re.findall(r"\| (\w+) ([-\d.e]+)", line)}
    return runs


def evaluate(runs, *words):
    """Rows of the command's file."""
    out = runs.folder / "rows.jsonl"
    assert main(["evaluate", *map(str, words), "--out", str(out), "--overwrite"]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def last(runs, kind):
    return runs.path(f"{kind}-run/checkpoint_last.pt")


def predictions(runs, kind, split):
    """Predictions and labels by fairseq's model and one example at a time, without our code."""
    from argparse import Namespace

    from fairseq.models.roberta import RobertaModel
    from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

    state = runs.load(f"{kind}-run")
    task = MaskedLMTask.setup_task(MaskedLMConfig(data=runs.path("text")))
    model = RobertaModel.build_model(Namespace(**vars(state["cfg"]["model"])), task)
    classes = int(KINDS[kind][1])
    model.register_classification_head("sentence_classification_head", num_classes=classes)
    model.load_state_dict(state["model"])
    model.eval()
    data, found, true = runs.folder / kind, [], []
    texts = [(data / f"{split}.{part}") for part in ("input0", "input1")]
    texts = [path.read_text().splitlines() for path in texts if path.exists()]
    place = data / f"label/{split}.label" if kind == "rated" else data / f"{split}.label"
    names = []
    if kind != "rated":
        names = [line.split()[0] for line in (data / "label/dict.txt").read_text().splitlines()]
    for words, label in zip(zip(*texts), place.read_text().splitlines()):
        line = "<s> " + " </s> </s> ".join(words) + " </s>"
        tokens = task.dictionary.encode_line(line, append_eos=False, add_if_not_exist=False)
        with torch.no_grad():
            logits = model(
                tokens.long()[None], classification_head_name="sentence_classification_head"
            )[0][0]
        found.append(float(logits) if kind == "rated" else names[int(logits.argmax())])
        true.append(float(label) if kind == "rated" else label)
    return found, true


@pytest.mark.parametrize("kind", ["two", "three"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_classes_are_those_of_fairseqs_model_on_every_example(runs, kind, split):
    rows = evaluate(runs, last(runs, kind), "--subset", split, "--max-tokens", 100)
    scores = {row["metric"]: row["score"] for row in rows}
    found, true = predictions(runs, kind, split)
    assert len(true) == SIZES[split] and {row["examples"] for row in rows} == {SIZES[split]}
    expected = {
        "accuracy": 100 * metrics.accuracy_score(true, found),
        "f1_macro": 100 * metrics.f1_score(true, found, average="macro"),
        "mcc": 100 * metrics.matthews_corrcoef(true, found),
    }
    if kind == "two":
        expected["f1"] = 100 * metrics.f1_score(true, found, pos_label="1")
    loss = scores.pop("loss")
    assert scores == pytest.approx(expected) and loss > 0
    assert split == "test" or 50 < scores["accuracy"] < 100
    assert all(row["maximise"] is (row["metric"] != "loss") for row in rows)
    assert all(row["subset"] == split and f"subset:{split}" in row["signature"] for row in rows)


def test_numbers_are_those_of_fairseqs_model_on_every_example(runs):
    rows = {row["metric"]: row["score"] for row in evaluate(runs, last(runs, "rated"))}
    found, true = predictions(runs, "rated", "valid")
    assert rows["pearson"] == pytest.approx(100 * stats.pearsonr(found, true)[0], rel=1e-4)
    assert rows["spearman"] == pytest.approx(100 * stats.spearmanr(found, true)[0], abs=0.5)
    squares = [(a - b) ** 2 for a, b in zip(found, true)]
    assert rows["loss"] == pytest.approx(sum(squares) / len(squares), rel=1e-3)


@pytest.mark.parametrize("kind", ["two", "three", "rated"])
def test_scores_are_those_that_a_validation_logs(runs, kind):
    logged, rows = runs.logged[kind], evaluate(runs, last(runs, kind))
    assert {row["metric"] for row in rows} <= set(logged)
    for row in rows:
        if row["metric"] == "loss":
            assert row["score"] / math.log(2) == pytest.approx(logged["loss"], abs=6e-4)
        elif row["metric"] == "accuracy":
            assert row["score"] == pytest.approx(logged["accuracy"], abs=0.06)
        else:
            assert row["score"] == pytest.approx(logged[row["metric"]], **SHOWN)


def test_masked_tokens_have_the_loss_of_fairseq_validate(runs):
    """The training had the seed that evaluations mask tokens with."""
    (row,) = evaluate(runs, last(runs, "text"))
    flags = ["--task", "masked_lm_lottery", *USER_DIR, "--path", last(runs, "text")]
    line = [runs.folder / "text", *flags, "--batch-size", 16]
    done = toy.call("fairseq_cli.validate", line, runs.folder).ok()
    loss = float(re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", done.out)[-1])
    assert row["score"] / math.log(2) == pytest.approx(loss, abs=6e-4)
    assert runs.logged["text"]["loss"] == loss
    assert row["examples"] == 2 * SIZES["valid"] and not row["maximise"]
    assert "per:masked-token|masking-seed:1" in row["signature"]


def test_a_translation_has_the_loss_that_fairseq_logs(dense, toy_data, tmp_path):
    out = tmp_path / "rows.jsonl"
    line = ["evaluate", str(dense / "checkpoint_last.pt"), "--subset", "test", "--out", str(out)]
    assert main(line) == 0
    row = json.loads(out.read_text())
    flags = [toy_data, "-s", "en", "-t", "de", *USER_DIR, "--task", "translation_lottery"]
    flags += ["--path", dense / "checkpoint_last.pt", "--valid-subset", "test"]
    done = toy.call("fairseq_cli.validate", [*flags, "--batch-size", 8], tmp_path).ok()
    nll = float(re.findall(r"nll_loss ([\d.]+)", done.out)[-1])
    assert row["score"] / math.log(2) == pytest.approx(nll, abs=6e-4)
    assert row["metric"] == "loss" and "criterion:cross_entropy|per:token" in row["signature"]


def test_several_models_and_chosen_metrics(runs, capsys):
    exported = runs.path("plain.pt")
    assert main(["export", last(runs, "two"), "--out", exported]) == 0
    rows = evaluate(runs, last(runs, "two"), exported, "--metric", "mcc", "f1")
    assert [(row["model"], row["metric"]) for row in rows] == [
        (path, metric) for path in (last(runs, "two"), exported) for metric in ("mcc", "f1")
    ]
    assert rows[0]["score"] == rows[2]["score"]
    printed = capsys.readouterr().out
    assert f"mcc {rows[0]['score']:.4f} (61 examples of valid)\n  metric:mcc|task:" in printed
    assert "average:binary|positive:1" in rows[1]["signature"]


def collapsed(runs, kind, out):
    """A model whose head gives every example the same output."""
    state = load(last(runs, kind))
    for name, value in head_of(state).items():
        state["model"][name] = value * (0 if "out_proj" in name else 1)
    torch.save(state, runs.path(out))
    return runs.path(out)


def test_a_correlation_of_constant_predictions_counts_as_0_and_says_so(runs, capsys):
    rows = evaluate(runs, collapsed(runs, "rated", "constant.pt"))
    assert {row["metric"]: row.get("undefined") for row in rows} == {
        "pearson": True, "spearman": True, "loss": None
    }  # fmt: skip
    assert [row["score"] for row in rows[:2]] == [0, 0]
    assert "pearson 0.0000 (61 examples of valid, undefined and counted" in capsys.readouterr().out
    rows = evaluate(runs, collapsed(runs, "two", "constant-classes.pt"), "--metric", "mcc")
    assert rows[0]["score"] == 0 and "undefined" not in rows[0]


def other_data(runs, name, change):
    """A copy of the data of two classes that ``change`` changes."""
    folder = runs.folder / name
    shutil.copytree(runs.folder / "two", folder)
    change(folder)
    return str(folder)


def reorder(folder):
    lines = (folder / "label/dict.txt").read_text().splitlines()
    (folder / "label/dict.txt").write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")


def add_word(folder):
    with open(folder / "input0/dict.txt", "a") as file:
        file.write("another 1\n")


def remove_labels(folder):
    shutil.rmtree(folder / "label")


def test_what_does_not_fit_is_refused_in_one_sentence(runs, capsys, tmp_path):
    two = last(runs, "two")
    out = tmp_path / "there.jsonl"
    out.write_text("")
    runs.draw("t.safetensors", "--mask-from", "two-run/checkpoint_last.pt", "--sparsity", 0.5)
    for line, sentence in (
        ([two, "--metric", "bleu"], "metric 'bleu' is unknown for the task sentence_prediction"),
        ([last(runs, "three"), "--metric", "f1"], "metric f1 is not defined for the labels of"),
        ([last(runs, "text"), "--metric", "mcc"], "unknown for the task masked_lm; choose one of"),
        ([two, "--metric", "pearson"], "metric pearson is not defined for the labels"),
        ([two, "--subset", "none"], "has no examples of sentence_prediction called none"),
        ([two, "--data", runs.path("three")], "have 3 classes (b, a, c), but the head has 2"),
        ([two, "--data", other_data(runs, "order", reorder)], "are 0, 1, expected 1, 0 as in"),
        ([two, "--data", other_data(runs, "words", add_word)], "symbol 40 is 'another', expected"),
        ([two, "--data", other_data(runs, "bare", remove_labels)], "has no label/dict.txt"),
        ([two, "--data", runs.path("nowhere")], "there is no data folder"),
        ([runs.path("t.safetensors"), "--data", runs.path("two")], "give a checkpoint"),
        ([two, "--out", str(out)], "exists already"),
        ([runs.path("missing.pt")], "there is no file"),
    ):
        capsys.readouterr()
        assert main(["evaluate", *map(str, line)]) == 2, line
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1, error


def test_a_training_refuses_labels_that_do_not_fit_its_head(runs):
    for number, (flags, sentence) in enumerate(
        (
            (["--num-classes", 2], "have 3 classes (b, a, c), but the head has 2; give data"),
            (["--num-classes", -1], "--num-classes is missing"),
        )
    ):
        done = runs.train("three", f"refused-{number}", *flags)
        assert done.code == 2 and sentence in done.out, done.out[-1000:]
    shutil.copytree(runs.folder / "three", runs.folder / "four")
    remove_labels(runs.folder / "four")
    line = [runs.folder / "four", *runs.flags("three", "refused")[1:]]
    done = toy.call("fairseq_cli.train", line, runs.folder)
    assert done.code == 2 and "has no label/dict.txt" in done.out
    data = other_data(runs, "resumed", reorder)
    done = toy.call("fairseq_cli.train", [data, *runs.flags("two", "two-run", updates=70)[1:]],
                    runs.folder)  # fmt: skip
    assert done.code == 2 and "two-run/checkpoint_last.pt; run fairseq-preprocess" in done.out

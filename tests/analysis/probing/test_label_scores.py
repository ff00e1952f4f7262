"""F1 of single labels against scikit-learn, and of types of spans by hand."""

import numpy as np
import pytest
from analysis.probing.test_command import folders, run  # noqa: F401 - a fixture
from sklearn.metrics import f1_score

from fairseq_lottery.analysis.probing.label_scores import label_f1, labels_of
from fairseq_lottery.analysis.probing.task import ACCURACY, SPAN_F1, Task


def task(labels, sentences=None):
    count = len(labels)
    numbers = np.zeros(count, dtype=np.int64) if sentences is None else np.array(sentences)
    values = np.array(labels, dtype=object)
    return Task("t", ("encoder",), np.zeros((count, 1), dtype=np.int64), numbers, values, values)


@pytest.mark.parametrize("seed", range(5))
def test_classes_have_the_f1_of_scikit_learn(seed):
    chance = np.random.default_rng(seed)
    shares = [0.6, 0.3, 0.08, 0.02]
    gold = chance.choice(["a", "b", "c", "rare"], 200, p=shares).astype(object)
    guess = np.where(chance.random(200) < 0.6, gold, chance.choice(["a", "b", "c", "new"], 200))
    own = task(gold)
    labels = labels_of(own)
    assert labels == sorted(set(gold))
    expected = f1_score(gold.astype(str), guess.astype(str), labels=labels, average=None)
    assert [label_f1(own, guess, one, ACCURACY) for one in labels] == pytest.approx(expected)
    assert label_f1(own, np.full(200, "new", dtype=object), labels[0], ACCURACY) == 0


def test_types_of_spans_have_an_f1_each():
    own = task("B-A I-A O B-B O B-A".split(), [0, 0, 0, 0, 1, 1])
    guess = np.array("B-A I-A O B-A B-A B-A".split(), dtype=object)
    assert labels_of(own) == ["A", "B"]
    # A: 2 spans, 4 predicted, 2 correct; B: 1 span, none predicted
    assert label_f1(own, guess, "A", SPAN_F1) == pytest.approx(2 * 2 / (2 + 4))
    assert label_f1(own, guess, "B", SPAN_F1) == 0


def test_numbers_have_no_labels():
    assert labels_of(task([])) == []
    own = task(["1"])
    object.__setattr__(own, "labels", np.array([0.5]))
    assert labels_of(own) == []


def test_the_command_prints_the_f1_of_a_label(folders, capsys):  # noqa: F811
    labels = ("--labels", f"pos={folders}/valid.pos", "--seeds", "1,2", "--learning-rate", "0.05")
    code, text, _ = run(
        capsys, folders / "dense", *labels, "--epochs", "9", "--no-control", "--f1", "DET"
    )  # fmt: skip
    assert code == 0
    lines = text.splitlines()
    assert lines[1].split() == ["layer", "accuracy", "f1", "DET"]
    assert lines[2].split() == ["enc", "1", *["1.000", "±", "0.000"] * 2]
    code, _, error = run(capsys, folders / "dense", *labels, "--f1", "ADJ")
    assert code == 2
    assert "--f1 ADJ is not a label of the test sentences; choose from DET, NOUN, VERB" in error


def test_rows_have_the_f1_of_every_label(folders, capsys):  # noqa: F811
    import json

    labels = ("--labels", f"pos={folders}/valid.pos", "--seeds", "1", "--learning-rate", "0.05")
    code, text, _ = run(capsys, folders / "pruned", *labels, "--epochs", "9", "--json")
    assert code == 0
    rows = [row for row in json.loads(text)["rows"] if row["statistic"] == "f1"]
    assert [(row["layer"], row["label"]) for row in rows] == [
        (layer, label) for layer in (1, 2) for label in ("DET", "NOUN", "VERB")
    ]
    assert [row["value"] for row in rows[:3]] == [1.0, 1.0, 1.0]
    assert all(row["value"] < 0.7 for row in rows[3:])  # layer 2 has nothing of the labels

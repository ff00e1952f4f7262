"""The command ``probe`` on recordings made of arrays."""

import csv
import json

import numpy as np
import pytest
from analysis.written_recordings import write_activations

from fairseq_lottery.analysis.probing.session import LabelSource
from fairseq_lottery.cli.main import main

KINDS = ["NOUN", "VERB", "DET"]


@pytest.fixture
def folders(tmp_path):
    """Recordings of two models: layer 2 of the second has nothing of the labels."""
    chance = np.random.default_rng(0)
    numbers = chance.integers(0, 3, 900)
    words = [f"{KINDS[n].lower()}{chance.integers(0, 20)}" for n in numbers]
    sentences = [words[start : start + 9] for start in range(0, 900, 9)]
    clear, noise = 3 * np.eye(3)[numbers], chance.normal(size=(900, 3))
    for name, second in (("dense", clear), ("pruned", noise)):
        layers = {"encoder": [clear + 0.1 * noise, second], "decoder": [noise, noise]}
        write_activations(tmp_path / name, sentences, layers, weights=name)
    pos = [f"{word}\t{KINDS[n]}\n" for word, n in zip(words, numbers)]
    for subset in ("valid", "test"):
        lines = ["".join(pos[start : start + 9]) for start in range(0, 900, 9)]
        (tmp_path / f"{subset}.pos").write_text("\n".join(lines))
    (tmp_path / "valid.align").write_text(" ".join(f"{n}-{n}" for n in range(9)) + "\n" * 1)
    return tmp_path


def run(capsys, *words):
    code = main(["probe", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_one_recording(folders, capsys):
    out = folders / "out"
    code, text, _ = run(
        capsys, folders / "dense", "--labels", f"pos={folders}/{{subset}}.pos", "--seeds", "1,2",
        "--learning-rate", "0.05", "--epochs", "9", "--out", out,
    )  # fmt: skip
    assert code == 0
    lines = text.splitlines()
    assert [line.split()[:5] for line in lines[2:]] == [
        ["enc", layer, "1.000", "±", "0.000"] for layer in "12"
    ]
    rows = list(csv.DictReader((out / "probe.csv").read_text().splitlines()))
    scores = [row for row in rows if row["statistic"] == "accuracy"]
    assert [(row["task"], row["layer"], row["seed"], row["value"]) for row in scores] == [
        ("pos", layer, seed, "1.0") for layer in "12" for seed in "12"
    ]
    record = json.loads((out / "analysis.json").read_text())
    assert record["inputs"]["examples"] == {"pos": {"train": 720, "dev": 90, "test": 90}}
    assert record["inputs"]["recordings"] == {str(folders / "dense"): "dense"}


def test_two_models_and_groups(folders, capsys):
    code, text, _ = run(
        capsys, folders / "dense", folders / "pruned", "--labels", f"pos={folders}/valid.pos",
        "--seeds", "1", "--no-control", "--learning-rate", "0.05", "--epochs", "9",
        "--group", "morphology=pos", "--json",
    )  # fmt: skip
    assert code == 0
    rows = json.loads(text)["rows"]
    score = {
        (row["model"], row["layer"]): row["value"] for row in rows if row["statistic"] == "accuracy"
    }
    percent = {
        (row["model"], row["layer"]): row["value"]
        for row in rows
        if row["statistic"] == "percent-of-mean" and row["task"] == "morphology"
    }
    mean = sum(score.values()) / 4
    assert percent == pytest.approx({k: 100 * (v - mean) / mean for k, v in score.items()})
    assert percent[str(folders / "pruned"), 2] < -20 < percent[str(folders / "dense"), 2]


def test_separate_recordings(folders, capsys):
    """Trained on one recording, selected and scored on others, each with labels of its subset."""
    words = [["noun1", "verb1", "det1"]] * 4
    vectors = 3 * np.eye(3)[[0, 1, 2] * 4]
    layers = {"encoder": [vectors, -vectors], "decoder": [vectors, vectors]}
    write_activations(folders / "test", words, layers, weights="dense", subset="test")
    sentence = "noun1\tNOUN\nverb1\tVERB\ndet1\tDET\n\n"
    (folders / "test.pos").write_text(sentence * 4)
    arguments = [folders / "dense", "--labels", f"pos={folders}/{{subset}}.pos", "--seeds", "1"]
    arguments += ["--learning-rate", "0.05", "--epochs", "9"]
    both = ["--dev", folders / "test", "--test", folders / "test"]
    code, text, _ = run(capsys, *arguments, *both, "--json")
    assert code == 0
    rows = json.loads(text)["rows"]
    values = {row["layer"]: row["value"] for row in rows if row["statistic"] == "accuracy"}
    assert values[1] == 1.0 and values[2] < 0.5  # its second layer has the opposite sign
    code, _, error = run(capsys, *arguments, "--test", folders / "test")
    assert code == 2 and "--dev and --test require each other" in error
    code, _, error = run(capsys, folders / "pruned", *arguments[1:], *both)
    assert code == 2 and "recordings of different models" in error


def test_spelling_of_label_files():
    assert LabelSource.parse("a=b/c.conllu:upos,arc", "source") == LabelSource(
        "b/c.conllu", "source", ("upos", "arc"), "a"
    )
    assert LabelSource.parse("/x=y/c", "target") == LabelSource("/x=y/c", "target", (), None)
    assert LabelSource.parse("c:/d", "source") == LabelSource("c:/d", "source", (), None)


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([], "there are no labels"),
        (["--labels", "{0}/missing"], "there is no file"),
        (["--labels", "{0}/valid.pos", "--labels", "{0}/valid.pos"], "two tasks are called"),
        (["--labels", "{0}/valid.pos", "--scores", "x"], "--scores x is not a task"),
        (["--labels", "{0}/valid.pos", "--solver", "x"], "--solver x is unknown"),
        (["--labels", "{0}/valid.pos", "--seeds", "1,a"], "--seeds 1,a is malformed"),
        (["--labels", "{0}/valid.pos", "--seeds", "1,1"], "--seeds 1,1 has a seed twice"),
        (["--labels", "{0}/valid.pos", "--batch", "0"], "--batch 0 is out of range"),
        (["--labels", "{0}/valid.pos", "--group", "x"], "--group x is malformed"),
        (["--labels", "{0}/valid.pos", "--group", "x=y"], "--group x has the task 'y'"),
        (
            [
                "--labels",
                "a={0}/valid.pos",
                "--target-labels",
                "b={0}/valid.pos",
                "--group",
                "x=a,b",
            ],
            "--group x has tasks of encoder and decoder",
        ),
        (["--labels", "{0}/valid.pos", "--out", "{0}"], "exists already"),
        (["--alignment", "{0}/valid.align"], "has 1 sentences, expected all 100"),
    ],
)
def test_bad_input_is_one_sentence(folders, capsys, words, sentence):
    before = set(folders.iterdir())
    words = [word.replace("{0}", str(folders)) for word in words]
    code, text, error = run(capsys, folders / "dense", *words)
    assert (code, text, error.count("\n")) == (2, "", 1)
    assert sentence in error
    assert set(folders.iterdir()) == before

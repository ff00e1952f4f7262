"""Recordings of a classifier and of the RoBERTa that its fine-tuning started from."""

import csv

import labelled
import pytest
import toy

pytest.importorskip("fairseq")

from fairseq_lottery.analysis import Recording
from fairseq_lottery.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with ``masked``, a RoBERTa, and ``tuned``, a classifier of pairs made from it."""
    folder = tmp_path_factory.mktemp("runs")
    text = labelled.write_pretraining(folder)
    pairs = labelled.write_labelled(folder, "pairs", pairs=True)

    def train(data, task, save_dir, *flags):
        line = [data, *labelled.USER_DIR, *task, *labelled.ROBERTA, *labelled.TRAIN]
        toy.call("fairseq_cli.train", [*line, "--save-dir", save_dir, *flags], folder).ok()

    train(text, labelled.MASKED_LM, "masked", "--max-update", 4)
    train(
        pairs, [*labelled.SENTENCES, "--num-classes", 2], "tuned", "--max-update", 6,
        "--restore-file", "masked/checkpoint_last.pt", "--reset-optimizer", "--reset-dataloader",
        "--reset-meters", "--reset-lr-scheduler", "--snapshot-updates", 0,
    )  # fmt: skip
    return folder


def test_roles_of_pairs_before_and_after(runs, capsys):
    """The start has no task settings of its own, and the pre-trained model another task."""
    tuned = runs / "tuned" / "checkpoint_last.pt"
    files = {
        "start": runs / "tuned" / "snapshot_0.safetensors",
        "masked": runs / "masked" / "checkpoint_last.pt",
        "tuned": tuned,
    }
    for name, file in files.items():
        more = [] if name == "tuned" else ["--examples-of", tuned]
        line = ["record", file, *more, "--out", runs / f"{name}-recording"]
        assert main([str(word) for word in line]) == 0, capsys.readouterr().err
    recordings = {name: Recording.open(runs / f"{name}-recording") for name in files}
    first = (runs / "pairs" / "valid.input0").read_text().splitlines()
    second = (runs / "pairs" / "valid.input1").read_text().splitlines()
    for one in recordings.values():
        assert [" ".join(tokens) for tokens in one.tokens("source")] == [
            f"<s> {a} </s> </s> {b} </s>" for a, b in zip(first, second)
        ]
    stored = {name: one.activations("encoder", 2) for name, one in recordings.items()}
    assert (stored["start"] == stored["masked"]).all()  # update 0 is the pre-trained model
    assert (stored["start"] != stored["tuned"]).any()
    words = ["roles", runs / "tuned-recording", "--before", runs / "start-recording"]
    line = [*words, "--threshold", "1.1", "--entropy", "--out", runs / "roles"]
    assert main([str(word) for word in line]) == 0
    rows = list(csv.DictReader((runs / "roles" / "roles.csv").read_text().splitlines()))
    tested = {row["role"] for row in rows if row["statistic"] == "sentences"}
    assert tested == {"local", "cls", "sep", "delimiter", "block"}
    assert {row["measure"] for row in rows} >= {"sieve-bias", "role-counts"}


def test_examples_of_another_kind_are_refused(runs, dense, capsys):
    tuned, out = runs / "tuned" / "checkpoint_last.pt", runs / "refused"
    for file, other, problem in (
        (dense / "checkpoint_last.pt", tuned, "translation, whose models do not take examples of"),
        (tuned, dense / "checkpoint_last.pt", "do not take examples of translation"),
        (runs / "tuned" / "snapshot_0.safetensors", runs / "none.pt", "none.pt"),
    ):
        line = ["record", file, "--examples-of", other, "--out", out]
        assert main([str(word) for word in line]) == 2
        error = capsys.readouterr().err
        assert problem in error and error.count("\n") == 1
        assert not out.exists()

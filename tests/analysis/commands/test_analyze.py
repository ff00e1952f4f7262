"""``fairseq-lottery analyze`` on run folders with models of files."""

import json

import pytest

pytest.importorskip("fairseq")
from analysis.toymeasures import register
from report.made import Made

from fairseq_lottery.analysis.commands.analyze import read_settings
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.cli.main import build_parser, main
from fairseq_lottery.errors import LotteryError

FILES = ["--measures", "kept", "masked", "same"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    register(monkeypatch)
    return [
        str(Made(tmp_path / f"run{seed}", ("slt",), (0.5,), (seed,)).model().write())
        for seed in (1, 2)
    ]


def call(*words):
    return main(["analyze", *map(str, words)])


def test_each_run_has_a_folder_of_its_own(runs, tmp_path, capsys):
    assert call(*runs, *FILES, "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["rows"] for record in records] == [{"toy": 8 + 1 + 3}, {"toy": 8 + 1 + 1}]
    for run, record in zip(runs, records):
        assert json.loads((tmp_path / run / "analysis/analysis.json").read_text()) == record
        assert not (tmp_path / run / "analysis/figures").exists()


def test_one_folder_takes_all_runs(runs, tmp_path, capsys):
    assert call(*runs, *FILES, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "toy.csv: 22 rows" in printed and str(tmp_path / "out") in printed
    assert not (tmp_path / "run1/analysis").exists()


def test_figures_are_of_the_named_measures(runs, tmp_path):
    pytest.importorskip("matplotlib")
    assert call(runs[0], *FILES) == 0
    assert call(runs[0], "--measures", "masked", "--figures") == 0
    names = {path.name for path in (tmp_path / "run1/analysis/figures").iterdir()}
    assert names == {f"masked-by-sparsity.{ending}" for ending in ("pdf", "svg", "png", "csv")}


def test_a_missing_model_is_told(runs, tmp_path, capsys):
    (tmp_path / "run1/seed1/slt-0.5/best.pt").unlink()
    assert call(runs[0], "--measures", "kept") == 0
    assert "slt@0.5#1" in capsys.readouterr().err
    (tmp_path / "run1/seed1/dense-0/best.pt").unlink()
    assert call(runs[0], "--measures", "kept") == 2


def test_bad_input_is_one_sentence_and_writes_nothing(runs, tmp_path, capsys):
    other = Made(tmp_path / "other", ("slt",), (0.5,), recipe={"updates": 3}).model().write()
    for words, value in (
        ([runs[0], runs[0]], "given twice"),
        ([runs[0], other, "--out", tmp_path / "out"], "--out"),
        ([tmp_path / "none"], "none"),
        ([runs[0], "--measures", "nothing"], "nothing"),
        ([runs[0], "--against", "mp"], "--against mp"),
        ([runs[0], "--words", "0"], "--words"),
        ([runs[0], "--subset", "../x"], "--subset"),
        ([runs[0], "--labels", "pos"], "--labels pos"),
        ([runs[0], "--labels", "alignment=none"], "none"),
        ([runs[0], "--measures", "mean"], "--data"),
        ([runs[0], "--measures", "mean", "--data", tmp_path], str(tmp_path)),
    ):
        assert call(*words) == 2
        message = capsys.readouterr().err
        assert value in message and message.count("\n") == 1
        assert not list(tmp_path.rglob("*.csv"))


def test_the_flags_are_the_settings():
    words = ["--against", "slt", "--words", "5", "--subset", "test1", "--half", "--discard",
             "--measures", "a", "b", "--labels", "pos=x=y", "--sieves", "local"]  # fmt: skip
    assert read_settings(build_parser().parse_args(["analyze", "run", *words])) == Settings(
        "slt", ("a", "b"), 5, "test1", True, True, {"pos": "x=y"}, ("local",)
    )
    assert read_settings(build_parser().parse_args(["analyze", "run"])) == Settings()
    with pytest.raises(LotteryError, match="--labels"):
        read_settings(build_parser().parse_args(["analyze", "run", "--labels", "=x"]))

"""Drops, changes and importance of models that were trained for some updates."""

import json
import shutil

import pytest
import toy
from labelled import (
    MASKED_LM,
    ROBERTA,
    SENTENCES,
    TRAIN,
    USER_DIR,
    write_labelled,
    write_pretraining,
)
from languages import Runs

from fairseq_lottery.cli.main import main

pytest.importorskip("fairseq")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    text = write_pretraining(folder)
    data = write_labelled(folder, "labelled")
    for number, language in enumerate(("aa", "bb", "cc")):
        subset = ("train", "valid", "test")[number]
        for part in ("input0", "label"):
            for file in (data / part).glob(f"{subset}.*"):
                shutil.copy(file, file.with_name(f"test_{language}{file.suffix}"))
    common = [*ROBERTA, *TRAIN, *USER_DIR]
    for name, at, own in (("mlm", text, MASKED_LM), ("fine", data, SENTENCES)):
        start = ["--restore-file", folder / "mlm/checkpoint_last.pt", "--reset-optimizer",
                 "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"]  # fmt: skip
        flags = [at, *common, *own, "--max-update", 8, "--save-dir", folder / name]
        flags += [*start, "--num-classes", 2] if name == "fine" else []
        toy.call("fairseq_cli.train", flags, folder).ok()
    return folder


def test_the_change_of_each_third_beside_the_drop_of_each_language(folder, tmp_path, capsys):
    (tmp_path / "facts.tsv").write_text(
        "language\tfamily\torder\tsize\naa\tx\tSVO\t200\nbb\tx\tSVO\t60\ncc\ty\tSOV\t40\n"
    )
    last = [str(folder / name / "checkpoint_last.pt") for name in ("mlm", "fine")]
    subsets = [f"{name}=test_{name}" for name in ("aa", "bb", "cc")]
    line = ["languages", "drops", last[1], *subsets, "--cpu", "--layers", "each"]
    more = ["--metadata", str(tmp_path / "facts.tsv"), "--out", str(tmp_path / "drops")]
    assert main([*line, *more]) == 0
    printed = capsys.readouterr().out
    assert "layer 1 enc_self" in printed and "order is confounded with family" in printed
    line = ["languages", "drops", last[1], *subsets, "--cpu", "--metric", "accuracy", "--json"]
    assert main(line) == 0
    for row in json.loads(capsys.readouterr().out)["drops"]:
        assert row["drop"] == row["full"] - row["value"] and 0 < row["full"] <= 100
    line = ["languages", "changes", *last, "--layers", "each", "--json"]
    assert main([*line, "--drops", str(tmp_path / "drops")]) == 0
    found = json.loads(capsys.readouterr().out)
    places = [(row["group"], row["kind"]) for row in found["changes"]]
    assert places == [(f"layer {n}", k) for k in ("enc_self", "enc_ffn", "all") for n in (1, 2)]
    for row in found["changes"]:
        assert 0 < row["relative_distance"] < 1 and 0 < row["cosine"] < 1
        assert all((f"drop {n}" in row) == (row["kind"] == "enc_self") for n in ("aa", "bb", "cc"))
    assert {row["note"] for row in found["correlations"]} == {"fewer than 3 groups"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("translation"))
    runs.train("dense", 12).ok()
    return runs


def test_pairs_of_one_translation_model(runs, tmp_path, capsys):
    """Each pair is evaluated with its own language tokens, and all pairs count once."""
    model = runs.path("dense/checkpoint_last.pt")
    pairs = ("en-de", "en-fr", "de-en", "fr-en")
    subsets = [f"{pair}=valid.{pair}" for pair in pairs]
    line = ["languages", "drops", model, *subsets, "--cpu", "--sentences", "12", "--json"]
    assert main(line) == 0
    rows = json.loads(capsys.readouterr().out)["drops"]
    assert len(rows) == 4 * 2 * 4 and len({row["full"] for row in rows}) == 4
    for row in rows[:8]:
        assert row["language"] == "en-de" and row["drop"] == row["value"] - row["full"]
    curve = ["heads", "curve", model, "--subset", "valid.fr-en", "--sentences", "12", "--cpu"]
    curve += ["--strategies", "bottom", "--shares", "0.5", "--seeds", "1"]
    assert main([*curve, "--out", str(tmp_path / "curve.json")]) == 0
    point = json.loads((tmp_path / "curve.json").read_text())["points"][0]
    (row,) = (
        r for r in rows if (r["language"], r["group"], r["kind"]) == ("fr-en", "bottom", "all")
    )
    assert row["value"] == pytest.approx(point["metric"]) and row["pruned"] == point["closed"]

    scores = []
    for pair in pairs[:3]:
        scores.append(f"{pair}={tmp_path / pair}.json")
        measure = ["heads", "importance", model, "--subset", f"valid.{pair}", "--cpu"]
        assert main([*measure, "--out", f"{tmp_path / pair}.json"]) == 0
    capsys.readouterr()
    assert main(["languages", "similarity", *scores, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["similarity"]
    assert [row["part"] for row in found[:4]] == ["all", "enc_self", "dec_self", "enc_dec"]
    assert all(row["spearman"] <= 1 for row in found)

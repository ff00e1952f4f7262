"""``fairseq-lottery roles`` on recordings written by hand."""

import csv
import json

import pytest
from analysis.written_recordings import random_maps, write_maps

from fairseq_lottery.cli.main import main

SOURCE = ["a b c d", "b a d c f", "h g f e d c b a", "c d e", "d e f a"]
TARGET = ["u v w x", "v u", "x w v u u y", "w y", "y x w"]


@pytest.fixture
def recording(tmp_path):
    return write_maps(tmp_path / "r", SOURCE, TARGET, random_maps(1), layers=2).folder


def run(capsys, *words, code=0):
    capsys.readouterr()
    assert main(["roles", *map(str, words)]) == code
    found = capsys.readouterr()
    assert not code or (found.err.count("\n") == 1 and not found.out)
    return found.err if code else found.out


def test_the_table_the_json_and_the_file_agree(recording, capsys, tmp_path):
    out = tmp_path / "out"
    text = run(capsys, recording, "--threshold", 1, "--out", out)
    lines = text.splitlines()
    assert lines[1].split() == ["enc_self", "1", "2"] and lines[2].split()[:2] == ["layer", "1"]
    with open(out / "roles.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads(run(capsys, recording, "--threshold", 1, "--json"))
    assert len(content["rows"]) == len(rows)
    assert content["inputs"]["settings"]["threshold"] == 1
    assert json.loads((out / "analysis.json").read_text())["inputs"] == content["inputs"]
    having = [row for row in rows if row["statistic"] == "has-role" and row["role"] == "local"]
    assert len(having) == 8
    (line,) = [one for one in lines if one.split()[:2] == ["local", "enc_self"]]
    counted = [r for r in having if r["part"] == "enc_self" and r["value"] == "1"]
    assert line.split()[2:5] == [str(len(counted)), "of", "4"]


def test_a_threshold_beyond_reach_is_said(recording, capsys):
    text = run(capsys, recording, "--threshold", 3)
    assert "no head can be local in enc_self" in text
    assert "no head can be delimiter" not in run(capsys, recording, "--threshold", 1)


def test_labels_choose_the_sieves(recording, capsys, tmp_path):
    (tmp_path / "align").write_text("0-0 1-1\n0-0\n0-0 1-1\n0-0\n2-1\n")
    words = (recording, "--alignment", tmp_path / "align", "--json")
    roles = {row.get("role") for row in json.loads(run(capsys, *words))["rows"]}
    assert {"local", "alignment", "argmax-alignment"} <= roles
    only = json.loads(run(capsys, *words, "--sieves", "alignment"))["rows"]
    assert {r["role"] for r in only if r["measure"] == "sieve-bias"} == {"alignment"}


def test_before_after_and_survivors(recording, capsys, tmp_path):
    after = write_maps(
        tmp_path / "after", SOURCE, TARGET, random_maps(2), layers=2, weights="b",
        pruned=[("enc_self", 1, 1), ("enc_dec", 2, 2)],
    ).folder  # fmt: skip
    rows = json.loads(run(capsys, after, "--before", recording, "--json"))["rows"]
    before = json.loads(run(capsys, recording, "--json"))["rows"]

    def having(rows, **columns):
        wanted = {"statistic": "has-role", "value": 1, **columns}
        return {
            (r["role"], r["part"], r["layer"], r["head"])
            for r in rows if all(r.get(k) == v for k, v in wanted.items())
        }  # fmt: skip

    changed = {name: having(rows, measure="role-changes", statistic=name)
               for name in ("gained", "kept", "lost")}  # fmt: skip
    assert changed["gained"] == having(rows) - having(before)
    assert changed["kept"] == having(rows) & having(before)
    assert changed["lost"] == having(before) - having(rows)
    pruned = {("enc_self", 1, 1), ("enc_dec", 2, 2)}
    assert any(one[1:] in pruned for one in changed["lost"])
    shares = {
        (r["role"], r["part"], r["statistic"]): r["value"]
        for r in rows if r["measure"] == "role-survivors"
    }  # fmt: skip
    assert shares["pattern-heterogeneous", "enc_self", "all-heads"] * 4 == len(
        having(before, role="pattern-heterogeneous", part="enc_self")
    )
    text = run(capsys, after, "--before", recording)
    assert " -" in text  # a pruned head


def test_the_agreement_of_seeds(recording, capsys, tmp_path):
    other = write_maps(tmp_path / "o", SOURCE, TARGET, random_maps(5), layers=2, weights="b").folder
    rows = json.loads(run(capsys, recording, other, recording, "--json"))["rows"]
    assert {r["measure"] for r in rows} == {"role-agreement"}
    assert {r["value"] for r in rows if r["statistic"] == "models"} <= {0, 1 / 3, 2 / 3, 1}
    alone = json.loads(run(capsys, recording, recording, "--json"))["rows"]
    assert {r["value"] for r in alone if r["statistic"] in ("same", "jaccard", "kappa")} == {1}


def test_grids_have_a_dash_for_every_pruned_head(capsys, tmp_path):
    pruned = [("dec_self", 1, 1), ("dec_self", 1, 2), ("dec_self", 2, 2), ("enc_dec", 2, 1)]
    path = write_maps(tmp_path / "p", SOURCE, TARGET, layers=2, pruned=pruned).folder
    text = run(capsys, path, "--sieves", "delimiter").replace("W", ".")  # of ties in even rows
    lines = [one.split() for one in text.splitlines()[:10]]
    assert lines[1:10] == [
        ["enc_self", "1", "2"], ["layer", "1", ".", "."], ["layer", "2", ".", "."],
        ["dec_self", "1", "2"], ["layer", "1", "-", "-"], ["layer", "2", ".", "-"],
        ["enc_dec", "1", "2"], ["layer", "1", ".", "."], ["layer", "2", "-", "."],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["RECORDING/none"], "is not a recording"),
        (["RECORDING", "--sieves", "syntactic"], "requires --source-conllu"),
        (["RECORDING", "--sieves", "local,,"], "sieve '' is unknown"),
        (["RECORDING", "--thresholds", "1,x"], "--thresholds 1,x"),
        (["RECORDING", "--level", "5"], "--level 5"),
        (["RECORDING", "--threshold", "nan"], "not a finite number"),
        (["RECORDING", "RECORDING", "--before", "RECORDING"], "--before and --choice"),
        (["RECORDING", "--before", "OTHER"], "compare models of one architecture"),
        (["RECORDING", "WORDS"], "different source words"),
        (["RECORDING", "--choice", "RECORDING/record.json"], "is not a choice"),
        (["RECORDING", "--alignment", "RECORDING"], "same model"),
        (["RECORDING", "--source-conllu", "RECORDING/words.source.txt"], "expected the 10"),
    ],
)
def test_bad_input_is_one_sentence(recording, capsys, tmp_path, words, sentence):
    other = write_maps(tmp_path / "wide", SOURCE, TARGET, heads=4).folder
    words_of_others = write_maps(tmp_path / "words", TARGET, SOURCE, layers=2).folder
    names = {"RECORDING": str(recording), "OTHER": str(other), "WORDS": str(words_of_others)}
    given = []
    for word in words:
        for name, path in names.items():
            word = word.replace(name, path)
        given.append(word)
    out = tmp_path / "nothing"
    assert sentence in run(capsys, *given, "--out", out, code=2)
    assert not out.exists()


@pytest.mark.parametrize("name", ["os:system", "os:getcwd", "json:dumps", "nothing:here"])
def test_functions_that_give_no_sieves_are_refused(recording, capsys, name):
    assert name in run(capsys, recording, "--sieves", name, code=2)

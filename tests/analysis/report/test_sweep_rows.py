"""Tables of a sweep, as files of a stranger."""

import json

import pytest

from fairseq_lottery import __version__
from fairseq_lottery.analysis.report import sweep_rows
from fairseq_lottery.analysis.report.sweep_rows import merge, read_sweep, read_table
from fairseq_lottery.analysis.sweep.tables import (
    FORMAT,
    CellRecord,
    MeasureRecord,
    SkippedTask,
    SweepRecord,
    write_tables,
)
from fairseq_lottery.errors import LotteryError

ROWS = [
    {"measure": "cka", "technique": "slt", "sparsity": 0.5, "seed": 1, "against": "dense",
     "other_seed": 1, "part": "encoder", "layer": 2, "other_layer": 1, "value": 0.25},
    {"measure": "rank", "technique": "dense", "sparsity": 0.0, "seed": 2, "statistic": "a, b",
     "value": -1e-300},
]  # fmt: skip


def record(rows=2, against="dense", **changes):
    values = {
        "format": FORMAT, "against": against, "subset": "valid", "words": 10, "data": "data",
        "counts": {"source": 1234, "target": 9},
        "measures": {"cka": MeasureRecord("CKA", "toy", "activations", 0.0, 1.0),
                     "rank": MeasureRecord("rank", "toy", "weights")},
        "cells": (CellRecord("slt", 0.5, 1, "best.pt", "0" * 64),), "rows": {"toy": rows},
        "skipped": (SkippedTask("cka of a", "few words"), SkippedTask("cka of b", "few words")),
        "version": __version__,
    }  # fmt: skip
    return SweepRecord(**{**values, **changes})


def test_what_is_written_is_read(tmp_path):
    write_tables(tmp_path, {"toy": ROWS}, record())
    sweep = read_sweep(tmp_path)
    assert sweep.rows == ROWS
    assert sweep.words == "1,234 source and 9 target words of valid"
    assert sweep.measures == record().measures
    assert sweep.skipped == {"few words": ["cka of a", "cka of b"]}
    assert read_sweep(tmp_path / "none") is None


@pytest.mark.parametrize("text, value", [
    ("", "measure is missing"),
    ("measure,value\nrank\n", "1 of 2 columns"),
    ("measure,value,size\nrank,1,2\n", "'size'"),
    ("measure,value,value\nrank,1,2\n", "'value'"),
    ("measure,value\nrank,nan\n", "'nan'"),
    ("measure,value\nrank,inf\n", "'inf'"),
    ("measure,value\nrank,one\n", "'one'"),
    ("measure,value\nrank,\n", "no value"),
    ("measure,value\n,1\n", "no measure"),
    ("measure,layer,value\nrank,-1,1\n", "'-1'"),
    ("measure,layer,value\nrank,1.5,1\n", "'1.5'"),
    ("measure,layer,value\nrank,99999999999,1\n", "99999999999"),
    ("measure,layer,value\nrank,\u0661,1\n", "\u0661"),
    ("measure,part,value\nrank,a\x1bb,1\n", "x1b"),
    ("measure,value\nrank,1" + "0" * 20_000 + "\n", "20006"),
    ('measure,value\n"rank,1\n', "not a table"),
])  # fmt: skip
def test_a_malformed_table_is_one_sentence(tmp_path, text, value):
    path = tmp_path / "toy.csv"
    path.write_text(text)
    with pytest.raises(LotteryError) as refused:
        list(read_table(path))
    assert value in str(refused.value) and str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_tables_that_do_not_fit_their_record_are_refused(tmp_path, monkeypatch):
    write_tables(tmp_path, {"toy": ROWS}, record(rows=3))
    with pytest.raises(LotteryError, match="2 rows, expected 3"):
        read_sweep(tmp_path)
    write_tables(tmp_path, {"toy": [{**ROWS[0], "measure": "other"}]}, record(rows=1))
    with pytest.raises(LotteryError, match="'other'"):
        read_sweep(tmp_path)
    write_tables(tmp_path, {"toy": ROWS}, record())
    monkeypatch.setattr(sweep_rows, "_LARGEST", 100)
    with pytest.raises(LotteryError, match="more than 100"):
        read_sweep(tmp_path)
    (tmp_path / "toy.csv").unlink()
    with pytest.raises(LotteryError, match="No such file"):
        read_sweep(tmp_path)


def test_a_record_of_an_earlier_version_shows_all_figures(tmp_path):
    write_tables(tmp_path, {"toy": ROWS}, record())
    path = tmp_path / "analysis.json"
    content = json.loads(path.read_text())
    content["measures"]["cka"]["in_report"] = None
    del content["measures"]["rank"]["in_report"]
    path.write_text(json.dumps(content))
    measures = read_sweep(tmp_path).measures
    assert measures["rank"].is_in_report("a") and not measures["cka"].is_in_report("")


@pytest.mark.parametrize("change", [
    {"rows": {"../toy": 2}}, {"rows": {"toy": -1}}, {"format": "2"}, {"measures": []},
    {"cells": [{}]}, {"subset": 1},
])  # fmt: skip
def test_a_malformed_record_is_refused(tmp_path, change):
    write_tables(tmp_path, {"toy": ROWS}, record())
    path = tmp_path / "analysis.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LotteryError, match="analysis.json"):
        read_sweep(tmp_path)


def test_sweeps_of_equal_words_are_merged(tmp_path):
    sweeps = []
    for number, one in enumerate((
        record(), record(counts={}), record(counts={"source": 5}), record(against="slt"),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        write_tables(folder, {"toy": ROWS}, one)
        sweeps.append(read_sweep(folder))
    merged = merge(sweeps[:2])
    assert len(merged.rows) == 4 and merged.words == sweeps[0].words
    assert merged.skipped == {"few words": ["cka of a", "cka of b"] * 2}
    with pytest.raises(LotteryError, match="5 source words"):
        merge([sweeps[0], sweeps[2]])
    with pytest.raises(LotteryError, match="against slt"):
        merge([sweeps[0], sweeps[3]])

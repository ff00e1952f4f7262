"""Rows as a table, with a record of what they were computed from."""

import csv
import json

import pytest

from fairseq_lottery.analysis.results import RECORD, Results
from fairseq_lottery.errors import LotteryError

ROWS = [
    {"measure": "a", "value": 0.5, "layer": 2},
    {"measure": "b", "value": 1, "part": "encoder, all"},
]
INPUTS = {"first": "0" * 64}


def test_columns_are_ordered_and_absent_values_are_empty(tmp_path):
    results = Results("similarity", INPUTS, ROWS)
    assert results.as_csv().splitlines()[0].split(",") == ["measure", "part", "layer", "value"]
    results.save(tmp_path / "out")
    with open(tmp_path / "out" / "similarity.csv", newline="") as file:
        assert [*csv.reader(file)] == [
            ["measure", "part", "layer", "value"],
            ["a", "", "2", "0.5"],
            ["b", "encoder, all", "", "1"],
        ]
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert (record["command"], record["inputs"]) == ("similarity", INPUTS)
    assert json.loads(results.as_json()) == {**record, "rows": ROWS}


def test_nothing_is_overwritten_unless_asked(tmp_path):
    results = Results("similarity", INPUTS, ROWS)
    results.save(tmp_path / "out")
    before = (tmp_path / "out" / "similarity.csv").read_bytes()
    with pytest.raises(LotteryError, match="exists"):
        Results("similarity", INPUTS, ROWS[:1]).save(tmp_path / "out")
    assert (tmp_path / "out" / "similarity.csv").read_bytes() == before
    Results("similarity", INPUTS, ROWS[:1]).save(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "similarity.csv").read_text().count("\n") == 2


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(LotteryError, match="no result"):
        Results("similarity", INPUTS, []).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()

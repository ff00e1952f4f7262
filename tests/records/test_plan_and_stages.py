import json

import pytest
from workflow.made import Work

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import read_plan, read_stage_plan
from fairseq_lottery.records.stage_records import (
    Calibration,
    read_calibration,
    read_scores,
    read_stage_record,
)

STAGE = {
    "name": "train-a", "kind": "train", "folder": "a", "title": "train", "command": ["true"],
    "needs": [], "leaves": ["a/best.pt"], "facts": {},
}  # fmt: skip
PLAN = {
    "title": "t", "configuration": "c.yaml", "stages": [STAGE], "keep": [], "gpus": 0, "threads": 1,
    "executor": "local",
    "cells": [{"technique": "mp", "sparsity": 0.5, "seed": 1, "training": "a"}],
}  # fmt: skip
SCORE = {"metric": "BLEU", "score": 26.6, "pruned": 900, "prunable": 1000, "update": 5,
         "denominator": "all-matrices"}  # fmt: skip


def test_a_whole_plan(tmp_path):
    """Of stages and of tables, as a workflow writes it."""
    work = Work(tmp_path, "slt", {"slt-mp": {"switch": [0.5]}}, sparsities=[0.5, 0.9])
    written = work.write_plan()
    plan = read_stage_plan(work.out)
    assert plan.stages == work.stages and len(plan.stages) > 10
    assert [stage["name"] for stage in written["stages"]] == [stage.name for stage in plan.stages]
    unused = {"data": None, "keeps_start": False}  # of a plan with one data set
    assert [vars(cell) for cell in plan.cells] == [{**c, **unused} for c in written["cells"]]
    table = read_plan(work.out)
    assert table.cells == plan.cells and table.sparsities == (0.0, 0.5, 0.9)
    assert table.recipe == written["recipe"]
    assert [table.rows_of(one.name) for one in table.techniques] == ["weights"] * 3


@pytest.mark.parametrize(
    "change, why",
    [
        ({"stages": [{**STAGE, "folder": "../../home"}]}, "stages[0].folder is '../../home'"),
        ({"stages": [{**STAGE, "folder": "/etc"}]}, "'/etc', expected a path inside its folder"),
        ({"stages": [{**STAGE, "leaves": ["a/../../x.pt"]}]}, "leaves[0] is 'a/../../x.pt'"),
        ({"cells": [{**PLAN["cells"][0], "training": ".."}]}, "cells[0].training is '..'"),
        ({"stages": [{**STAGE, "command": [1]}]}, "command[0] is 1, expected a text"),
        ({"stages": [{**STAGE, "kind": "other"}]}, "kind is 'other', expected one of rank, "),
        ({"stages": [3]}, "stages[0] is 3, expected a mapping"),
        ({"stages": [{**STAGE, "kind": "score"}]}, "score-a.facts.evaluation is missing"),
        ({"stages": [{**STAGE, "kind": "rank"}]}, "rank-a.facts.of is missing"),
        ({"stages": [{**STAGE, "facts": {"parts": {"file": "a/parts.json"}}}]},
         "train-a.facts.parts.kind is missing"),
        ({"stages": [{**STAGE, "facts": {"parts": {"file": "a/p.json", "kind": "heads"}}}]},
         "train-a does not need the file of its components"),
        ({"gpus": True}, "gpus is True, expected an integer"),
        ({"threads": "1"}, "threads is '1', expected an integer"),
        ({"keep": None}, "keep is None, expected a list"),
    ],
)
def test_a_plan_that_stages_must_not_follow(tmp_path, change, why):
    (tmp_path / "plan.json").write_text(json.dumps({**PLAN, **change}))
    with pytest.raises(LotteryError) as refused:
        read_stage_plan(tmp_path)
    assert "plan.json is malformed (" in str(refused.value) and why in str(refused.value)


@pytest.mark.parametrize("name", ["stages", "keep", "gpus", "cells"])
def test_a_plan_without_what_stages_need(tmp_path, name):
    (tmp_path / "plan.json").write_text(json.dumps({n: v for n, v in PLAN.items() if n != name}))
    with pytest.raises(LotteryError, match=f"plan.json is malformed .{name} is missing"):
        read_stage_plan(tmp_path)


def test_no_plan_at_all(tmp_path):
    with pytest.raises(LotteryError, match="has no plan.json; cd into the folder of a workflow"):
        read_stage_plan(tmp_path)
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(LotteryError, match="plan.json cannot be read .Is a directory"):
        read_stage_plan(tmp_path)


@pytest.mark.parametrize(
    "record, why",
    [
        ("[]", "it is a list"),
        ('{"seconds": "10"}', "seconds is '10', expected a number"),
        ('{"seconds": NaN}', "seconds is nan"),
        ('{"measured": {"best": 3}}', "measured.best is 3, expected a mapping"),
        ('{"measured": {"best": {"prunable": null}}}', "measured.best.prunable is None"),
        ('{"curves": [3]}', "curves[0] is 3"),
        ('{"content": {"flags": 3}}', "content.flags is 3"),
        ('{"parts": {"file": "/etc/passwd", "kind": "heads"}}', "parts.file is '/etc/passwd'"),
    ],
)
def test_a_record_that_says_something_else(tmp_path, record, why):
    (tmp_path / "train.json").write_text(record)
    with pytest.raises(LotteryError) as refused:
        read_stage_record(tmp_path / "train.json")
    assert why in str(refused.value) and str(refused.value).endswith("; delete it")


def test_a_record_that_was_cut_off_is_none(tmp_path):
    assert read_stage_record(tmp_path / "train.json") is None
    (tmp_path / "train.json").write_bytes(b'{"seconds": 1')
    assert read_stage_record(tmp_path / "train.json") is None


@pytest.mark.parametrize(
    "text, why",
    [
        (json.dumps({**SCORE, "prunable": 0}), "prunable is 0"),
        (json.dumps({**SCORE, "pruned": None}), "pruned is None, expected an integer"),
        ("{", "line 1 is not JSON ("),
        ("[]", "it is a list"),
        ("\udcff", "it is not UTF-8"),
    ],
)
def test_scores_that_are_none(tmp_path, text, why):
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(SCORE) + "\n\n")
    (row,) = read_scores(path)
    assert {name: value for name, value in vars(row).items() if value is not None} == SCORE
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LotteryError) as refused:
        read_scores(path)
    assert why in str(refused.value)


def test_a_calibration(tmp_path):
    assert read_calibration(tmp_path) == Calibration()
    path = tmp_path / "calibration.json"
    path.write_text('{"seconds_per_update": 0.5, "updates": 200}')
    assert read_calibration(tmp_path) == Calibration(0.5, None, 200)
    for value in ("0", "-1", "true", '"1"', "1e999"):
        path.write_text(f'{{"parameters": {value}}}')
        with pytest.raises(LotteryError, match="calibration.json is malformed .*; delete it"):
            read_calibration(tmp_path)

import json

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.planning.folder_files import (
    read_object,
    read_plan,
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
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    assert read_plan(tmp_path) == PLAN


@pytest.mark.parametrize(
    "change, why",
    [
        ({"stages": [{**STAGE, "folder": "../../home"}]}, "'../../home' leads out of its folder"),
        ({"stages": [{**STAGE, "folder": "/etc"}]}, "'/etc' leads out of its folder"),
        ({"stages": [{**STAGE, "leaves": ["a/../../x.pt"]}]}, "leads out of its folder"),
        ({"cells": [{**PLAN["cells"][0], "training": ".."}]}, "'..' leads out of its folder"),
        ({"stages": [{**STAGE, "command": [1]}]}, "a command of train-a is none"),
        ({"stages": [{**STAGE, "more": 1}]}, "a stage of it says more than stages do"),
        ({"stages": [3]}, "it has a int for an entry"),
        ({"stages": [{**STAGE, "kind": "score"}]}, "it has no evaluation"),
        ({"stages": [{**STAGE, "facts": {"parts": {"file": "a/parts.json"}}}]}, "it has no kind"),
        ({"stages": [{**STAGE, "facts": {"parts": {"file": "/etc/passwd", "kind": "heads"}}}]},
         "train-a needs no file of parts"),
        ({"gpus": True}, "its gpus is a bool"),
        ({"threads": "1"}, "its threads is a str"),
    ],
)
def test_a_plan_that_stages_must_not_follow(tmp_path, change, why):
    (tmp_path / "plan.json").write_text(json.dumps({**PLAN, **change}))
    with pytest.raises(LotteryError) as refused:
        read_plan(tmp_path)
    assert "plan.json is damaged (" in str(refused.value) and why in str(refused.value)


def test_no_plan_at_all(tmp_path):
    with pytest.raises(LotteryError, match="is no folder of a workflow; cd into one"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(LotteryError, match="plan.json cannot be read .Is a directory"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "record, why",
    [
        ("[]", "it is a list"),
        ('{"seconds": "10"}', "its seconds is a str"),
        ('{"seconds": NaN}', "its seconds are nan"),
        ('{"measured": {"best": 3}}', "it has a int for an entry"),
        ('{"curves": [3]}', "it has a int for an entry"),
        ('{"content": {"flags": 3}}', "its flags are no mapping"),
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
    assert read_object(tmp_path / "gone.json") is None


@pytest.mark.parametrize(
    "text, why",
    [
        (json.dumps({**SCORE, "prunable": 0}), "its prunable is 0"),
        (json.dumps({**SCORE, "pruned": None}), "its pruned is a NoneType"),
        ("{", "is damaged ("),
        ("[]", "it has a list for an entry"),
        ("\udcff", "it is not UTF-8"),
    ],
)
def test_scores_that_are_none(tmp_path, text, why):
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(SCORE) + "\n\n")
    assert read_scores(path) == [SCORE]
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LotteryError) as refused:
        read_scores(path)
    assert why in str(refused.value)

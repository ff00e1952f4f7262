import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.made import Made, score_record
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import Score
from fairseq_lottery.report import read_run


@pytest.fixture
def folder(tmp_path):
    return Made(tmp_path / "run").write()


def lines(folder, *records):
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
    (folder / "records.jsonl").write_text(text)


def test_every_kind_is_read(folder):
    curve = {"kind": "curve", "technique": "slt", "sparsity": 0.9, "seed": 1, "training": "t"}
    model = {**curve, "kind": "model", "file": "t/best.pt", "checkpoint": "best"}
    lines(
        folder,
        score_record(score=26),
        {**curve, "update": 250, "split": "valid", "metric": "loss", "value": 5.31},
        {**model, "matrices": {"w": 0.1}},
    )
    run = read_run(folder)
    assert not run.choices and not run.importance
    assert [s.score for s in run.scores] == [26.0] and isinstance(run.scores[0], Score)
    assert [(c.update, c.value) for c in run.curves] == [(250, 5.31)]
    assert [(m.file, m.matrices) for m in run.models] == [("t/best.pt", {"w": 0.1})]
    assert [one.name for one in run.plan.techniques] == ["dense", "mp", "slt", "random"]
    assert run.plan.techniques[1].title == "MP" and run.plan.sparsities == (0.5, 0.9)


PARTS = {
    "kind": "parts", "technique": "heads-lowest", "sparsity": 0.5, "seed": 1,
    "training": "seed1/heads", "file": "seed1/heads/parts.json",
}  # fmt: skip
IMPORTANCE = {
    **PARTS, "kind": "importance", "technique": "dense", "sparsity": 0.0, "measure": "l1",
}  # fmt: skip


def test_what_is_kept_and_how_important_it_is(folder):
    closed = {"heads": 0.5, "units": 0, "blocks": 0.25}
    lines(folder, PARTS, IMPORTANCE, score_record(closed=closed))
    run = read_run(folder)
    assert [(one.technique, one.file) for one in run.choices] == [
        ("heads-lowest", "seed1/heads/parts.json")
    ]
    assert [(one.measure, one.seed) for one in run.importance] == [("l1", 1)]
    assert run.scores[0].closed == closed


@pytest.mark.parametrize(
    "line, said",
    [
        ({**PARTS, "file": None}, "file is None"),
        ({**PARTS, "file": "a\nb"}, "file is 'a\\nb', expected a line of text"),
        ({**PARTS, "seed": "1"}, "seed is '1', expected an integer"),
        ({**PARTS, "sparsity": 2}, "sparsity is 2, expected a share from 0 to 1"),
        ({**IMPORTANCE, "measure": 3}, "measure is 3, expected a line of text"),
        ({**IMPORTANCE, "measure": None}, "measure is None"),
        (
            {**IMPORTANCE, "sparsity": 0.5},
            "importance requires the dense model at",
        ),
        ({**IMPORTANCE, "technique": "mp"}, "importance requires the dense model"),
        (score_record(closed={"heads": 1.5}), "closed.heads is 1.5, expected a share"),
        (score_record(closed={"heads": True}), "closed.heads is True, expected a share"),
        (score_record(closed=[0.5]), "closed is [0.5], expected a mapping"),
    ],
)
def test_a_bad_line_about_heads_is_named(folder, line, said):
    lines(folder, score_record(), line)
    with pytest.raises(LotteryError) as caught:
        read_run(folder)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", ["weight", None, 3, ["heads"]])
def test_rows_that_are_none(folder, rows):
    plan = json.loads((folder / "plan.json").read_text())
    plan["techniques"][1]["rows"] = rows
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(LotteryError, match="expected one of weights, heads"):
        read_run(folder)


def test_sparsities_that_differ_by_rounding_are_one(folder):
    lines(folder, score_record(sparsity=1 - 0.1), score_record(sparsity=0.9, seed=2))
    assert {score.sparsity for score in read_run(folder).scores} == {0.9}


@pytest.mark.parametrize(
    "line, said",
    [
        ("{", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("[]", "line 2 has kind None"),
        ({"kind": "other"}, "line 2 has kind 'other', expected one of score, curve, model"),
        (score_record(score=None), "score is None, expected a finite number"),
        (score_record(score="26.6"), "score is '26.6', expected a finite number"),
        (score_record(score=True), "score is True, expected a finite number"),
        (score_record(score=float("nan")), "score is nan, expected a finite number"),
        (score_record(seed=1.5), "seed is 1.5, expected an integer"),
        (score_record(sparsity=90), "sparsity is 90, expected a share from 0 to 1"),
        (score_record(seed=-1), "seed is -1, expected an integer from 0"),
        (score_record(technique="a\x1b[2J"), "technique is 'a\\x1b[2J', expected a line"),
        (score_record(training="x" * 5000), "training is 'xxx"),
        (json.dumps(score_record()).replace("26.6", "9" * 400),
        "line 2 is not JSON (the number 99"),
        (json.dumps(score_record()).replace('"slt"', '"\\ud800"'), "line 2 is not JSON ('utf-8'"),
        (json.dumps(score_record())[:-1] + ', "seed": 2}',
        "line 2 is not JSON ('seed' is given twice"),
    ],
)
def test_a_bad_line_is_named(folder, line, said):
    lines(folder, score_record(), line)
    with pytest.raises(LotteryError) as caught:
        read_run(folder)
    assert said in str(caught.value) and "records.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(LotteryError, match="there is no folder"):
        read_run(tmp_path / "nowhere")
    (folder / "records.jsonl").unlink()
    with pytest.raises(LotteryError, match="run has no records.jsonl"):
        read_run(folder)
    (folder / "plan.json").unlink()
    with pytest.raises(LotteryError, match="run has no plan.json"):
        read_run(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"title": 3}, {"title": "a\x1b[2J"}, {"seeds": ["1"]}, {"seeds": [1.0]}, {"seeds": [-1]},
        {"sparsities": ["0.5"]}, {"sparsities": [float("inf")]}, {"sparsities": [2]},
        {"recipe": [["a", 1]]}, {"recipe": {"a": {}}}, {"published": 3},
        {"techniques": [{"name": 1, "title": "x"}]}, {"cells": [{"technique": "slt"}]},
    ],
)  # fmt: skip
def test_a_plan_with_entries_of_other_types(folder, change):
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, **change}))
    with pytest.raises(LotteryError, match="plan.json is malformed"):
        read_run(folder)


def test_a_folded_title_is_one_line(folder):
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "title": "Small\ntask\n"}))
    assert read_run(folder).plan.title == "Small task"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"title": "t", "techniques": [1]}'])
def test_a_plan_that_is_none(folder, text):
    (folder / "plan.json").write_text(text)
    with pytest.raises(LotteryError, match="plan.json is malformed"):
        read_run(folder)


def test_a_file_that_is_no_text(folder):
    (folder / "records.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(LotteryError, match="records.jsonl cannot be read .it is not UTF-8"):
        read_run(folder)
    (folder / "records.jsonl").unlink()
    os.mkfifo(folder / "records.jsonl")
    with pytest.raises(LotteryError, match="records.jsonl cannot be read .it is a pipe"):
        read_run(folder)


@PROPERTY
@given(
    st.one_of(
        st.text(),
        st.dictionaries(st.sampled_from(sorted(score_record())), st.none() | st.integers()).map(
            lambda changes: json.dumps({**score_record(), **changes})
        ),
    )
)
def test_any_line_is_read_or_named(tmp_path_factory, line):
    folder = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}"
    if not folder.exists():
        Made(folder).write()
    (folder / "records.jsonl").write_text(line, encoding="utf-8")
    try:
        read_run(folder)
    except LotteryError as error:
        assert "line " in str(error)

import json
import os
import time

import pytest
from workflow.made import MASKED, TRAIN, Work

from fairseq_lottery.records.cells import Curve, Model, Score
from fairseq_lottery.records.plan import read_stage_plan
from fairseq_lottery.records.stage_records import ScoreRow
from fairseq_lottery.workflow.stages import record_lines
from fairseq_lottery.workflow.stages.record_lines import collect, refresh, run_signature

MATRICES = {"encoder.fc1": 0.5, "encoder.fc2": 0.5}
CURVES = [
    {"split": "train", "update": 20, "metric": "loss", "value": 6.5},
    {"split": "valid", "update": 20, "metric": "bleu", "value": 1.25},
]


def scored(work, stage, sparsity, value, metrics=("BLEU", "TER")):
    """What the scoring of a cell leaves."""
    rows = [
        {
            "metric": metric, "score": value, "signature": f"nrefs:1|{metric}", "sentences": 60,
            "update": 980, "pruned": round(1000 * sparsity), "prunable": 1000,
            "denominator": "all-matrices",
            "signature_of_ticket": "score:magnitude|reset:rewind@50" if sparsity else None,
        }
        for metric in metrics
    ]  # fmt: skip
    work.finish(stage)
    path = work.out / stage.folder / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def mp(tmp_path):
    """MP and MP-SLT to 60 %, which share a training; all finished but the scores."""
    work = Work(tmp_path, "mp", "mp-slt", sparsities=[0.6], evaluate=[{"beam": 4, "lenpen": 0.6}])
    measured = {"best": {"prunable": 1000, "matrices": MATRICES}}
    for stage in work.stages:
        if stage.kind in ("train", "generate"):
            extra = {"measured": measured, "curves": CURVES} if stage.kind == "train" else {}
            work.finish(stage, **extra)
    return work


def rows(work, kind):
    found = [json.loads(line) for line in (work.out / "records.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def test_rows_of_a_cell(mp):
    mp.write_plan()
    scored(mp, mp.stage("score", "mp", 0.6), 0.6, 26.625)
    refresh(mp.out)
    folder = mp.cell("mp", 0.6).training.folder
    score = rows(mp, "score")[0]
    assert score == {
        "kind": "score",
        "technique": "mp",
        "sparsity": 0.6,
        "seed": 1,
        "training": folder,
        "evaluation": "best-beam4-lenpen0.6",
        "checkpoint": "best",
        "beam": 4,
        "lenpen": 0.6,
        "subset": "test",
        "metric": "BLEU",
        "score": 26.625,
        "signature": "nrefs:1|BLEU",
        "sentences": 60,
        "update": 980,
        "pruned": 600,
        "prunable": 1000,
        "denominator": "all-matrices",
        "run": f"technique:mp|sparsity:0.6000|of:all-matrices:1000|update:980|seed:1"
        f"|training:{folder}|version:0.2.0 from score:magnitude|reset:rewind@50",
        "hypotheses": f"{folder}/best-beam4-lenpen0.6/hypotheses.txt",
        "references": "../../test.de",
    }
    who = {"technique": "mp", "sparsity": 0.6, "seed": 1, "training": folder}
    assert [row for row in rows(mp, "curve") if row["technique"] == "mp"] == [
        {"kind": "curve", **who, **row} for row in CURVES
    ]
    assert [row for row in rows(mp, "model") if row["technique"] == "mp"] == [
        {"kind": "model", **who, "file": f"{folder}/best.pt", "checkpoint": "best",
         "matrices": MATRICES}
    ]  # fmt: skip


def test_a_shared_training_fills_the_rows_of_both_its_cells(mp):
    mp.write_plan()
    scored(mp, mp.stage("score", "mp", 0.6), 0.6, 26.5)
    refresh(mp.out)
    found = [(row["technique"], row["metric"], row["score"]) for row in rows(mp, "score")]
    assert found == [(t, m, 26.5) for t in ("mp", "mp-slt") for m in ("BLEU", "TER")]
    one, other = rows(mp, "score")[0], rows(mp, "score")[2]
    assert one["training"] == other["training"]
    assert one["run"].replace("technique:mp|", "technique:mp-slt|") == other["run"]


def test_the_dense_run_is_a_row_of_its_own(mp):
    mp.write_plan()
    scored(mp, mp.stage("score", "dense", 0.0), 0.0, 26.75)
    refresh(mp.out)
    found = rows(mp, "score")[0]
    assert (found["technique"], found["sparsity"], found["pruned"]) == ("dense", 0.0, 0)
    assert found["run"].endswith("|version:0.2.0")


def test_only_what_is_finished_has_rows(mp):
    mp.write_plan()
    refresh(mp.out)
    assert rows(mp, "score") == []
    assert len(rows(mp, "curve")) == 3 * 2 and len(rows(mp, "model")) == 3
    stage = mp.stage("score", "mp", 0.6)
    scored(mp, stage, 0.6, 1.0)
    record = mp.out / stage.record
    content = record.read_text()
    record.unlink()  # killed before its record
    refresh(mp.out)
    assert rows(mp, "score") == []
    record.write_text(content)
    (mp.out / mp.stage("train", "mp", 0.6).record).unlink()  # it trains again
    refresh(mp.out)
    assert rows(mp, "score") == []
    assert {row["technique"] for row in rows(mp, "curve")} == {"dense"}


def test_scores_of_other_settings_are_no_rows(tmp_path):
    first = Work(tmp_path, "mp", sparsities=[0.5], metrics=["BLEU"])
    first.finish()
    for stage in first.stages:
        if stage.kind == "score":
            scored(first, stage, stage.facts.get("sparsity", 0.0), 20.0, ["BLEU"])
    first.write_plan()
    refresh(first.out)
    assert len(rows(first, "score")) == 2
    other = Work(tmp_path, "mp", sparsities=[0.5], metrics=["TER"])
    other.write_plan()
    refresh(other.out)
    assert rows(other, "score") == []
    scored(other, other.stage("score", "mp", 0.5), 0.5, 60.0, ["TER"])
    refresh(other.out)
    assert [(row["technique"], row["metric"]) for row in rows(other, "score")] == [("mp", "TER")]


def test_rows_are_in_the_order_of_the_plan_whatever_was_finished_first(tmp_path):
    work = Work(
        tmp_path, "slt", "mp", sparsities=[0.5, 0.9], seeds=[1, 2],
        evaluate=[{}, {"checkpoint": "average:5"}], train=f"{TRAIN} --save-interval-updates 50",
    )  # fmt: skip
    plan = work.write_plan()
    measured = {c: {"prunable": 10, "matrices": {}} for c in ("best", "average:5")}
    for stage in reversed(work.stages):
        if stage.kind == "score":
            scored(work, stage, 0.5, 1.0, ["BLEU"])
        elif stage.kind == "train":
            work.finish(stage, measured=measured)
    refresh(work.out)
    names = [(r["technique"], r["sparsity"], r["seed"], r["evaluation"])
             for r in rows(work, "score")]  # fmt: skip
    assert names == [
        (cell["technique"], cell["sparsity"], cell["seed"], evaluation)
        for cell in plan["cells"]
        for evaluation in ("best-beam5-lenpen1", "average5-beam5-lenpen1")
    ]
    assert len(names) == (1 + 2 + 2) * 2 * 2
    files = {row["file"].rpartition("/")[2] for row in rows(work, "model")}
    assert files == {"best.pt", "average5.pt"}


def test_an_adopted_dense_run_has_rows(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5], adopt={"dense": "old"})
    measured = {"best": {"prunable": 10, "matrices": {}}}
    work.finish(work.stage("adopt", "dense", 0.0), measured=measured)
    scored(work, work.stage("score", "dense", 0.0), 0.0, 26.75)
    work.write_plan()
    found = collect(work.out, read_stage_plan(work.out))
    assert [type(row) for row in found] == [Score, Score, Model]


def test_the_signature_counts_the_model_itself():
    who = {"technique": "slt", "sparsity": 0.9, "seed": 2, "training": "seed2/x"}
    row = ScoreRow("BLEU", 20.0, 5, 204998, 227776, "ffn")
    assert run_signature(who, row, "1.0") == (
        "technique:slt|sparsity:0.9000|of:ffn:227776|update:5|seed:2|training:seed2/x|version:1.0"
    )


def test_the_plan_as_reports_read_it(tmp_path):
    work = Work(
        tmp_path, "mp", {"slt": {"title": "Stable", "rewind": [0, 50]}}, sparsities=[0.5, 0.9],
        seeds=[1, 2], title="Small", published="brix-2020",
    )  # fmt: skip
    plan = work.write_plan()
    assert plan["title"] == "Small" and plan["published"] == "brix-2020"
    assert plan["techniques"] == [
        {"name": "dense", "title": "dense"}, {"name": "mp", "title": "MP", "rows": "weights"},
        {"name": "slt-t0", "title": "Stable, t = 0", "rows": "weights"},
        {"name": "slt-t50", "title": "Stable, t = 50", "rows": "weights"},
    ]  # fmt: skip
    assert (plan["sparsities"], plan["seeds"]) == ([0.0, 0.5, 0.9], [1, 2])
    assert plan["recipe"]["updates"] == 1000
    assert len(plan["cells"]) == 2 * (1 + 3 * 2)
    assert len(plan["stages"]) == len(plan["jobs"]) == len(work.stages)


def test_closed_parts_and_what_ranks_them_have_rows(tmp_path):
    asked = {"heads-lowest": {"then": ["zero-shot", "rewind"]}}
    work = Work(tmp_path, asked, "s-bad", "heads-gates", sparsities=[0.5])
    plan = work.write_plan()
    assert [(t["name"], t.get("rows")) for t in plan["techniques"]] == [
        ("dense", None), ("heads-lowest-zero-shot", "heads"), ("heads-lowest-rewind", "heads"),
        ("s-bad-fine-tune", "metric"), ("heads-gates-fine-tune", "heads"),
    ]  # fmt: skip
    refresh(work.out)
    assert rows(work, "importance") == rows(work, "parts") == []
    work.finish()
    for stage in work.stages:
        if stage.kind == "score":
            scored(work, stage, 0.5, 20.0)
    refresh(work.out)
    dense = work.cell("dense", 0.0).training.folder
    # the gates' own ranks are of no cell, so they stand in no table
    assert rows(work, "importance") == [
        {"kind": "importance", "technique": "dense", "sparsity": 0.0, "seed": 1, "training": dense,
         "measure": "gradient-sentence", "file": f"{dense}/gradient-sentence/scores.json"},
    ]  # fmt: skip
    files = {row["technique"]: row["file"] for row in rows(work, "parts")}
    own = {name: work.cell(name, 0.5).training.folder for name in files}
    assert files == {
        "heads-lowest-zero-shot": f"{own['heads-lowest-zero-shot']}/parts.json",
        "heads-lowest-rewind": f"{own['heads-lowest-rewind']}/parts.json",
        "s-bad-fine-tune": f"{dense}/search-s-0.5-gradient-sentence/found-bad.json",
        "heads-gates-fine-tune": f"{own['heads-gates-fine-tune']}/parts.json",
    }


def test_two_stages_that_end_together_lose_no_row(tmp_path, monkeypatch):
    """The first has collected its rows when the second ends, and writes them afterwards."""
    inside, outside = os.pipe()

    def found(out, plan):
        return [
            Curve("mp", 0.5, 1, path.stem, 1, "valid", "loss", 1.0)
            for path in sorted(out.glob("*.done"))
        ]

    def slowly(out, plan):
        rows = found(out, plan)
        os.write(outside, b"x")
        time.sleep(1)
        return rows

    monkeypatch.setattr(record_lines, "read_stage_plan", lambda out: None)
    monkeypatch.setattr(record_lines, "collect", found)
    (tmp_path / "first.done").touch()
    first = os.fork()
    if not first:
        record_lines.collect = slowly
        record_lines.refresh(tmp_path)
        os._exit(0)
    os.read(inside, 1)
    (tmp_path / "second.done").touch()
    record_lines.refresh(tmp_path)
    assert os.waitpid(first, 0)[1] == 0
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["training"] for line in lines] == ["first", "second"]


def test_a_validation_has_neither_hypotheses_nor_references(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5], **MASKED)
    work.finish(*(stage for stage in work.stages if stage.kind == "train"))
    for technique, sparsity in (("dense", 0.0), ("slt", 0.5)):
        scored(work, work.stage("score", technique, sparsity), sparsity, 5.5, ("loss",))
    work.write_plan()
    refresh(work.out)
    found = rows(work, "score")
    assert [(row["metric"], row["score"]) for row in found] == [("loss", 5.5)] * 2
    assert not {"hypotheses", "references", "beam", "lenpen"} & {n for row in found for n in row}
    assert {row["subset"] for row in found} == {"valid"}


def test_costs_add_up_over_all_trainings_behind_a_cell(tmp_path):
    """SLT in two rounds: the dense training and each round; MP its own only."""
    work = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9])
    trained = [stage for stage in work.stages if stage.kind == "train"]
    flops = {}
    for number, stage in enumerate(trained):
        flops[stage.folder] = (10.0**number, 2 * 10.0**number)
        dense, sparse = flops[stage.folder]
        work.finish(stage, flops={"dense": dense, "sparse": sparse})
    work.write_plan()
    refresh(work.out)
    found = {(row["technique"], row["sparsity"]): row for row in rows(work, "cost")}
    assert len(found) == 5
    updates = work.cell("mp", 0.5).training.updates
    behind = {
        ("mp", 0.5): [("mp", 0.5)],
        ("mp", 0.9): [("mp", 0.9)],
        ("slt", 0.5): [("dense", 0), ("slt", 0.5)],
        ("slt", 0.9): [("dense", 0), ("slt", 0.5), ("slt", 0.9)],
    }
    for cell, trainings in behind.items():
        counted = [flops[work.cell(*one).training.folder] for one in trainings]
        assert found[cell]["flops"] == sum(dense for dense, _ in counted)
        assert found[cell]["sparse_flops"] == sum(sparse for _, sparse in counted)
        assert found[cell]["updates"] == updates * len(trainings)


def test_a_cell_with_an_uncounted_training_has_no_cost(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5])
    for stage in work.stages:
        if stage.kind == "train":
            is_dense = stage.folder == work.cell("dense", 0).training.folder
            work.finish(stage, **({} if is_dense else {"flops": {"dense": 1.0, "sparse": 1.0}}))
    work.write_plan()
    refresh(work.out)
    assert rows(work, "cost") == []

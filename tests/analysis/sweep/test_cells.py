"""The cells of run folders, and the models that they select."""

import json

import pytest

pytest.importorskip("torch")
from report.made import Made

from fairseq_lottery.analysis.sweep.cells import find_cells
from fairseq_lottery.errors import LotteryError


def test_cells_are_by_technique_sparsity_and_seed_the_dense_ones_first(tmp_path):
    run = Made(tmp_path / "run", ("slt", "mp"), (0.5, 0.9), (2, 1)).model().write()
    cells, missing = find_cells([run])
    assert [cell.name for cell in cells] == [
        "dense@0#1", "dense@0#2", "slt@0.5#1", "slt@0.5#2", "slt@0.9#1", "slt@0.9#2",
        "mp@0.5#1", "mp@0.5#2", "mp@0.9#1", "mp@0.9#2",
    ]  # fmt: skip
    assert missing == []
    assert cells[3].file == run / "seed2/slt-0.5/best.pt"
    assert cells[3].folder == "slt-0.5-seed2"


def test_the_model_of_the_first_evaluation_is_selected(tmp_path):
    made = Made(tmp_path / "run", ("slt",), (0.5,)).model()
    made.records += [{**r, "file": "last.pt", "checkpoint": "last"} for r in made.records]
    cells, _ = find_cells([made.write()])
    assert {cell.file.name for cell in cells} == {"best.pt"}


def stage(kind, folder, first=0):
    """The stage of a training, as a plan has it."""
    return {"kind": kind, "folder": folder, "title": folder, "command": [], "needs": [],
            "leaves": [], "facts": {"updates": 9, "first_update": first}}  # fmt: skip


def test_a_cell_starts_from_its_first_snapshot_or_its_ticket(tmp_path):
    made = Made(tmp_path / "run", ("slt", "mp"), (0.5, 0.9)).model()
    made.plan["stages"] = [
        stage("adopt", "seed1/dense-0"), stage("train", "seed1/slt-0.5", 5),
        stage("train", "seed1/slt-0.9", 5), stage("train", "seed1/mp-0.5"),
        stage("close", "seed1/mp-0.9"),
    ]  # fmt: skip
    run = made.write()
    for file in (
        "dense-0/snapshot_0", "slt-0.5/snapshot_0", "slt-0.5/snapshot_5", "slt-0.5/ticket",
        "slt-0.9/snapshot_0", "slt-0.9/ticket", "mp-0.5/snapshot_5", "mp-0.9/ticket",
    ):  # fmt: skip
        (run / f"seed1/{file}.safetensors").touch()
    starts = {cell.name: cell.start for cell in find_cells([run])[0]}
    assert starts == {
        "dense@0#1": run / "seed1/dense-0/snapshot_0.safetensors",
        "slt@0.5#1": run / "seed1/slt-0.5/snapshot_5.safetensors",
        "slt@0.9#1": run / "seed1/slt-0.9/ticket.safetensors",
        "mp@0.5#1": None,  # its first snapshot is deleted
        "mp@0.9#1": None,  # it is pruned and not trained
    }


def test_a_missing_model_is_told_apart(tmp_path):
    run = Made(tmp_path / "run", ("slt",), (0.5,)).model().write()
    (run / "seed1/slt-0.5/best.pt").unlink()
    cells, missing = find_cells([run])
    assert [cell.name for cell in cells] == ["dense@0#1"]
    assert [cell.name for cell in missing] == ["slt@0.5#1"]


def test_seeds_of_several_folders_are_joined_by_recipe(tmp_path):
    first = Made(tmp_path / "a", ("slt",), (0.5,), (1,)).model().write()
    second = Made(tmp_path / "b", ("slt",), (0.5,), (2,)).model().write()
    other = Made(tmp_path / "c", ("slt",), (0.5,), (1,), recipe={"updates": 9}).model().write()
    cells, _ = find_cells([first, second, other])
    assert [(c.name, c.run.name) for c in cells if c.technique == "slt"] == [
        ("slt@0.5#1", "a"), ("slt@0.5#1", "c"), ("slt@0.5#2", "b"),
    ]  # fmt: skip
    assert len({cell.recipe for cell in cells}) == 2


def test_bad_input_is_one_sentence(tmp_path):
    run = Made(tmp_path / "run", ("slt",), (0.5,)).model().write()
    twin = Made(tmp_path / "twin", ("slt",), (0.5,)).model().write()
    empty = Made(tmp_path / "empty").write()
    for runs, value in (
        ([run, run], "given twice"),
        ([run, twin], "dense@0#1"),
        ([empty], "no model is evaluated"),
        ([tmp_path / "none"], "none"),
    ):
        with pytest.raises(LotteryError, match=value):
            find_cells(runs)
    (run / "plan.json").write_text(json.dumps({"title": 1}))
    with pytest.raises(LotteryError, match="plan.json"):
        find_cells([run])

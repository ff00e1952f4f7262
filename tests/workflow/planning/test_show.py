import json
from pathlib import Path

import pytest
from rich.console import Console
from workflow.made import TABLE_1, TRAIN, Work

from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
from fairseq_lottery.workflow.planning.cost import estimate
from fairseq_lottery.workflow.planning.folder_state import find_work
from fairseq_lottery.workflow.planning.plan import make_plan
from fairseq_lottery.workflow.planning.show import as_json, lines, rows, show
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

KNOWN = {"seconds_per_update": 0.5, "parameters": 1_000_000}


def told(work, jobs=1):
    cost = estimate(work.configuration, work.stages, work.work, jobs)
    return lines(work.plan, work.work, cost, jobs)


def test_a_plan_in_words(tmp_path):
    work = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9], cost=KNOWN)
    assert told(work, 2) == [
        "5 cells by 5 trainings (8 if none were shared)",
        "to do: 5 trainings, 5,000 updates, 17 stages",
        "time: 0.7 CPU-hours of training; 25 min on the longest chain, 25 min with --jobs 2"
        " (known from cost: in the configuration)",
        "disk: at most 0.08 GB more, 0.02 GB more at the end",
    ]


def test_a_plan_that_nothing_is_known_of(tmp_path):
    work = Work(tmp_path, *TABLE_1, resources={"gpus": 1})
    assert told(work) == [
        "69 cells by 64 trainings (345 if none were shared)",
        "to do: 64 trainings, 64,000 updates, 241 stages",
        "time and disk: unknown; give --calibrate, which trains 200 updates, or set cost: in the"
        " configuration",
    ]
    seconds = Work(tmp_path, *TABLE_1, cost={"seconds_per_update": 0.5})
    assert told(seconds)[2].startswith("time: 8.9 CPU-hours of training; ")
    assert told(seconds)[3].startswith("disk: unknown; give --calibrate")
    parameters = Work(tmp_path, *TABLE_1, cost={"parameters": 1_000_000})
    assert told(parameters)[2].startswith("disk: at most ")
    assert told(parameters)[3].startswith("time: unknown; give --calibrate")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "100 s"), (0.5, "8 min"), (10.0, "2.8 h"), (400.0, "4.6 days")],
)
def test_times(tmp_path, seconds, text):
    slt = {"slt": {"sparsities": [0.5], "rounds": [0.5]}}
    work = Work(tmp_path, slt, cost={"seconds_per_update": seconds}, resources={"gpus": 8})
    work.finish(work.stages[0], seconds=seconds * 1000)
    assert f"; {text} on the longest chain" in told(work)[2]


def test_repeats_are_told(tmp_path):
    first = Work(tmp_path, "mp", sparsities=[0.5])
    first.finish()
    work = Work(tmp_path, "mp", sparsities=[0.5], train=TRAIN.replace("7e-4", "5e-4"))
    folder = first.cell("dense", 0.0).training.folder
    assert told(work)[3] == (
        f"again: train dense, seed 1: finished as {folder}, but --lr was '0.0007' and is '0.0005'"
    )
    assert len(told(work)) == 5


def test_the_table(tmp_path):
    work = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9], seeds=[1, 2], title="Small")
    work.finish(*(s for s in work.stages if s.folder.startswith("seed1/")))
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    show(console, work.plan, work.work, estimate(work.configuration, work.stages, work.work, 1), 1)
    rows = [line.strip("│ ").split("│") for line in console.export_text().splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 5]
    assert cells[-3:] == [
        ["dense", "0", "1 2", "2", "1"],
        ["slt", "0.5 0.9", "1 2", "4", "2"],
        ["mp", "0.5 0.9", "1 2", "4", "2"],
    ]


def test_trainings_on_the_way_are_counted_once(tmp_path):
    """slt-mp prunes on from slt's 0.5 and a 0.6 that is no cell; the last one fills two cells."""
    techniques = ["slt", "slt-mp", {"slt": {"name": "again", "sparsities": [0.9]}}]
    work = Work(tmp_path, *techniques, sparsities=[0.5, 0.9], seeds=[1, 2])
    assert [tuple(vars(row).values()) for row in rows(work.plan, work.work)] == [
        ("dense", "0", "1 2", 2, 2),
        ("slt", "0.5 0.9", "1 2", 4, 4),
        ("slt-mp", "0.5 0.9", "1 2", 4, 2),
        ("slt-mp, on the way", "0.6", "1 2", None, 2),
        ("again", "0.9", "1 2", 2, 0),
    ]
    assert told(work)[1].startswith("to do: 10 trainings, ")
    work.finish(*(s for s in work.stages if s.folder.startswith("seed1/")))
    assert [row.to_train for row in rows(work.plan, work.work)] == [1, 2, 1, 1, 0]
    cost = estimate(work.configuration, work.stages, work.work, 1)
    found = as_json(work.plan, work.work, cost, 1)
    assert found["rows"][3] == {
        "name": "slt-mp, on the way", "sparsities": "0.6", "seeds": "2", "cells": None,
        "to_train": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["wmt14/en-de", "parallel_text/table1", "heads/heads"])
def test_the_column_adds_up_to_what_is_to_do(name, tmp_path):
    plan = make_plan(read_configuration(EXAMPLES / f"{name}.yaml", tmp_path))
    folders = {cell.training.folder for cell in plan.cells}
    work = find_work(tmp_path, make_stages(plan), folders)
    assert sum(row.to_train for row in rows(plan, work)) == plan.trained


def test_json_has_the_same_unrounded(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5, 0.9], cost=KNOWN)
    work.finish(*work.stages[:3], seconds=500.0)
    cost = estimate(work.configuration, work.stages, work.work, 4)
    found = json.loads(json.dumps(as_json(work.plan, work.work, cost, 4)))
    dense, fifty, ninety = (c.training.folder for c in work.plan.cells)
    assert (found["cells"], found["trainings"], found["trainings_without_sharing"]) == (3, 3, 6)
    assert found["out"] == str(work.out) and found["title"] == "small"
    pending = found["pending"]
    assert (pending["stages"], pending["trainings"], pending["updates"]) == (8, 2, 2000)
    assert pending["device_hours"] == pytest.approx(1000 / 3600)
    assert (pending["device"], pending["jobs"]) == ("CPU", 4)
    assert pending["critical_path_seconds"] == pending["wall_seconds"] == 1000 + 2 * 2 * 500 - 1000
    assert found["repeats"] == []
    assert found["plan"] == [
        {"cell": "dense@0#1", "training": dense, "state": "trained", "drawn_from": []},
        {"cell": "slt@0.5#1", "training": fifty, "state": "pending", "drawn_from": [dense]},
        {"cell": "slt@0.9#1", "training": ninety, "state": "pending", "drawn_from": [fifty]},
    ]


def states(work):
    cost = estimate(work.configuration, work.stages, work.work, 1)
    found = as_json(work.plan, work.work, cost, 1)["plan"]
    return {cell["cell"]: cell["state"] for cell in found}


def test_states_of_cells(tmp_path):
    settings = {"sparsities": [0.5, 0.9], "seeds": [1, 2]}
    work = Work(tmp_path, "slt", only=["slt@0.5"], only_seeds=[1], **settings)
    work.finish(*work.stages[:3])
    assert states(work) == {
        "dense@0#1": "trained", "dense@0#2": "not selected", "slt@0.5#1": "pending",
        "slt@0.9#1": "not selected", "slt@0.5#2": "not selected", "slt@0.9#2": "not selected",
    }  # fmt: skip
    assert set(states(Work(tmp_path, "slt", only_seeds=[2], **settings)).values()) == {
        "trained", "not selected", "pending"
    }  # fmt: skip
    work.finish()
    assert set(states(work).values()) == {"trained"}


def test_an_adopted_run_has_a_state(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5], adopt={"dense": "old"})
    assert states(work) == {"dense@0#1": "pending", "slt@0.5#1": "pending"}
    work.finish(work.stage("adopt", "dense", 0.0))
    assert states(work) == {"dense@0#1": "trained", "slt@0.5#1": "pending"}


def test_what_an_interrupted_training_has_left_is_told(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5, 0.9], cost=KNOWN)
    work.interrupt(work.stages[0], 800)
    assert told(work)[1] == "to do: 3 trainings, 2,200 updates, 11 stages"
    cost = estimate(work.configuration, work.stages, work.work, 1)
    pending = as_json(work.plan, work.work, cost, 1)["pending"]
    assert (pending["updates"], pending["wall_seconds"]) == (2200, 1100)

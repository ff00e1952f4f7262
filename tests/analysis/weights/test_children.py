"""Pairs of children in a workflow's folder: found by their tickets, whatever their names."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("yaml")

from workflow.made import Work

from fairseq_lottery.analysis.weights.children import find_children
from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import Model, write_records

GOLDEN = Path(__file__).parents[2] / "golden"
CHILDREN = {"data_seed": [1, 2, 5], "sparsities": [0, 0.8], "rounds": [0, 0.8], "rewind": [0, 50]}


def made(folder, *techniques, seeds=(1,), checkpoints=("last",)):
    """A folder of a run whose models are all alike; the evaluations are of these checkpoints."""
    evaluate = [{"checkpoint": one} for one in checkpoints]
    work = Work(folder, *techniques, seeds=list(seeds), evaluate=evaluate)
    work.write_plan()
    models = []
    for cell in work.plan.cells:
        for checkpoint in checkpoints:
            file = cell.training.model(checkpoint)
            (work.out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(GOLDEN / "modern/trained/dense/checkpoint_last.pt", work.out / file)
            place = cell.technique, float(cell.sparsity), cell.seed, cell.training.folder
            models.append(Model(*place, file, checkpoint))
    write_records(work.out, models)
    return work


def test_children_of_one_ticket_are_a_group(tmp_path):
    work = made(tmp_path, {"children": CHILDREN}, "slt", seeds=(1, 2))
    found = find_children(work.out)
    assert [(one.update, one.sparsity, one.seed) for one in found] == [
        (update, sparsity, seed) for update in (0, 50) for sparsity in (0, 0.8) for seed in (1, 2)
    ]
    for one in found:
        assert list(one.pairs) == [(1, 2), (1, 5), (2, 5)]
        for order, file in one.models.items():
            name = f"children-d{order}-t{one.update}"
            cell = work.cell(name, one.sparsity, one.seed)
            assert file == work.out / cell.training.model("last")


def test_children_are_the_ends_of_trainings_whatever_is_evaluated_first(tmp_path):
    few = {**CHILDREN, "data_seed": [1, 2], "rewind": 50}
    for name in ("both", "best"):
        (tmp_path / name).mkdir()
    work = made(tmp_path / "both", {"children": few}, checkpoints=("best", "last"))
    for one in find_children(work.out):
        for order, file in one.models.items():
            cell = work.cell(f"children-d{order}", one.sparsity)
            assert file == work.out / cell.training.model("last")
    work = made(tmp_path / "best", {"children": few}, checkpoints=("best",))
    with pytest.raises(LotteryError, match="has no last checkpoint; add checkpoint: last to"):
        find_children(work.out)
    for cell in work.plan.cells:
        best = work.out / cell.training.model("best")
        shutil.copy(best, best.parent / "checkpoint_last.pt")
    for one in find_children(work.out):
        assert {file.name for file in one.models.values()} == {"checkpoint_last.pt"}


def test_what_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "one").mkdir()
    work = made(tmp_path / "one", {"children": {**CHILDREN, "data_seed": 1}})
    with pytest.raises(LotteryError, match="has no two children of an update; add the technique"):
        find_children(work.out)
    work = made(tmp_path, {"children": CHILDREN})
    (work.out / work.cell("children-d2-t50", 0.8).training.model("last")).unlink()
    with pytest.raises(LotteryError, match="has no last checkpoint; .* resume fairseq-lottery"):
        find_children(work.out)


def test_the_command_evaluates_every_pair(tmp_path, capsys):
    work = made(tmp_path, {"children": {**CHILDREN, "data_seed": [1, 2], "rewind": 50}})
    for order, name in ((1, "plain"), (2, "dense")):
        file = work.out / work.cell(f"children-d{order}", 0).training.model("last")
        shutil.copy(GOLDEN / f"modern/trained/{name}/checkpoint_last.pt", file)
    command = ["connect", str(work.out), "--data", str(GOLDEN / "data"), "--points", "3", "--cpu"]
    assert main([*command, "--json", "--out", str(tmp_path / "lines")]) == 0
    printed = json.loads(capsys.readouterr().out)
    pairs = printed["inputs"]["pairs"]
    assert [(p["update"], p["sparsity"], p["seed"], p["orders"]) for p in pairs] == [
        (50, 0, 1, [1, 2]), (50, 0.8, 1, [1, 2]),
    ]  # fmt: skip
    rows = {
        (row["component"], row["threshold"], row["statistic"]): row["value"]
        for row in printed["rows"]
        if "alpha" not in row
    }
    assert len(rows) == 2 * 4 and len(printed["rows"]) == 2 * (4 + 2 * 3)
    assert rows[50, 0.8, "loss-barrier"] == pytest.approx(0, abs=1e-5)
    assert {row["pair"] for row in printed["rows"]} == {"seed 1, orders 1 and 2"}
    assert (tmp_path / "lines/connect.csv").read_text().count("\n") == 1 + len(printed["rows"])
    assert main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["connect", str(GOLDEN / "modern/trained/dense/checkpoint_last.pt")]) == 2
    assert "give a second checkpoint" in capsys.readouterr().err

"""The line between children of one update, as part of a sweep."""

import csv
import json
import shutil

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("yaml")

from analysis.weights.test_children import CHILDREN, GOLDEN, made

from fairseq_lottery.analysis.sweep.cells import find_cells
from fairseq_lottery.analysis.sweep.settings import Device, Settings
from fairseq_lottery.analysis.sweep.sweep import analyze
from fairseq_lottery.analysis.weights import connectivity
from fairseq_lottery.cli.main import main

CONNECT = Settings(measures=("connect",))
DEVICE = Device(data=str(GOLDEN / "data"), cpu=True)


@pytest.fixture
def work(tmp_path):
    """Dense children of update 50 in three orders, which are three pairs."""
    children = {**CHILDREN, "rewind": 50, "sparsities": [0]}
    work = made(tmp_path, {"children": children}, "slt")
    for order, name in ((1, "plain"), (2, "dense"), (5, "dense")):
        file = work.out / work.cell(f"children-d{order}", 0).training.model("last")
        shutil.copy(GOLDEN / f"modern/trained/{name}/checkpoint_last.pt", file)
    return work


@pytest.fixture
def calls(monkeypatch):
    """The pairs that are evaluated, in the order; ``stop`` is how many until the process ends."""

    class Calls(list):
        stop = 99

    own, original = Calls(), connectivity.connect

    def counted(a, b, *words, **flags):
        if len(own) == own.stop:
            raise KeyboardInterrupt
        own.append((a, b))
        return original(a, b, *words, **flags)

    monkeypatch.setattr(connectivity, "connect", counted)
    return own


def table(folder):
    with open(folder / "connect.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_rows_are_those_of_the_command(work, tmp_path, capsys):
    record, _ = analyze(find_cells([work.out])[0], tmp_path / "out", CONNECT, DEVICE)
    command = ["connect", str(work.out), "--data", DEVICE.data, "--cpu", "--json"]
    assert main(command) == 0
    expected = json.loads(capsys.readouterr().out)["rows"]
    columns = ("component", "threshold", "pair", "statistic", "alpha", "value")

    def sorted_rows(rows):
        return sorted([str(row.get(name, "")) for name in columns] for row in rows)

    rows = table(tmp_path / "out")
    assert sorted_rows(rows) == sorted_rows(expected) and len(rows) == 3 * (4 + 2 * 11)
    assert {(r["technique"], r["against"]) for r in rows} == {
        ("children-d1", "children-d2"), ("children-d1", "children-d5"),
        ("children-d2", "children-d5"),
    }  # fmt: skip
    assert record.rows == {"connect": len(rows)} and record.data == DEVICE.data
    assert record.skipped == () and record.measures["connect"].command == "connect"


def test_a_killed_analysis_resumes_and_a_changed_child_is_evaluated_again(work, calls, tmp_path):
    cells = find_cells([work.out])[0]
    analyze(cells, tmp_path / "whole", CONNECT, DEVICE)
    assert len(calls) == 3
    calls.stop = 4
    with pytest.raises(KeyboardInterrupt):
        analyze(cells, tmp_path / "out", CONNECT, DEVICE)
    assert not (tmp_path / "out/connect.csv").exists()
    calls.stop = 99
    analyze(cells, tmp_path / "out", CONNECT, DEVICE)
    analyze(cells, tmp_path / "out", CONNECT, DEVICE)
    assert len(calls) == 3 + 3
    for name in ("connect.csv", "analysis.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    changed = work.out / work.cell("children-d5", 0).training.model("last")
    shutil.copy(GOLDEN / "modern/trained/plain/checkpoint_last.pt", changed)
    calls.clear()
    analyze(cells, tmp_path / "out", CONNECT, DEVICE)
    assert len(calls) == 2 and all(str(changed) in pair for pair in calls)
    (barrier,) = [
        float(row["value"]) for row in table(tmp_path / "out")
        if row["pair"].endswith("1 and 5") and row["statistic"] == "loss-barrier"
    ]  # fmt: skip
    assert barrier == pytest.approx(0, abs=1e-6)  # both are one model now


def test_a_last_checkpoint_that_is_missing_is_left_out_with_its_reason(work, tmp_path):
    best = work.out / work.cell("children-d5", 0).training.model("last")
    settings = Settings(measures=("connect", "survivor-norm"))
    cells = find_cells([work.out])[0]
    best.unlink()
    record, tables = analyze(
        [cell for cell in cells if cell.file != best], tmp_path / "out", settings, DEVICE
    )
    assert list(tables) == ["complexity"]
    assert [one.task for one in record.skipped] == ["connect"]
    assert "has no last checkpoint" in record.skipped[0].reason
    norms = Settings(measures=("survivor-norm",))
    assert analyze(cells[:1], tmp_path / "norms", norms)[0].skipped == ()

"""A sweep on files and on recordings: its rows, and what is computed again after a stop."""

import csv
import json
from dataclasses import replace

import live
import numpy as np
import pytest

pytest.importorskip("fairseq")
import torch
from analysis import encoders
from analysis.recorded import loaded, sentences
from analysis.toymeasures import register
from disks import small_disk
from report.made import Made
from small import save_checkpoint, save_snapshot_of, weights

from fairseq_lottery.analysis.sweep import work_folder
from fairseq_lottery.analysis.sweep.cells import find_cells
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.analysis.sweep.sweep import analyze, split_by_run
from fairseq_lottery.analysis.sweep.work_folder import WorkFolder
from fairseq_lottery.errors import LotteryError

FILES = Settings(measures=("kept", "masked", "same"))
RECORDED = Settings(measures=("mean", "distance"), words=30)


@pytest.fixture
def counted(monkeypatch):
    return register(monkeypatch)


@pytest.fixture
def cells(tmp_path):
    """dense, and slt at 0.5 of two seeds."""
    run = Made(tmp_path / "run", ("slt",), (0.5,), (1, 2)).model().write()
    return find_cells([run])[0]


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Models are toy Transformers, a model of its own for each file; returns the files recorded."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/valid.en-de.en.bin").write_bytes(b"1")
    source, target = sentences(12, seed=1), sentences(12, seed=2)
    files = []

    def load(file, data, cpu):
        files.append(file.parent.name)
        return loaded(source, target, live.transformer(seed=len(files)))

    monkeypatch.setattr(work_folder, "load_for_evaluation", load)
    monkeypatch.setattr(WorkFolder, "data", tmp_path / "data")
    return files


def table(folder, command="toy"):
    with open(folder / f"{command}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_name_both_cells_and_have_the_values(cells, counted, tmp_path):
    record, tables = analyze(cells, tmp_path / "out", FILES)
    rows = table(tmp_path / "out")
    masked = {(r["technique"], r["seed"]): r for r in rows if r["measure"] == "masked"}
    assert set(masked) == {("slt", "1"), ("slt", "2")}
    assert float(masked["slt", "1"]["value"]) == pytest.approx(0.5, abs=0.02)
    same = [(r["technique"], r["seed"], r["against"], r["other_seed"])
            for r in rows if r["measure"] == "same"]  # fmt: skip
    assert same == [
        ("dense", "1", "dense", "2"), ("slt", "1", "dense", "1"), ("slt", "1", "slt", "2"),
        ("slt", "2", "dense", "2"),
    ]  # fmt: skip
    values = {(r["seed"], r["against"]): float(r["value"]) for r in rows
              if r["measure"] == "same" and r["technique"] == "slt"}  # fmt: skip
    # pruned weights are zero in one of two models of the same weights, and of seeds in both
    assert values["1", "dense"] == pytest.approx(0.5, abs=0.03) == values["2", "dense"]
    kept = [r for r in rows if r["measure"] == "kept"]
    assert len(kept) == 4 * 4 and {r["against"] for r in kept} == {""}
    assert record.rows == {"toy": len(rows)} == {"toy": len(tables["toy"])}
    stored = json.loads((tmp_path / "out/analysis.json").read_text())
    assert stored["cells"][0]["sha256"] == cells[0].digest and stored["skipped"] == []
    assert stored["measures"]["kept"] == {
        "title": "toy kept", "command": "toy", "over": "weights", "low": 0.0, "high": None,
        "in_report": None,
    }  # fmt: skip


def test_encoders_have_roles_by_their_delimiters(cells, monkeypatch, tmp_path):
    """Their data is in folders of their inputs, and has the source side only."""
    first, second = encoders.marked(["ab c", "a", "cab bc"]), encoders.marked(["b", "ca b", "a"])
    task = encoders.pair_task(tmp_path / "data", first, second)
    files = []

    def load(file, data, cpu):
        files.append(file.parent.name)
        return encoders.loaded(task, encoders.roberta(task.source_dictionary, seed=len(files)))

    monkeypatch.setattr(work_folder, "load_for_evaluation", load)
    monkeypatch.setattr(WorkFolder, "data", tmp_path / "data")
    measures = Settings(measures=("linear-cka", "sieve-bias", "role-changes"))
    record, tables = analyze(cells, tmp_path / "out", measures)
    assert record.skipped == () and set(record.counts) == {"source"} and len(files) == 4
    roles = {row["role"] for row in tables["roles"]}
    assert {"local", "delimiter", "cls", "sep", "block"} <= roles
    assert {row["part"] for row in tables["similarity"]} == {"encoder"}
    (label,) = (path.name for path in (tmp_path / "out" / "recordings").iterdir())
    assert len(label.rpartition("-")[2]) == 4 * 6  # digests of 3 x 2 files


def test_weights_are_measured_from_start_to_end(cells, tmp_path):
    start, end = weights(1), {name: w + 0.5 * weights(2)[name] for name, w in weights(1).items()}
    end["encoder.layers.0.fc1.weight"] = -start["encoder.layers.0.fc1.weight"]
    file = tmp_path / "snapshot_0.safetensors"
    save_snapshot_of(file, start, 0)
    save_checkpoint(cells[0].file, end)
    dense = replace(cells[0], start=file)
    names = ("sign-agreement", "weight-distance", "relative-weight-distance")
    record, _ = analyze([dense, *cells[2:]], tmp_path / "out", Settings(measures=names))
    rows = {(r["measure"], r["matrix"]): r for r in table(tmp_path / "out", "similarity")
            if r["against"] == "start" and r["statistic"] == "all"}  # fmt: skip
    assert {(r["technique"], r["seed"], r["other_seed"]) for r in rows.values()} == {
        ("dense", "1", "1")
    }  # cells without a start are not compared
    assert record.skipped == ()
    name = "encoder.layers.0.fc2.weight"
    a, b = start[name].numpy().astype(float), end[name].numpy().astype(float)
    assert float(rows["sign-agreement", name]["value"]) == (a * b > 0).mean() < 1
    distance = np.linalg.norm(b - a)
    assert float(rows["weight-distance", name]["value"]) == pytest.approx(distance, rel=1e-12)
    # the norm is that of the start, not of the end
    relative = float(rows["relative-weight-distance", name]["value"])
    assert relative == pytest.approx(distance / np.linalg.norm(a), rel=1e-12)
    assert float(rows["sign-agreement", "encoder.layers.0.fc1.weight"]["value"]) == 0


def test_another_start_is_compared_again(cells, counted, tmp_path):
    file = tmp_path / "snapshot_0.safetensors"
    for seed in (1, 1, 2):
        save_snapshot_of(file, weights(seed), 0)
        analyze([replace(cells[2], start=file), cells[0]], tmp_path / "out", FILES)
    # of both cells, then again of the start alone
    assert sorted(counted.calls) == ["kept"] * 2 + ["masked"] + ["same"] * 3


def test_finished_tasks_are_not_computed_again(cells, counted, tmp_path):
    analyze(cells, tmp_path / "out", FILES)
    first = (tmp_path / "out/toy.csv").read_text()
    assert sorted(counted.calls) == ["kept"] * 4 + ["masked"] * 2 + ["same"] * 4
    counted.calls.clear()
    analyze(cells, tmp_path / "out", FILES)
    assert counted.calls == [] and (tmp_path / "out/toy.csv").read_text() == first


def test_a_killed_analysis_resumes(cells, counted, tmp_path):
    counted.error = (3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        analyze(cells, tmp_path / "out", FILES)
    assert not (tmp_path / "out/toy.csv").exists()
    counted.calls.clear()
    counted.error = None
    analyze(cells, tmp_path / "out", FILES)
    assert len(counted.calls) == 10 - 3
    analyze(cells, tmp_path / "whole", FILES)
    assert (tmp_path / "out/toy.csv").read_text() == (tmp_path / "whole/toy.csv").read_text()


def test_a_start_that_computes_nothing_fails_whatever_was_computed_before(cells, counted, tmp_path):
    out = tmp_path / "out"
    analyze(cells, out, FILES)
    before = (out / "analysis.json").read_text()
    counted.error = (0, LotteryError("the labels do not match"))
    other = Settings(measures=("kept",), labels={}, words=30)
    for path in out.glob("rows/*/*/kept*.json"):
        path.unlink()
    with pytest.raises(LotteryError, match="no measure could be computed: the labels do not"):
        analyze(cells, out, other)
    assert (out / "analysis.json").read_text() == before


def test_a_full_disk_ends_an_analysis(cells, counted, recorded, tmp_path):
    """A model that cannot be recorded is left out, but not because of the disk."""
    with small_disk(tmp_path / "disk", "60k") as resize:
        out = tmp_path / "disk/out"
        with pytest.raises(LotteryError, match="cannot be written: No space left on device"):
            analyze(cells, out, RECORDED)
        assert len(recorded) == 1
        assert not (out / "analysis.json").exists()
        resize(10_000)
        recorded.clear()
        record, _ = analyze(cells, out, RECORDED)
        assert record.skipped == () and len(recorded) == 4


def test_only_measures_of_a_changed_model_are_computed_again(cells, counted, tmp_path):
    analyze(cells, tmp_path / "out", FILES)
    counted.calls.clear()
    changed = {name: torch.ones_like(w) for name, w in weights().items()}
    save_checkpoint(cells[0].file, changed)
    cells, _ = find_cells([tmp_path / "run"])
    analyze(cells, tmp_path / "out", FILES)
    # of dense 1 alone, and with dense 2 and slt 1
    assert sorted(counted.calls) == ["kept", "same", "same"]


def test_a_later_start_adds_measures(cells, counted, tmp_path):
    analyze(cells, tmp_path / "out", Settings(measures=("kept",)))
    analyze(cells, tmp_path / "out", Settings(measures=("masked",)))
    assert counted.calls == ["kept"] * 4 + ["masked"] * 2
    assert {row["measure"] for row in table(tmp_path / "out")} == {"kept", "masked"}


def test_a_measure_that_does_not_apply_is_left_out_with_its_reason(cells, counted, tmp_path):
    counted.error = (4, LotteryError("too few words"))
    record, _ = analyze(cells, tmp_path / "out", Settings(measures=("kept", "masked")))
    assert [(one.task, one.reason) for one in record.skipped] == [
        ("kept of slt@0.5#2", "too few words"), ("masked of slt@0.5#2", "too few words"),
    ]  # fmt: skip
    assert len(table(tmp_path / "out")) == 3 * 4 + 1


def test_nothing_is_written_if_nothing_can_be_computed(cells, counted, tmp_path):
    counted.error = (0, LotteryError("too few words"))
    with pytest.raises(LotteryError, match="too few words"):
        analyze(cells, tmp_path / "out", FILES)
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name != ".lock"] == []


def test_unknown_names_are_one_sentence(cells, counted, tmp_path):
    for settings, value in (
        (Settings(against="mp"), "--against mp"),
        (Settings(measures=("nothing",)), "nothing"),
        (Settings(labels={"pos": "none.txt"}), "none.txt"),
        (Settings(sieves=("local",)), "sieves"),
    ):
        with pytest.raises(LotteryError, match=value):
            analyze(cells, tmp_path / "out", settings)
        assert not (tmp_path / "out").exists()


def test_each_model_is_recorded_once(cells, counted, recorded, tmp_path):
    record, _ = analyze(cells, tmp_path / "out", RECORDED)
    assert sorted(recorded) == ["dense-0", "dense-0", "slt-0.5", "slt-0.5"]
    assert record.counts["source"] >= 30 and record.words == 30
    rows = table(tmp_path / "out")
    assert len([r for r in rows if r["measure"] == "mean"]) == 4 * live.LAYERS
    assert len([r for r in rows if r["measure"] == "distance"]) == 4 * live.LAYERS**2
    assert min(float(r["value"]) for r in rows if r["measure"] == "distance") > 0
    analyze(cells, tmp_path / "out", Settings(words=30))  # further measures of files
    assert len(recorded) == 4


def test_another_number_of_words_is_another_recording(cells, counted, recorded, tmp_path):
    analyze(cells, tmp_path / "out", RECORDED)
    analyze(cells, tmp_path / "out", Settings(measures=("mean",), words=20))
    assert len(recorded) == 8
    assert {row["measure"] for row in table(tmp_path / "out")} == {"mean"}


def test_a_recording_of_another_model_is_replaced(cells, counted, recorded, tmp_path):
    analyze(cells, tmp_path / "out", Settings(measures=("mean",), words=30))
    save_checkpoint(cells[2].file, weights())
    cells, _ = find_cells([tmp_path / "run"])
    analyze(cells, tmp_path / "out", Settings(measures=("mean",), words=30))
    assert recorded[4:] == ["slt-0.5"]


def test_recordings_are_discarded_once_no_measure_reads_them(cells, counted, recorded, tmp_path):
    settings = Settings(measures=("mean", "distance"), words=30, discard=True)
    record, _ = analyze(cells, tmp_path / "out", settings)
    assert len(recorded) == 4  # none was needed again after it was deleted
    assert list((tmp_path / "out/recordings").rglob("*.npy")) == []
    again, _ = analyze(cells, tmp_path / "out", settings)
    assert len(recorded) == 4 and again.counts == record.counts


def test_a_model_that_cannot_be_recorded_is_left_out(
    cells, counted, recorded, tmp_path, monkeypatch
):
    load = work_folder.load_for_evaluation

    def broken(file, data, cpu):
        made = load(file, data, cpu)
        if "slt" in str(file):
            made.model.encoder.layers[0].fc1.bias.data.fill_(float("nan"))
        return made

    monkeypatch.setattr(work_folder, "load_for_evaluation", broken)
    record, _ = analyze(cells, tmp_path / "out", RECORDED)
    assert {row["technique"] for row in table(tmp_path / "out")} == {"dense"}
    assert len(record.skipped) == 2 + 3 and len(recorded) == 4
    assert all("NaN" in one.reason for one in record.skipped)


def test_runs_of_a_recipe_are_compared_across_folders(counted, tmp_path):
    for seed in (1, 2):
        Made(tmp_path / f"run{seed}", ("slt",), (0.5,), (seed,)).model().write()
    cells, _ = find_cells([tmp_path / "run1", tmp_path / "run2"])
    rows = []
    for run, own, others in split_by_run(cells):
        assert {cell.run for cell in own} == {run} and len(others) == 2
        analyze(own, tmp_path / run.name, Settings(measures=("same",)), others=others)
        rows += table(tmp_path / run.name)
    assert [(r["technique"], r["seed"], r["against"], r["other_seed"]) for r in rows] == [
        ("dense", "1", "dense", "2"), ("slt", "1", "dense", "1"), ("slt", "1", "slt", "2"),
        ("slt", "2", "dense", "2"),
    ]  # fmt: skip

"""A stage without fairseq: its command is a line of shell, its checkpoints are made here."""

import json

import pytest
from small import save_checkpoint, weights
from workflow.made import Work

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.workflow.planning.folder_state import read_record
from fairseq_lottery.workflow.stages.runner import run_stage


@pytest.fixture
def work(tmp_path, monkeypatch):
    """MP at 50 %, in whose folder a stage runs."""
    work = Work(tmp_path, "mp", sparsities=[0.5])
    work.write_plan()
    monkeypatch.chdir(work.out)
    return work


def saved(work, stage, update):
    """The checkpoints of a training that was killed, and what it says in its log."""
    work.interrupt(stage, update)
    for name in ("last", "best"):
        save_checkpoint(work.out / stage.folder / f"checkpoint_{name}.pt", weights(1), update)


def shell(line):
    return ["bash", "-c", line]


def test_a_training_with_all_its_updates_is_not_started_again(work):
    """fairseq would add one more; what is left is to choose its model."""
    dense = work.stages[0]
    saved(work, dense, 1000)
    run_stage(dense, shell("touch started; exit 1"), 0, 1)
    assert not (work.out / "started").exists()
    record = json.loads((work.out / dense.record).read_text())
    assert record["measured"]["best"]["update"] == 1000
    assert record["command"] == shell("touch started; exit 1")
    assert read_source(work.out / dense.folder / "best.pt").update == 1000
    assert not (work.out / dense.folder / "checkpoint_last.pt").exists()
    assert work.work.pending == work.stages[1:]


def test_what_was_cleaned_up_is_not_missed_where_a_model_is_chosen_anew(tmp_path, monkeypatch):
    work = Work(tmp_path, "slt", sparsities=[0.5], keep=["checkpoints"])
    monkeypatch.chdir(work.out)
    dense = work.stages[0]
    work.finish()
    saved(work, dense, 1000)
    more = Work(tmp_path, "slt", sparsities=[0.5], keep=["checkpoints"],
                evaluate=[{"checkpoint": "last"}])  # fmt: skip
    for path in (work.out / dense.folder).glob("*.safetensors"):
        path.unlink()
    more.write_plan()
    run_stage(more.stages[0], shell("exit 1"), 0, 1)
    assert list(read_record(more.out, dense).measured) == ["last"]
    assert (more.out / dense.folder / "checkpoint_last.pt").exists()


@pytest.mark.parametrize("update", [999, 1001])
def test_a_training_with_other_updates_is_started(work, update):
    dense = work.stages[0]
    saved(work, dense, update)
    with pytest.raises(LotteryError, match=rf"training ended at update {update} of 1000\); its"):
        run_stage(dense, shell("touch started"), 0, 1)
    assert (work.out / "started").exists()
    assert not (work.out / dense.record).exists()
    assert (work.out / dense.folder / "checkpoint_last.pt").exists()


def test_a_corrupted_checkpoint_is_the_trainings_to_mend(work):
    dense = work.stages[0]
    saved(work, dense, 1000)
    last = work.out / dense.folder / "checkpoint_last.pt"
    whole = last.read_bytes()
    last.write_bytes(whole[:200])
    (work.out / "whole.pt").write_bytes(whole)
    run_stage(dense, shell(f"cp whole.pt {dense.folder}/checkpoint_last.pt"), 0, 1)
    record = json.loads((work.out / dense.record).read_text())
    assert record["measured"]["best"]["update"] == 1000


def test_seconds_of_all_starts_are_counted(work):
    dense = work.stages[0]
    with pytest.raises(LotteryError, match="failed"):
        run_stage(dense, shell("exit 3"), 0, 1)
    (told,) = (work.out / dense.folder).glob(".train.seconds")
    told.write_text("1000.0")
    saved(work, dense, 1000)
    run_stage(dense, shell("exit 1"), 0, 1)
    assert 1000 <= read_record(work.out, dense).seconds < 1100


def test_a_stage_of_other_settings_runs_again(work, tmp_path):
    generate = work.stages[1]
    line = f"echo 'Generate test' >{generate.leaves[0]}; echo one >>{generate.folder}/runs"
    for _ in range(2):  # the second finds it finished
        run_stage(generate, shell(line), 0, 1)
    runs = work.out / generate.folder / "runs"
    assert runs.read_text() == "one\n"
    other = Work(tmp_path, "mp", sparsities=[0.5], generate="--remove-bpe")
    other.write_plan()
    run_stage(other.stages[1], shell(line), 0, 1)
    assert runs.read_text() == "one\none\n"
    record = json.loads((work.out / generate.record).read_text())
    assert record["settings"] == {"flags": ["--remove-bpe"], "sentences": {}}

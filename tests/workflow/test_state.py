import pytest
from workflow.made import TRAIN, Work

from fairseq_lottery.workflow.keep import clean
from fairseq_lottery.workflow.state import find_work, read_record, still_needed


def kinds(pending):
    return [stage.kind for stage in pending]


@pytest.fixture
def slt(tmp_path):
    """SLT at 50 and 90 %."""
    return Work(tmp_path, "slt", sparsities=[0.5, 0.9])


def run(work, *stages):
    """Finish stages in turn, and clean up after each as a run does."""
    for stage in stages or work.work.pending:
        work.finish(stage)
        clean(work.out, stage, work.stages, list(work.configuration.keep))


def files(work):
    """What lies in a workflow's folder besides records."""
    return sorted(p.name for p in work.out.rglob("*") if p.suffix in (".safetensors", ".pt"))


# --- what is to do ---


def test_an_empty_folder_has_all_to_do(slt):
    found = slt.work
    assert found.pending == slt.stages
    assert found.repeats == ()
    assert (found.updates, found.repeated_updates) == (3000, 0)


def test_a_finished_folder_has_nothing_to_do(slt):
    run(slt)
    assert slt.work.pending == () and slt.work.repeats == ()
    assert files(slt) == ["best.pt"] * 3


def test_it_goes_on_where_it_stopped(slt):
    for number, stage in enumerate(slt.stages):
        assert slt.work.pending == slt.stages[number:]
        run(slt, stage)
        assert slt.work.repeats == ()


def test_what_is_not_scored_is_not_trained_for(slt):
    """The scores of a cell are there; nobody asks for its files then."""
    scores = [stage for stage in slt.stages if stage.kind == "score"]
    slt.finish(*scores)
    assert slt.work.pending == ()


def test_a_record_that_is_cut_off_is_none(slt):
    run(slt)
    stage = slt.stage("score", "slt", 0.9)
    (slt.out / stage.record).write_text('{"stage": "sco')
    assert read_record(slt.out, stage) is None
    assert slt.work.pending == (stage,)


def test_only_some_cells(tmp_path):
    one = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9], only=["slt@0.5"])
    folder = one.cell("slt", 0.5).training.folder
    pending = one.work.pending
    assert kinds(pending) == ["train", "draw", "train", "generate", "score"]
    assert {stage.folder for stage in pending[1:3]} == {folder}
    run(one)
    # the others still read the dense run and this one
    rest = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9])
    assert rest.work.repeats == ()
    assert rest.work.updates == 3 * 1000
    assert find_work(rest.out, rest.stages, set()).pending == ()


def test_shared_work_is_done_once(tmp_path):
    one = Work(tmp_path, "slt", sparsities=[0.5], keep=["snapshots"])
    run(one)
    more = Work(tmp_path, "slt", "clt", "one-shot", sparsities=[0.5], keep=["snapshots"])
    assert more.work.repeats == ()
    assert {stage.folder for stage in more.work.pending if stage.kind == "train"} == {
        more.cell("clt", 0.5).training.folder
    }


# --- files that were cleaned up ---


def test_a_file_is_missed_only_where_a_pending_stage_reads_it(slt):
    run(slt, *slt.stages[:-1])  # all but the last score
    dense = slt.cell("dense", 0.0).training.folder
    assert not (slt.out / dense / "snapshot_1000.safetensors").exists()
    (slt.out / dense / "best.pt").unlink()
    assert slt.work.pending == slt.stages[-1:]
    assert slt.work.repeats == ()


def test_a_row_more_needs_what_was_not_kept(tmp_path, slt):
    run(slt)
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9, 0.95])
    found = more.work
    trained = [stage for stage in found.pending if stage.kind == "train"]
    folders = [more.cell(t, s).training.folder for t, s in
               (("dense", 0.0), ("slt", 0.5), ("slt", 0.9), ("slt", 0.95))]  # fmt: skip
    # no snapshot of the run at 90 % is there, so its ticket is drawn anew, and so on to the start
    assert [stage.folder for stage in trained] == folders
    assert [repeat.stage.folder for repeat in found.repeats] == folders[:3]
    last = found.repeats[2]
    needed = f"{folders[2]}/snapshot_1000.safetensors is needed by draw-{folders[3]} and not kept"
    assert last.why == needed.replace("draw-seed1/", "draw-seed1-")
    assert found.repeated_updates == 3000 and found.updates == 4000
    # their cells are scored and are not scored again
    assert [s.folder.rpartition("/")[0] for s in found.pending if s.kind == "score"] == [folders[3]]


def test_with_kept_snapshots_nothing_is_repeated(tmp_path):
    run(Work(tmp_path, "slt", sparsities=[0.5, 0.9], keep=["snapshots"]))
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9, 0.95], keep=["snapshots"])
    assert more.work.repeats == ()
    assert more.work.updates == 1000
    assert kinds(more.work.pending) == ["draw", "train", "generate", "score"]


def test_what_runs_again_counts_as_not_finished_once_it_is_planned(tmp_path, slt):
    """Its old record would end every stage of it at once."""
    run(slt)
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9, 0.95])
    pending = more.work.pending
    assert any(read_record(more.out, stage) for stage in pending)
    more.write_plan()
    assert not any(read_record(more.out, stage) for stage in pending)
    assert more.work.pending == pending
    run(more)
    assert more.work.pending == ()


def test_another_evaluation_of_the_same_model_trains_nothing(tmp_path, slt):
    run(slt)
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9], evaluate=[{}, {"beam": 1}])
    assert kinds(more.work.pending) == ["generate", "score"] * 3
    assert more.work.repeats == ()


def test_another_model_of_the_same_training_is_a_repeat(tmp_path, slt):
    run(slt)
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9], evaluate=[{}, {"checkpoint": "last"}])
    assert len(more.work.repeats) == 3
    assert more.work.repeats[0].why.endswith("last-beam5-lenpen1 and not kept")


# --- a recipe that has changed ---


def test_a_changed_flag_is_told(tmp_path, slt):
    run(slt)
    train = TRAIN.replace("7e-4", "5e-4") + " --dropout 0.3"
    changed = Work(tmp_path, "slt", sparsities=[0.5, 0.9], train=train)
    assert len(changed.work.pending) == len(changed.stages)
    assert [(r.stage.facts["label"], r.why) for r in changed.work.repeats] == [
        (label, f"finished as {slt.cell(t, s).training.folder}, but --dropout was 'not given' and"
                " is '0.3', --lr was '0.0007' and is '0.0005'")
        for label, t, s in (("dense", "dense", 0.0), ("rewind50-0.5", "slt", 0.5),
                            ("rewind50-0.9", "slt", 0.9))
    ]  # fmt: skip


def test_a_changed_schedule_is_told(tmp_path):
    run(Work(tmp_path, "mp", sparsities=[0.9]))
    changed = Work(tmp_path, "mp", sparsities=[0.9], prune={"end": "70%"})
    assert [r.why.split(", but ")[1] for r in changed.work.repeats] == [
        "the schedule of pruning is another"
    ]
    assert changed.work.repeated_updates == 1000  # the dense run stays


def test_other_processes_are_told(tmp_path):
    run(Work(tmp_path, "mp", sparsities=[0.9]))
    changed = Work(tmp_path, "mp", sparsities=[0.9], resources={"gpus": 0, "processes": 2})
    assert {r.why.split(", but ")[1] for r in changed.work.repeats} == {
        "processes were 1 and are 2"
    }


@pytest.mark.parametrize(
    "train", [TRAIN.replace("7e-4", "0.0007"), f"--log-interval 5 {TRAIN} --save-interval 3"]
)
def test_what_decides_no_weight_repeats_nothing(tmp_path, slt, train):
    run(slt)
    assert Work(tmp_path, "slt", sparsities=[0.5, 0.9], train=train).work.pending == ()


def test_a_technique_more_repeats_nothing(tmp_path, slt):
    run(slt)
    # the dense run alone: LT goes back to its update 0, which was not kept
    more = Work(tmp_path, "slt", "lt", sparsities=[0.5, 0.9])
    assert [r.stage.facts["label"] for r in more.work.repeats] == ["dense"]


ALIKE = {"sparsities": [0.5, 0.9], "keep": ["snapshots"]}


@pytest.mark.parametrize("first", ["lr-rewind", "fine-tune"])
def test_techniques_of_one_label_are_not_each_other_changed(tmp_path, first):
    """Both keep the survivors' values: ``keep50-0.5``, with other flags."""
    second = {"lr-rewind": "fine-tune", "fine-tune": "lr-rewind"}[first]
    run(Work(tmp_path, first, **ALIKE))
    for techniques in ((first, second), (second,)):  # beside it, and instead of it
        other = Work(tmp_path, *techniques, **ALIKE)
        assert other.cell(second, 0.5).training.label == "keep50-0.5"
        assert other.work.repeats == ()
        assert other.work.updates == (950 if second == "lr-rewind" else 1000) * 2


def test_techniques_of_one_label_and_one_clock(tmp_path):
    run(Work(tmp_path, "lr-rewind", clock="rewind", **ALIKE))
    both = Work(tmp_path, "lr-rewind", "fine-tune", clock="rewind", **ALIKE)
    assert both.work.repeats == ()
    assert both.work.updates == 2 * 950


def test_rounds_and_one_shot_of_one_label(tmp_path):
    run(Work(tmp_path, "one-shot", **ALIKE))
    other = Work(tmp_path, "slt", "slt-mp", **ALIKE)
    assert other.work.repeats == ()


# --- files that are needed ---


def test_files_still_needed(slt):
    dense, fifty, ninety = (slt.cell(t, s).training.folder for t, s in
                            (("dense", 0.0), ("slt", 0.5), ("slt", 0.9)))  # fmt: skip
    run(slt, *slt.stages[:7])  # up to the score at 50 %
    needed = still_needed(slt.out, slt.stages)
    assert needed == {
        f"{fifty}/snapshot_1000.safetensors", f"{fifty}/snapshot_50.safetensors",
        f"{ninety}/ticket.safetensors", f"{ninety}/best.pt",
        f"{ninety}/best-beam5-lenpen1/generate-test.txt",
    }  # fmt: skip
    assert not any(dense in file for file in needed)

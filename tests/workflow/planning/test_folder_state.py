import json

import pytest
from workflow.made import TRAIN, Work

from fairseq_lottery.workflow.planning.folder_state import (
    find_work,
    needed_files,
    read_record,
    saved_update,
)
from fairseq_lottery.workflow.stages.finish import clean


def kinds(pending):
    return [stage.kind for stage in pending]


@pytest.fixture
def slt(tmp_path):
    """SLT at 50 and 90 %."""
    return Work(tmp_path, "slt", sparsities=[0.5, 0.9])


def run(work, *stages):
    """Finish stages in turn, and clean up after each as a run does."""
    stages = stages or work.work.pending
    work.write_plan()
    for stage in stages:
        work.finish(stage)
        clean(work.out, stage)


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


def test_only_some_seeds(tmp_path):
    one = Work(tmp_path, "slt", sparsities=[0.5], seeds=[1, 2], only_seeds=[2])
    assert {stage.folder.split("/")[0] for stage in one.work.pending} == {"seed2"}
    assert one.work.updates == 2 * 1000
    run(one)
    plan = one.write_plan()
    assert plan["seeds"] == [1, 2] and len(plan["cells"]) == 4  # all of the table, as before
    both = Work(tmp_path, "slt", sparsities=[0.5], seeds=[1, 2])
    assert {stage.folder.split("/")[0] for stage in both.work.pending} == {"seed1"}
    assert both.work.repeats == ()


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
    stage = f"draw-{folders[3]}".replace("/", "-")
    assert last.why.startswith(f"{stage} requires {folders[2]}/snapshot_1000.safetensors, ")
    assert found.repeated_updates == 3000 and found.updates == 4000
    # what was scored of them was of weights that will be gone
    assert [s.folder.rpartition("/")[0] for s in found.pending if s.kind == "score"] == folders


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
    assert more.work.repeats[2].why.endswith("/last.pt, which was not kept")
    # the last checkpoints are not there, nor the tickets to train them again
    assert more.work.remaining == {s.name: 1000 for s in more.stages if s.kind == "train"}


# --- checkpoints that were kept ---


def keeping(folder, *techniques, **settings):
    """A plan whose trainings keep their checkpoints, and nothing else."""
    return Work(folder, *techniques, sparsities=[0.5, 0.9], keep=["checkpoints"], **settings)


def finished_with_checkpoints(folder, *techniques, **settings):
    work = keeping(folder, *techniques, **settings)
    for stage in work.stages:
        if stage.kind == "train":
            work.interrupt(stage, 1000)
    run(work, *work.stages)
    return work


def test_a_model_of_kept_checkpoints_is_chosen_anew(tmp_path):
    finished_with_checkpoints(tmp_path, "mp")
    more = keeping(tmp_path, "mp", evaluate=[{}, {"checkpoint": "last"}])
    found = more.work
    assert kinds(found.pending) == ["train", "generate", "score"] * 3
    assert (found.repeats, found.updates, found.repeated_updates) == ((), 0, 0)
    assert set(found.remaining.values()) == {0} and len(found.remaining) == 3
    assert kinds(found.repeated) == ["train"] * 3

    more.write_plan()
    for stage in found.repeated:
        assert read_record(more.out, stage) is None
        assert (more.out / stage.folder / "checkpoint_last.pt").exists()
        assert (more.out / stage.log).exists()
    # killed before it was chosen: nothing is trained for it either
    assert more.work.pending == found.pending
    assert (more.work.repeats, more.work.updates) == ((), 0)
    run(more)
    assert more.work.pending == ()
    assert files(more) == sorted(["best.pt", "checkpoint_last.pt", "last.pt"] * 3)


def test_a_model_is_chosen_anew_where_nobody_draws(tmp_path):
    work = finished_with_checkpoints(tmp_path, "mp")
    stage = work.stage("train", "mp", 0.9)
    (work.out / stage.folder / "best.pt").unlink()
    assert work.work.pending == ()  # nobody asks for it
    score, generate = (work.stage(kind, "mp", 0.9) for kind in ("score", "generate"))
    for one in (score, generate):
        (work.out / one.record).unlink()
    assert work.work.pending == (stage, generate, score)
    assert (work.work.repeated, work.work.repeats, work.work.updates) == ((stage,), (), 0)


def test_a_model_is_chosen_anew_without_tickets_and_snapshots(tmp_path):
    first = finished_with_checkpoints(tmp_path, "slt")
    assert not list(first.out.rglob("*.safetensors"))
    more = keeping(tmp_path, "slt", evaluate=[{}, {"checkpoint": "last"}])
    found = more.work
    # neither tickets nor snapshots are made for it, though none is there any more
    assert kinds(found.pending) == ["train", "generate", "score"] * 3
    assert (found.repeats, found.updates, found.repeated_updates) == ((), 0, 0)
    assert set(found.remaining.values()) == {0} and len(found.remaining) == 3
    assert kinds(found.repeated) == ["train"] * 3

    more.write_plan()
    for stage in found.repeated:
        assert read_record(more.out, stage) is None
        assert (more.out / stage.folder / "checkpoint_last.pt").exists()
        assert (more.out / stage.log).exists()
    # killed before it was chosen: it is not taken for a training that passed a snapshot
    assert more.work.pending == found.pending
    assert (more.work.repeats, more.work.updates) == ((), 0)
    run(more)
    assert more.work.pending == ()
    assert files(more) == sorted(["best.pt", "checkpoint_last.pt", "last.pt"] * 3)


def test_kept_checkpoints_give_no_snapshot_back(tmp_path):
    finished_with_checkpoints(tmp_path, "slt")
    more = Work(tmp_path, "slt", "lt", sparsities=[0.5, 0.9], keep=["checkpoints"],
                evaluate=[{}, {"checkpoint": "last"}])  # fmt: skip
    found = more.work
    dense = more.stage("train", "dense", 0.0)
    assert [repeat.stage for repeat in found.repeats] == [dense]
    assert found.remaining[dense.name] == found.repeated_updates == 1000
    assert [found.remaining[more.stage("train", "slt", s).name] for s in (0.5, 0.9)] == [0, 0]
    assert found.updates == 3 * 1000  # the dense run and both of LT


def needs_are_met(work):
    """Every pending stage finds its files, or a pending stage that makes them."""
    found = work.work
    makers = {file: stage for stage in work.stages for file in stage.leaves}
    resumed = {name for name, left in found.remaining.items() if left < 1000}
    return all(
        (work.out / file).exists() or makers[file] in found.pending
        for stage in found.pending if stage.name not in resumed for file in stage.needs
    )  # fmt: skip


def test_what_is_chosen_anew_and_then_needed_from_its_start_has_its_ticket(tmp_path):
    finished_with_checkpoints(tmp_path, "slt")
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9, 0.95], keep=["checkpoints"],
                evaluate=[{"checkpoint": "last"}])  # fmt: skip
    assert len(more.work.repeats) == 3
    assert needs_are_met(more)


def test_what_is_chosen_anew_and_was_chosen_otherwise_has_its_ticket(tmp_path):
    finished_with_checkpoints(tmp_path, "slt")
    for evaluate in ([{"checkpoint": "last"}, {"beam": 1}], [{"beam": 1}, {"checkpoint": "last"}]):
        more = keeping(tmp_path, "slt", train=BLEU, evaluate=evaluate)
        assert len(more.work.repeats) == 3
        assert needs_are_met(more)


# --- trainings that were interrupted ---


def test_an_interrupted_training_has_the_rest_to_do(slt):
    dense = slt.stages[0]
    slt.interrupt(dense, 400)
    found = slt.work
    every = {s.name: 1000 for s in slt.stages if s.kind == "train"}
    assert found.remaining == every | {dense.name: 600}
    assert found.updates == 2600
    assert (found.repeated, found.repeats, found.pending) == ((), (), slt.stages)
    slt.write_plan()
    assert (slt.out / dense.folder / "checkpoint_last.pt").exists()
    assert slt.work.updates == 2600


def test_what_a_log_tells_counts_only_with_its_checkpoint(slt):
    dense = slt.stages[0]
    slt.interrupt(dense, 400)
    (slt.out / dense.folder / "checkpoint_last.pt").unlink()
    assert slt.work.updates == 3000
    assert saved_update(slt.out, dense) == 0
    slt.interrupt(dense, 1001)  # of an epoch that ended later than the training
    assert saved_update(slt.out, dense) == 1000
    assert slt.work.remaining[dense.name] == 0


def test_a_counter_that_went_on_counts_from_its_start(tmp_path):
    work = Work(tmp_path, "lr-rewind", sparsities=[0.5])
    run(work, *work.stages[:4])  # up to the draw
    train = work.stage("train", "lr-rewind", 0.5)
    assert work.work.remaining == {train.name: 950}
    work.interrupt(train, 50)
    assert work.work.remaining == {train.name: 950}
    work.interrupt(train, 300)
    assert work.work.remaining == {train.name: 700}
    (work.out / train.log).unlink()
    assert work.work.remaining == {train.name: 950}


def test_an_interrupted_training_that_passed_a_snapshot_is_a_repeat(tmp_path, slt):
    dense = slt.stages[0]
    slt.interrupt(dense, 400)
    more = Work(tmp_path, "slt", "lt", sparsities=[0.5, 0.9])
    assert (more.out / dense.folder).exists()
    found = more.work
    assert [(repeat.stage.name, repeat.why) for repeat in found.repeats] == [
        (dense.name, f"{dense.folder}/snapshot_0.safetensors is missing, and the interrupted"
         " training is already at update 400")
    ]  # fmt: skip
    assert found.remaining[dense.name] == found.repeated_updates == 1000
    assert found.repeated == (more.stages[0],)
    more.write_plan()  # asked for with --yes: it begins anew
    assert more.work.repeats == ()
    assert more.work.remaining[dense.name] == 1000
    assert not (more.out / dense.folder / "checkpoint_last.pt").exists()


@pytest.mark.parametrize(("update", "repeats"), [(199, 0), (200, 1), (201, 1)])
def test_a_snapshot_that_lies_ahead_is_still_written(tmp_path, slt, update, repeats):
    dense = slt.stages[0]
    slt.interrupt(dense, update)
    more = Work(tmp_path, {"slt": {"rewind": [50, 200]}}, sparsities=[0.5, 0.9])
    assert len(more.work.repeats) == repeats
    assert more.work.remaining[dense.name] == (1000 if repeats else 1000 - update)


def test_an_interrupted_training_opens_no_ticket(slt):
    """It goes on from its own checkpoint, whose mask it takes."""
    run(slt, *slt.stages[:4])  # the first ticket is drawn
    train = slt.stage("train", "slt", 0.5)
    slt.interrupt(train, 300)
    (slt.out / train.folder / "ticket.safetensors").unlink()
    found = slt.work
    assert found.pending == slt.stages[4:]
    assert (found.repeats, found.remaining[train.name]) == ((), 700)


def test_a_repeat_begins_without_its_old_checkpoints_and_log(tmp_path, slt):
    run(slt)
    ended = slt.cell("slt", 0.9).training.folder
    more = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9, 0.95])
    resumed = more.stage("train", "mp", 0.95)
    more.interrupt(resumed, 300)
    old = more.out / ended
    for name in ("checkpoint_best.pt", "train.log", ".train.seconds", "draw.log"):
        (old / name).touch()
    assert [repeat.stage.folder for repeat in more.work.repeats][-1] == ended
    assert more.work.remaining[resumed.name] == 700
    more.write_plan()
    left = {path.name for path in old.iterdir() if path.is_file()}
    assert left == {"best.pt", "draw.log"}
    assert (more.out / resumed.folder / "checkpoint_last.pt").exists()  # which goes on
    assert more.work.remaining[resumed.name] == 700


# --- an evaluation that has changed ---


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"generate": "--remove-bpe"}, ["generate", "score"]),
        ({"metrics": ["BLEU"]}, ["score"]),
        ({"score_command": {"words": "wc -w {hypotheses}"}}, ["score"]),
        ({"references": "other.de"}, ["score"]),
        ({"references": "same.de"}, []),
        ({"title": "other"}, []),
    ],
)
def test_another_evaluation_runs_again_and_trains_nothing(tmp_path, changes, again):
    for name, text in (("test", "ein Satz\n"), ("same", "ein Satz\n"), ("other", "noch einer\n")):
        (tmp_path / f"{name}.de").write_text(text)
    run(Work(tmp_path, "slt", sparsities=[0.5, 0.9]))
    changed = Work(tmp_path, "slt", sparsities=[0.5, 0.9], **changes)
    assert kinds(changed.work.pending) == again * 3
    assert (changed.work.repeats, changed.work.updates, changed.work.repeated) == ((), 0, ())
    run(changed)
    assert changed.work.pending == ()
    back = Work(tmp_path, "slt", sparsities=[0.5, 0.9])
    assert kinds(back.work.pending) == again * 3


def test_references_are_known_by_content(tmp_path):
    (tmp_path / "test.de").write_text("ein Satz\n")
    work = Work(tmp_path, "slt", sparsities=[0.5])
    run(work)
    (tmp_path / "test.de").write_text("noch einer\n")
    other = Work(tmp_path, "slt", sparsities=[0.5])
    assert kinds(other.work.pending) == ["score"] * 2
    assert read_record(other.out, other.stages[2]) is None
    assert read_record(work.out, work.stages[2]) is not None  # for the references it had


def test_another_test_set_is_translated_and_scored_again(tmp_path):
    (tmp_path / "data-bin").mkdir()
    binary = tmp_path / "data-bin" / "test.en-de.en.bin"
    binary.write_text("one")
    work = Work(tmp_path, "slt", sparsities=[0.5])
    run(work)
    binary.write_text("other")
    other = Work(tmp_path, "slt", sparsities=[0.5])
    assert kinds(other.work.pending) == ["generate", "score"] * 2
    assert other.work.repeats == ()
    binary.write_text("one")
    assert Work(tmp_path, "slt", sparsities=[0.5]).work.pending == ()


def test_a_record_that_knows_no_test_set_stands(slt):
    run(slt)
    for stage in slt.stages:
        if stage.kind in ("generate", "score"):
            path = slt.out / stage.record
            record = json.loads(path.read_text())
            del record["settings"]["sentences"]
            path.write_text(json.dumps(record))
    assert slt.work.pending == ()


def test_a_record_of_other_settings_is_none(tmp_path, slt):
    run(slt)
    other = Work(tmp_path, "slt", sparsities=[0.5, 0.9], generate="--remove-bpe", metrics=["TER"])
    for stage in other.stages:
        assert (read_record(other.out, stage) is None) == (stage.kind in ("generate", "score"))


# --- what was called the best ---

BLEU = f"{TRAIN} --eval-bleu --best-checkpoint-metric bleu --maximize-best-checkpoint-metric"


@pytest.mark.parametrize("beam", [5, 1])  # whether the scores are there or not
def test_another_choice_of_the_best_is_told_and_repeats(tmp_path, slt, beam):
    run(slt)
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9], train=BLEU, evaluate=[{"beam": beam}])
    found = more.work
    assert [repeat.stage.facts["label"] for repeat in found.repeats] == [
        "dense", "rewind50-0.5", "rewind50-0.9"
    ]  # fmt: skip
    assert found.repeats[2].why == (
        "its best checkpoint was selected with --best-checkpoint-metric not given, not bleu"
    )
    assert found.updates == found.repeated_updates == 3000
    assert kinds(found.pending) == (
        ["train", "generate", "score"] + ["draw", "train", "generate", "score"] * 2
    )
    run(more)
    assert more.work.pending == () and more.work.repeats == ()


def test_a_best_of_which_nobody_asks_may_be_chosen_in_any_way(tmp_path):
    run(Work(tmp_path, "slt", sparsities=[0.5, 0.9]))
    some = Work(tmp_path, "slt", sparsities=[0.5, 0.9], train=BLEU, only=["slt@0.5"])
    # the dense run is only drawn from, and what it leaves for that is the same
    assert [repeat.stage.facts["label"] for repeat in some.work.repeats][-1] == "rewind50-0.5"
    last = [{"checkpoint": "last"}]
    run(Work(tmp_path, "slt", sparsities=[0.5, 0.9], evaluate=last, name="last.yaml", out="last"))
    other = Work(tmp_path, "slt", sparsities=[0.5, 0.9], evaluate=last, name="last.yaml",
                 out="last", train=BLEU)  # fmt: skip
    assert other.work.pending == () and other.work.repeats == ()


def test_a_cell_chosen_otherwise_beside_one_that_is_not(tmp_path):
    run(Work(tmp_path, "mp", "one-shot", sparsities=[0.5], keep=["snapshots"]))
    some = Work(tmp_path, "mp", "one-shot", sparsities=[0.5], train=BLEU, keep=["snapshots"],
                only=["one-shot"])  # fmt: skip
    assert [repeat.stage.facts["label"] for repeat in some.work.repeats] == ["rewind50-0.5"]
    assert kinds(some.work.pending) == ["draw", "train", "generate", "score"]


def test_the_last_of_a_chain_alone_is_chosen_otherwise(tmp_path):
    run(Work(tmp_path, "mp", sparsities=[0.5], train=BLEU))
    only = Work(tmp_path, "mp", sparsities=[0.5], only=["mp"], evaluate=[{"beam": 1}])
    assert [(repeat.stage.facts["label"], repeat.why) for repeat in only.work.repeats] == [
        ("prune-0.5", "its best checkpoint was selected with --best-checkpoint-metric bleu, not not"
         " given")
    ]  # fmt: skip
    assert kinds(only.work.pending) == ["train", "generate", "score"]
    again = Work(tmp_path, "mp", sparsities=[0.5], train=BLEU, evaluate=[{"beam": 1}])
    assert (again.work.repeats, kinds(again.work.pending)) == ((), ["generate", "score"] * 2)


def test_the_last_checkpoint_is_the_last_whatever_is_called_the_best(tmp_path):
    both = [{}, {"checkpoint": "last"}]
    run(Work(tmp_path, "mp", sparsities=[0.5], train=BLEU, evaluate=both))
    # the same choice, another one, and none at all
    for train, evaluate in ((BLEU, {"beam": 1}), (TRAIN, {"beam": 1}), (BLEU, {"beam": 2})):
        last = Work(tmp_path, "mp", sparsities=[0.5], train=train,
                    evaluate=[{"checkpoint": "last", **evaluate}])  # fmt: skip
        assert last.work.repeats == ()
        assert kinds(last.work.pending) == ["generate", "score"] * 2


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
        "the pruning schedule differs"
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


def test_techniques_of_one_label_and_one_counter(tmp_path):
    run(Work(tmp_path, "lr-rewind", update_counter="rewind", **ALIKE))
    both = Work(tmp_path, "lr-rewind", "fine-tune", update_counter="rewind", **ALIKE)
    assert both.work.repeats == ()
    assert both.work.updates == 2 * 950


def test_rounds_and_one_shot_of_one_label(tmp_path):
    run(Work(tmp_path, "one-shot", **ALIKE))
    other = Work(tmp_path, "slt", "slt-mp", **ALIKE)
    assert other.work.repeats == ()


# --- files that are needed ---


def test_files_needed_files(slt):
    dense, fifty, ninety = (slt.cell(t, s).training.folder for t, s in
                            (("dense", 0.0), ("slt", 0.5), ("slt", 0.9)))  # fmt: skip
    run(slt, *slt.stages[:7])  # up to the score at 50 %
    needed = needed_files(slt.out, slt.stages)
    assert needed == {
        f"{fifty}/snapshot_1000.safetensors", f"{fifty}/snapshot_50.safetensors",
        f"{ninety}/ticket.safetensors", f"{ninety}/best.pt",
        f"{ninety}/best-beam5-lenpen1/generate-test.txt",
    }  # fmt: skip
    assert not any(dense in file for file in needed)

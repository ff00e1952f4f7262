"""The key ``analyze`` of a configuration, and its stage."""

import json
from dataclasses import replace

import pytest
from workflow.made import MASKED, Work, configure

from fairseq_lottery.adapters import ADAPTERS, MASKED_LM, Stack
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.cli.main import build_parser
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import read_stage_plan
from fairseq_lottery.workflow.engine.jobs import jobs_of


def made(folder, analyze=None, **settings):
    extra = {} if analyze is None else {"analyze": analyze}
    return Work(folder, "slt", sparsities=[0.5, 0.9], seeds=[1, 2], **extra, **settings)


def stage_of(work):
    (stage,) = [stage for stage in work.stages if stage.kind == "analyze"]
    return stage


def test_without_the_key_nothing_changes(tmp_path):
    without = made(tmp_path)
    assert without.configuration.analysis is None
    assert made(tmp_path, {}).stages[:-1] == without.stages


def test_the_command_takes_the_stage(tmp_path):
    (tmp_path / "pos.txt").write_text("a\n")
    work = made(tmp_path, {
        "words": 500, "subset": "valid1", "measures": ["linear-cka", "own.module:mine"],
        "labels": {"pos": "pos.txt"}, "sieves": ["local"], "half": True, "discard": True,
        "against": "slt",
    })  # fmt: skip
    stage = stage_of(work)
    args = build_parser().parse_args([*stage.command[3:]])
    assert (args.runs, args.data, args.cpu) == (["."], str(tmp_path / "data-bin"), True)
    assert (args.words, args.subset, args.against) == (500, "valid1", "slt")
    assert args.measures == ["linear-cka", "own.module:mine"] and args.sieves == ["local"]
    assert args.labels == [f"pos={tmp_path}/pos.txt"] and args.half and args.discard
    plain = build_parser().parse_args([*stage_of(made(tmp_path, {})).command[3:]])
    defaults = Settings()
    assert (plain.words, plain.subset, plain.against) == (
        defaults.words, defaults.subset, defaults.against,
    )  # fmt: skip
    assert (plain.measures, plain.labels, plain.half, plain.figures) == ([], [], False, False)


def test_it_follows_the_evaluations_of_all_models(tmp_path):
    work = made(tmp_path, {}, evaluate=[{"checkpoint": "last"}, {}])
    stage = stage_of(work)
    models = [file for file in stage.needs if file.endswith(".pt")]
    assert models == [f"{cell.training.folder}/last.pt" for cell in work.plan.cells]
    scores = [s.leaves[0] for s in work.stages if s.kind == "score"]
    assert [*stage.needs] == models + scores and len(scores) == 2 * 6
    assert stage == work.stages[-1] and stage.record == "analysis/analyze.json"


def test_it_runs_last_and_only_with_all_cells(tmp_path):
    work = made(tmp_path, {})
    assert work.pending[-1] == ("analyze", "analysis")
    part = made(tmp_path, {}, only=["slt@0.5"])
    assert "analyze" not in {kind for kind, _ in part.pending}
    work.finish(*work.stages[:-1])
    assert work.pending == [("analyze", "analysis")]
    work.finish()
    assert work.pending == []


@pytest.mark.parametrize("change, repeats", [
    ({"words": 20}, True), ({"measures": ["linear-cka"]}, True), ({"against": "slt"}, True),
    ({"half": True}, True), ({"discard": True}, False), ({}, False),
])  # fmt: skip
def test_it_runs_again_for_other_settings(tmp_path, change, repeats):
    made(tmp_path, {}).finish()
    assert (made(tmp_path, change).pending == [("analyze", "analysis")]) == repeats


def test_it_runs_again_for_other_labels_data_and_models(tmp_path):
    labels = tmp_path / "pos.txt"
    labels.write_text("a\n")
    (tmp_path / "data-bin").mkdir()
    settings = {"labels": {"pos": "pos.txt"}}
    made(tmp_path, settings).finish()
    assert made(tmp_path, settings).pending == []
    labels.write_text("b\n")
    assert made(tmp_path, settings).pending == [("analyze", "analysis")]
    made(tmp_path, settings).finish()
    (tmp_path / "data-bin/valid.en-de.en.bin").write_bytes(b"1")
    assert made(tmp_path, settings).pending == [("analyze", "analysis")]
    made(tmp_path, settings).finish()
    more = Work(tmp_path, "slt", sparsities=[0.5, 0.9], seeds=[1, 2, 3], analyze=settings)
    more.finish(*more.stages[:-1])
    assert more.pending == [("analyze", "analysis")]


def test_it_runs_again_with_a_repeated_training(tmp_path):
    work = made(tmp_path, {})
    work.finish()
    train = work.stage("train", "slt", 0.9, 2)
    (work.out / train.record).unlink()
    for file in train.leaves:
        (work.out / file).unlink()
    score = next(s for s in work.stages if s.kind == "score" and s.folder.startswith(train.folder))
    (work.out / score.record).unlink()
    assert ("train", train.folder) in work.pending
    assert work.pending[-1] == ("analyze", "analysis")


def test_it_has_one_gpu_and_survives_the_plan(tmp_path):
    work = made(tmp_path, {}, resources={"gpus": 2, "threads": 3})
    work.write_plan()
    stored = read_stage_plan(work.out).stages[-1]
    assert stored == stage_of(work)
    job = jobs_of(work.plan, work.work, "slurm")[-1]
    assert job["resources"] == {"gpu": 1, "slurm_extra": "--signal=TERM@120"}
    assert job["threads"] == 3 and len(job["after"]) == 2 * 6
    assert "--cpu" not in stored.command and json.dumps(stored.facts)


@pytest.mark.parametrize("key, value, words", [
    ({"words": 0}, "words is 0", "line"),
    ({"wrods": 1}, "wrods", "words"),
    ({"subset": "a/b"}, "a/b", "line"),
    ({"against": "mp"}, "mp", "dense, slt"),
    ({"measures": "linear-cka"}, "measures", "a list"),
    ({"labels": ["x"]}, "labels", "a mapping"),
    ([], "analyze is []", "a mapping"),
])  # fmt: skip
def test_an_invalid_key_is_one_sentence_with_its_line(tmp_path, key, value, words):
    with pytest.raises(LotteryError) as refused:
        configure(tmp_path, "slt", analyze=key)
    message = str(refused.value)
    assert "small.yaml, line " in message and value in message and words in message


def test_a_task_of_encoders_has_the_stage_and_other_tasks_are_refused(tmp_path, monkeypatch):
    work = made(tmp_path, {"sieves": ["cls", "block"]}, **MASKED)
    assert build_parser().parse_args([*stage_of(work).command[3:]]).sieves == ["cls", "block"]
    decoder = {"decoder": Stack("decoder", "max_target_positions")}
    monkeypatch.setitem(ADAPTERS, "masked_lm", replace(MASKED_LM, stacks=decoder))
    with pytest.raises(LotteryError, match="a translation model or an encoder, unlike masked_lm"):
        configure(tmp_path, "slt", analyze={}, **MASKED)

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from workflow.made import MASKED, ROWS, TRAIN, Work

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.engine import data_checks, start_checks
from fairseq_lottery.workflow.engine.data_checks import check_files, note_data
from fairseq_lottery.workflow.engine.start_checks import (
    check_disk,
    check_environment,
    check_executor,
    refuse_other_plan,
    refuse_repeats,
)
from fairseq_lottery.workflow.planning.cost import estimate
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

#: what trainings depend on, and the test set
FILES = ("dict.en.txt", "dict.de.txt", "train.en-de.en.bin", "train.en-de.de.bin",
         "valid.en-de.en.bin", "test.en-de.en.bin")  # fmt: skip


LEARNED = FILES[:-1]
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def work(tmp_path):
    """A plan whose data and references are there."""
    data = tmp_path / "data-bin"
    data.mkdir()
    for name in FILES:
        (data / name).write_text(f"content of {name}")
    (tmp_path / "test.de").write_text("ein Satz\n")
    return Work(tmp_path, "slt", sparsities=[0.5], resources={"gpus": 2})


def test_the_only_dictionary_of_masked_lm_is_part_of_the_data(tmp_path):
    data = tmp_path / "data-bin"
    data.mkdir()
    for name in ("dict.txt", "train.bin", "valid.bin"):
        (data / name).write_text(f"content of {name}")
    masked = Work(tmp_path, "slt", **MASKED)
    assert set(check_files(masked.configuration)) == {"dict.txt", "train.bin", "valid.bin"}
    accept(masked.configuration)
    (data / "dict.txt").write_text("other symbols")
    assert refused(masked).startswith(f"FILE, line 1: dict.txt in {data} differs from the data")


def accept(configuration):
    """Check the data as a start does that nothing refuses."""
    note_data(configuration, check_files(configuration))


def refused(work):
    with pytest.raises(LotteryError) as refusal:
        check_files(work.configuration)
    return str(refusal.value).replace(str(work.configuration.source.path), "FILE")


def test_data_that_are_not_there(work, tmp_path):
    shutil.rmtree(tmp_path / "data-bin")
    assert refused(work) == (
        f"FILE, line 1: the data folder {tmp_path}/data-bin does not exist; run fairseq-preprocess"
        " first"
    )
    (tmp_path / "data-bin").mkdir()
    assert "data-bin has no train.*.bin; run fairseq-preprocess first" in refused(work)


def test_references_that_are_not_there(work, tmp_path):
    (tmp_path / "test.de").unlink()
    assert refused(work).startswith(f"FILE, line 2: there is no file {tmp_path}/test.de with ")


def test_data_are_made_by_a_command_of_the_configuration(work, tmp_path):
    own = Work(tmp_path, "slt", prepare="./prepare.sh  DATA\n OUT")
    (tmp_path / "test.de").unlink()
    assert refused(own).endswith("the raw text of the test set; run ./prepare.sh DATA OUT first")
    shutil.rmtree(tmp_path / "data-bin")
    assert refused(own).endswith("data-bin does not exist; run ./prepare.sh DATA OUT first")


@pytest.mark.parametrize("name", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_examples_without_data_name_their_script(name, tmp_path):
    with pytest.raises(LotteryError) as refusal:
        check_files(replace(read_configuration(name), data=tmp_path / "none"))
    command = re.search(r"; run (.*) first$", str(refusal.value)).group(1).split()
    script = next(word for word in command if word.startswith("examples/"))
    assert (EXAMPLES.parent / script).is_file() or command[:2] == ["fairseq-lottery", "demo"]


@pytest.mark.parametrize("subsets, lost", [("nope", "nope"), ("valid,nope", "nope"), ("valid", "")])
def test_a_set_that_trainings_validate_on(tmp_path, work, subsets, lost):
    train = f"{work.configuration.source.values['train']} --valid-subset {subsets}"
    more = Work(tmp_path, "slt", train=train)
    if lost:
        assert f"the data folder {tmp_path}/data-bin has no {lost}.*.bin; give" in refused(more)
    else:
        check_files(more.configuration)


def test_a_set_that_an_evaluation_wants(tmp_path, work):
    more = Work(tmp_path, "slt", evaluate=[{}, {"subset": "test1", "references": "test.de"}])
    line = more.configuration.source.path.read_text().splitlines().index("- subset: test1") + 1
    assert refused(more).startswith(
        f"FILE, line {line}: the data folder {tmp_path}/data-bin has no test1.*.bin"
    )


@pytest.mark.parametrize("subset", ["valid", "test"])
def test_a_set_that_was_not_made(work, tmp_path, subset):
    (tmp_path / "data-bin" / f"{subset}.en-de.en.bin").unlink()
    assert refused(work) == (
        f"FILE, line 1: the data folder {tmp_path}/data-bin has no {subset}.*.bin; give"
        f" fairseq-preprocess --{subset}pref"
    )


def test_another_set_has_references_of_its_own(tmp_path, work):
    (tmp_path / "data-bin" / "test1.en-de.en.bin").touch()
    more = Work(tmp_path, "slt", evaluate=[{}, {"subset": "test1", "references": "more.de"}])
    assert refused(more).startswith(f"FILE, line 11: there is no file {tmp_path}/more.de")
    (tmp_path / "more.de").write_text("noch einer\n")
    check_files(more.configuration)


def test_an_adopted_run_that_is_not_there(work, tmp_path):
    adopting = Work(tmp_path, "slt", adopt={"dense": "old/{seed}"}, seeds=[1, 2])
    (tmp_path / "old" / "1").mkdir(parents=True)
    (tmp_path / "old" / "1" / "checkpoint_last.pt").touch()
    assert refused(adopting).endswith(f": {tmp_path}/old/2 has no checkpoint_last.pt to adopt")
    (tmp_path / "old" / "2").mkdir()
    (tmp_path / "old" / "2" / "checkpoint_last.pt").touch()
    check_files(adopting.configuration)


def test_the_data_of_a_folder_are_known_by_content(work, tmp_path):
    accept(work.configuration)
    first = json.loads((work.out / "data.json").read_text())
    assert sorted(first) == sorted(LEARNED)
    accept(work.configuration)

    file = tmp_path / "data-bin" / "train.en-de.en.bin"
    os.utime(file, (5, 5))  # copied: another time, the same content
    accept(work.configuration)
    touched = json.loads((work.out / "data.json").read_text())
    assert touched["train.en-de.en.bin"]["time"] == 5_000_000_000
    assert touched["train.en-de.en.bin"]["sha256"] == first["train.en-de.en.bin"]["sha256"]

    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "data-bin", moved)
    check_files(replace(work.configuration, data=moved))


def test_a_refused_start_ties_its_folder_to_no_data(work, tmp_path):
    check_files(work.configuration)
    assert list(work.out.iterdir()) == []
    file = tmp_path / "data-bin" / "train.en-de.en.bin"
    file.write_text("the right one")
    accept(work.configuration)
    assert [path.name for path in work.out.iterdir()] == ["data.json"]


def test_another_test_set_is_no_other_training(work, tmp_path):
    accept(work.configuration)
    # as folders were noted before
    stored = work.out / "data.json"
    before = json.loads(stored.read_text())
    whole = {**before, "test.en-de.en.bin": {"size": 1, "time": 1, "sha256": "0"}}
    stored.write_text(json.dumps(whole))
    (tmp_path / "data-bin" / "test.en-de.en.bin").write_text("another test set")
    accept(work.configuration)
    assert json.loads(stored.read_text()) == before


@pytest.mark.parametrize("flag", ["--train-subset", "--valid-subset"])
def test_sets_of_another_name_that_trainings_depend_on(work, tmp_path, flag):
    file = tmp_path / "data-bin" / "mine.en-de.en.bin"
    file.touch()
    (tmp_path / "data-bin" / "train1.en-de.en.bin").touch()
    own = Work(tmp_path, "slt", train=f"{TRAIN} {flag} mine", resources={"gpus": 2})
    assert set(check_files(own.configuration)) == {*LEARNED, "train1.en-de.en.bin", file.name}


@pytest.mark.parametrize("name", LEARNED)
def test_other_data_under_the_same_name(work, tmp_path, name):
    accept(work.configuration)
    before = (work.out / "data.json").read_text()
    file = tmp_path / "data-bin" / name
    file.write_text(file.read_text().upper())  # of the same length
    assert refused(work) == (
        f"FILE, line 1: {name} in {tmp_path}/data-bin differs from the data of the trainings in"
        f" {work.out}; give another --out"
    )
    assert (work.out / "data.json").read_text() == before


def test_data_that_are_gone_in_part(work, tmp_path):
    accept(work.configuration)
    (tmp_path / "data-bin" / "dict.de.txt").unlink()
    assert "line 1: dict.de.txt in " in refused(work)


def test_unchanged_data_are_not_read_again(work, tmp_path, monkeypatch):
    accept(work.configuration)
    monkeypatch.setattr(data_checks, "sha256_of", None)
    check_files(work.configuration)


# --- what has been done before ---


def repeats(work):
    with pytest.raises(LotteryError) as refusal:
        refuse_repeats(work.work, estimate(work.configuration, work.stages, work.work, 1))
    return str(refusal.value)


def test_trainings_that_would_run_again(tmp_path):
    first = Work(tmp_path, "mp", sparsities=[0.5])
    refuse_repeats(first.work, estimate(first.configuration, first.stages, first.work, 1))
    first.finish()
    other = Work(tmp_path, "mp", sparsities=[0.5], train=TRAIN.replace("7e-4", "5e-4"))
    now, then = ([c.training.folder for c in work.plan.cells] for work in (other, first))
    listed = "; ".join(
        f"{a} (finished as {b}, but --lr was '0.0007' and is '0.0005')" for a, b in zip(now, then)
    )
    assert repeats(other) == (
        f"2 finished trainings would run again, 2,000 updates: {listed}; give --yes to repeat"
        " them, or another --out"
    )
    known = Work(tmp_path, "mp", sparsities=[0.5], train=TRAIN.replace("7e-4", "5e-4"),
                 cost={"seconds_per_update": 9})  # fmt: skip
    assert ", 2,000 updates and about 5.0 hours of training: " in repeats(known)


def test_an_interrupted_training_that_cannot_go_on(tmp_path):
    first = Work(tmp_path, "slt", sparsities=[0.5])
    first.interrupt(first.stages[0], 400)
    refuse_repeats(first.work, estimate(first.configuration, first.stages, first.work, 1))
    other = Work(tmp_path, "slt", "lt", sparsities=[0.5])
    assert "snapshot_0.safetensors is missing, and the interrupted training" in repeats(other)


def test_another_plan_that_is_not_finished(tmp_path):
    first = Work(tmp_path, "slt", sparsities=[0.5, 0.9])
    refuse_other_plan(first.out, first.stages)  # there is none
    first.write_plan()
    refuse_other_plan(first.out, first.stages)
    for more in (Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9]),
                 Work(tmp_path, "slt", sparsities=[0.5, 0.9], only=["dense"]),
                 Work(tmp_path, "slt", sparsities=[0.5, 0.9], metrics=["TER"])):  # fmt: skip
        refuse_other_plan(more.out, more.stages)

    fewer = Work(tmp_path, "slt", sparsities=[0.5], name="other.yaml")
    before = (first.out / "plan.json").read_text()
    with pytest.raises(LotteryError) as refusal:
        refuse_other_plan(first.out, fewer.stages)
    lost = first.stage("score", "slt", 0.9)
    assert str(refusal.value) == (
        f"{first.out} has a plan of {tmp_path}/small.yaml with 1 unfinished cells that this"
        f" plan lacks ({lost.folder}); finish it, give another --out, or --yes to discard them"
    )
    assert (first.out / "plan.json").read_text() == before
    first.finish(lost)
    refuse_other_plan(first.out, fewer.stages)


def test_cells_of_a_changed_recipe_are_another_plan(tmp_path):
    first = Work(tmp_path, "mp", sparsities=[0.5])
    first.write_plan()
    other = Work(tmp_path, "mp", sparsities=[0.5], train=TRAIN.replace("7e-4", "5e-4"))
    with pytest.raises(LotteryError, match="with 2 unfinished cells"):
        refuse_other_plan(other.out, other.stages)
    first.finish(first.stage("score", "dense", 0.0))
    with pytest.raises(LotteryError, match="with 1 unfinished cells"):
        refuse_other_plan(other.out, other.stages)


def test_a_disk_that_is_too_small(work):
    found = estimate(work.configuration, work.stages, work.work, 1)
    check_disk(work.configuration, found)  # nothing is known of its size
    check_disk(work.configuration, replace(found, peak=1.0))
    with pytest.raises(LotteryError, match=r"line 1: the plan requires up to 1000000000\.0 GB in "):
        check_disk(work.configuration, replace(found, peak=1e18))


# --- the environment that trains ---


@pytest.fixture
def environment(work, tmp_path):
    """Lets the training's Python answer with a text, and returns the plan that asks it."""

    def answering(text, **settings):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\ncat >{tmp_path}/question\ncat <<'END'\n{text}\nEND\n")
        python.chmod(0o755)
        return Work(tmp_path, "slt", train_env="python", resources={"gpus": 2}, **settings)

    return answering


def ask(work, executor):
    return check_environment(work.plan, work.work, executor)


def test_an_environment_that_fits(environment, tmp_path):
    answer = 'a warning\n{"gpus": 2, "notes": ["so"], "parameters": 7}'
    told = ask(environment(answer, generate="--remove-bpe"), "local")
    assert told == (["so"], 7)
    asked = json.loads((tmp_path / "question").read_text())
    train, generate = asked["words"]["train"], asked["words"]["generate"]
    assert asked["task"] == "translation"
    assert train[0] == str(tmp_path / "data-bin")
    assert train[-2:] == ["--max-update", "1000"]
    assert generate[-3:] == ["--path", "model.pt", "--remove-bpe"]
    assert asked["scores"] == ["magnitude"] and asked["adopt"] == asked["scheduled"] == []
    assert asked["at_once"] == []
    dense = {"prunable": "all-matrices", "keep_dense": None}
    assert asked["masks"] == [
        {"scope": "layer", "sparsity": sparsity, **dense} for sparsity in ROWS
    ]
    assert "--max-update" in asked["weights"] and "--log-interval" not in asked["weights"]


def test_nothing_is_asked_about_translations_of_another_task(environment, tmp_path):
    answer = '{"gpus": 2, "notes": [], "parameters": 7}'
    assert ask(environment(answer, **MASKED), "local") == ([], 7)
    asked = json.loads((tmp_path / "question").read_text())
    assert asked["task"] == "masked_lm" and asked["tests"] == []
    (train,) = asked["words"].values()
    assert train[3:5] == ["--task", "masked_lm_lottery"]


@pytest.mark.parametrize(
    "technique, settings, at_once",
    [
        ("mp", {}, ["magnitude"]),
        ("mp", {"prune": {"start": 10}}, []),
        ("slt-mp", {"update_counter": "rewind"}, ["magnitude"]),
    ],
)
def test_what_prunes_before_its_first_update(environment, tmp_path, technique, settings, at_once):
    answer = '{"gpus": 2, "notes": [], "parameters": 7}'
    ask(environment(answer, techniques=[technique], **settings), "local")
    asked = json.loads((tmp_path / "question").read_text())
    assert (asked["scheduled"], asked["at_once"]) == (["magnitude"], at_once)


def test_test_sets_are_checked_once_each(environment, tmp_path):
    sets = [{}, {"checkpoint": "last"}, {"subset": "test1", "references": "more.de"}]
    train = f"{TRAIN} -s en -t de"
    answer = {"problem": "so", "where": ["evaluate", 2, "references"]}
    asking = environment(json.dumps(answer), evaluate=sets, train=train, generate="-s de")
    with pytest.raises(LotteryError) as refusal:
        ask(asking, "local")
    text = asking.configuration.source.path.read_text().splitlines()
    assert f"small.yaml, line {text.index('  references: more.de') + 1}: so" in str(refusal.value)
    asked = json.loads((tmp_path / "question").read_text())
    assert asked["tests"] == [
        {"subset": "test", "pair": None, "references": f"{tmp_path}/test.de",
         "where": ["references"]},
        {"subset": "test1", "pair": None, "references": f"{tmp_path}/more.de",
         "where": ["evaluate", 2, "references"]},
    ]  # fmt: skip
    # as the stage that translates
    assert asked["words"]["generate"][-4:] == ["--source-lang", "de", "--target-lang", "de"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ('{"problem": "train: unrecognized arguments: --lrr 1", "about": "--lr", "where": "train"}',
         "line 3: train: unrecognized arguments: --lrr 1"),
        ('{"problem": "the training\'s environment: fairseq is not installed"}',
         "line 8: the training's environment: fairseq is not installed"),
        ('{"gpus": 1}', "line 7: a training requires 2 GPUs and this machine has 1; change gpus"),
        ("", "line 8: the training's environment does not start (no output); install this package"),
        ("Segmentation fault", "line 8: the training's environment does not start (no output);"),
    ],
)  # fmt: skip
def test_an_environment_that_does_not(environment, answer, message):
    with pytest.raises(LotteryError) as refusal:
        ask(environment(answer), "local")
    assert f"small.yaml, {message}" in str(refusal.value)


def test_a_prologue_that_reads_what_is_not_set(work, tmp_path):
    answer = '{"gpus": 2, "notes": [], "parameters": 1}'
    (tmp_path / "python").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "python").chmod(0o755)
    env = f'export PATH={tmp_path}:$PATH\nexport SEEN="${{A_VARIABLE_THAT_NOBODY_SETS}}"'
    ask(Work(tmp_path, "slt", train_env=env, resources={"gpus": 2}), "local")


def test_a_prologue_that_fails(work, tmp_path):
    env = f"source {tmp_path}/none/activate\ntrue"
    with pytest.raises(LotteryError, match="line 8: the training's environment does not start"):
        ask(Work(tmp_path, "slt", train_env=env, resources={"gpus": 2}), "local")
    # a script is for another machine, where it may be
    work = Work(tmp_path, "slt", train_env=env, resources={"gpus": 2})
    (note,), _ = ask(work, "other")
    assert note.startswith("the plan was not checked: the training's environment does not start")


def test_an_environment_that_never_answers(work, tmp_path, monkeypatch):
    monkeypatch.setattr(start_checks, "PATIENCE", 0.2)
    waiting = Work(tmp_path, "slt", train_env="sleep 60", resources={"gpus": 2})
    with pytest.raises(LotteryError) as refusal:
        ask(waiting, "local")
    assert "line 8: the training's environment does not answer within 0.2 s" in str(refusal.value)


def test_an_executor_that_nobody_has():
    pytest.importorskip("snakemake")
    check_executor("local")
    with pytest.raises(LotteryError) as refusal:
        check_executor("nosuch")
    said = str(refusal.value)
    assert said.startswith("executor 'nosuch' is not installed; choose one of ")
    assert " local" in said and said.endswith(", or install snakemake-executor-plugin-nosuch")


def test_gpus_of_a_cluster_are_not_counted_here(environment):
    ask(environment('{"gpus": 0, "notes": [], "parameters": null}'), "slurm")

import dataclasses
import sys

import pytest

from fairseq_lottery.demo.plan import Recipe, runs
from fairseq_lottery.demo.stages import USER_DIR, stages

NAMES = [
    "dense",
    *("slt-80", "sign-only-80", "magnitude-pruning-80", "random-mask-80"),
    *("slt-90", "sign-only-90", "magnitude-pruning-90", "random-mask-90"),
]


@pytest.fixture(scope="module")
def plan():
    return {stage.name: stage for stage in stages(Recipe(seed=7))}


def flags(stage):
    """The flags of a command with their values, what names a file or the method left out."""
    command = list(stage.command)
    own = ("--save-dir", "--mask-from", "--start-from", "--sparsity", "--scope", "--score")
    own += ("--reset", "--draw-seed")
    own += ("--prune-to", "--prune-start", "--prune-end", "--prune-every", "--prune-schedule")
    for flag in own:
        if flag in command:
            del command[command.index(flag) : command.index(flag) + 2]
    return command


def value(stage, flag):
    return stage.command[stage.command.index(flag) + 1]


def test_every_method_at_every_sparsity_and_rounds_follow_each_other():
    assert [run.name for run in runs()] == NAMES
    parents = {run.name: run.parent for run in runs() if run.parent}
    assert parents == {
        **dict.fromkeys(("slt-80", "sign-only-80", "random-mask-80"), "dense"),
        "slt-90": "slt-80",
        "sign-only-90": "sign-only-80",
        "random-mask-90": "random-mask-80",
    }


def test_a_stage_comes_after_what_it_needs_and_has_a_folder_of_its_own(plan):
    seen = set()
    for name, stage in plan.items():
        assert seen.issuperset(stage.needs)
        seen.add(name)
    assert len({stage.folder for stage in plan.values()}) == len(plan) == 21


def test_all_trainings_have_the_same_budget(plan):
    trainings = [plan[f"train-{name}"] for name in NAMES]
    assert all(flags(stage) == flags(trainings[0]) for stage in trainings)
    assert value(trainings[0], "--max-update") == str(Recipe().updates)


def test_a_control_differs_in_its_score_only(plan):
    slt, random = plan["train-slt-90"], plan["train-random-mask-90"]
    differing = {
        (a, b) for a, b in zip(slt.command, random.command) if a.replace("slt", "random-mask") != b
    }
    assert differing == {("magnitude", "random")}


def test_the_second_round_starts_from_the_first_sparse_run(plan):
    stage = plan["train-slt-90"]
    assert value(stage, "--mask-from") == "models/slt-80/checkpoint_last.pt"
    assert value(stage, "--start-from") == "models/slt-80/snapshot_140.safetensors"
    assert "train-slt-80" in stage.needs


def test_no_sentence_is_dropped_and_the_plugin_is_named(plan):
    for name in NAMES:
        for stage in (plan[f"train-{name}"], plan[f"translate-{name}"]):
            assert value(stage, "--required-batch-size-multiple") == "1"
            assert value(stage, "--user-dir") == USER_DIR
            assert stage.command[0] == sys.executable


def test_the_seed_reaches_the_text_and_every_training(plan):
    assert value(plan["text"], "--seed") == "7"
    assert {value(plan[f"train-{name}"], "--seed") for name in NAMES} == {"7"}
    assert value(plan["train-random-mask-80"], "--draw-seed") == "7"


def test_pruning_while_training_follows_the_paper_in_share_of_the_updates(plan):
    stage, updates = plan["train-magnitude-pruning-90"], Recipe().updates
    assert int(value(stage, "--prune-end")) == 0.8 * updates
    assert int(value(stage, "--prune-every")) == 0.02 * updates
    assert value(stage, "--prune-to") == "0.9"


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 2

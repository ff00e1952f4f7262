import pytest
from workflow.made import TRAIN, Work, plan_of

from fairseq_lottery.workflow.planning.retention import numbered_checkpoints


def retention(folder, train="", **settings):
    """The flags that are added to a dense run's for saving."""
    work = Work(folder, "one-shot", sparsities=[0.9], train=f"{TRAIN} {train}", **settings)
    words = work.stage("train", "dense", 0.0).command
    return " ".join(words[words.index("--snapshot-updates") + 2 : -1])


def test_retention(tmp_path):
    average = [{"checkpoint": "average:5"}, {"checkpoint": "average:3"}, {"checkpoint": "best"}]
    every = "--save-interval-updates 100"
    assert retention(tmp_path) == "--keep-last-epochs 1"
    assert retention(tmp_path, evaluate=[{"checkpoint": "last"}]) == "--keep-last-epochs 1"
    assert retention(tmp_path, every, evaluate=average) == (
        "--keep-interval-updates 5 --no-epoch-checkpoints"
    )
    assert retention(tmp_path, every) == "--keep-interval-updates 1 --no-epoch-checkpoints"
    assert retention(tmp_path, f"{every} --no-epoch-checkpoints", evaluate=average) == (
        "--keep-interval-updates 5"
    )
    assert retention(tmp_path, keep=["checkpoints"]) == ""
    assert retention(tmp_path, every, keep=["checkpoints"]) == "--no-epoch-checkpoints"
    assert retention(tmp_path, "--keep-last-epochs 7") == ""
    assert retention(tmp_path, f"{every} --keep-interval-updates 7", evaluate=average) == (
        "--no-epoch-checkpoints"
    )


@pytest.mark.parametrize(
    ("train", "settings", "count"),
    [
        ("", {}, 1),
        ("--keep-last-epochs 7", {}, 7),
        ("", {"keep": ["checkpoints"]}, 1),
        ("--save-interval-updates 100", {}, 1),
        ("--save-interval-updates 100", {"evaluate": [{"checkpoint": "average:5"}]}, 5),
        ("--save-interval-updates 100 --keep-interval-updates 3", {}, 3),
        ("--save-interval-updates 100 --keep-interval-updates 3", {"keep": ["checkpoints"]}, 3),
        ("--save-interval-updates 300", {"keep": ["checkpoints"]}, 3),
    ],
)
def test_numbered_checkpoints(tmp_path, train, settings, count):
    plan = plan_of(tmp_path, train=f"{TRAIN} {train}", **settings)
    assert numbered_checkpoints(plan.configuration) == count

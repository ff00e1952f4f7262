import pytest
from workflow.made import Work

from fairseq_lottery.workflow.stages.finish import clean

CHECKPOINTS = ("checkpoint_last.pt", "checkpoint_best.pt", "checkpoint_1_50.pt", "checkpoint1.pt",
               "checkpoint_last.pt.damaged")  # fmt: skip


class Kept(Work):
    """A workflow that runs stage by stage, each followed by the cleaning."""

    def run(self, stage):
        self.write_plan()
        self.finish(stage)
        if stage.kind == "train":
            for name in (*CHECKPOINTS, ".snapshot_50.safetensors.77.tmp"):
                (self.out / stage.folder / name).touch()
        clean(self.out, stage)

    def files(self, technique, sparsity):
        folder = self.out / self.cell(technique, sparsity).training.folder
        return sorted(p.name for p in folder.iterdir() if ".pt" in p.name or "safe" in p.name)


def test_a_file_goes_with_its_last_reader(tmp_path):
    work = Kept(tmp_path, "slt", sparsities=[0.5, 0.9])
    seen = []
    for stage in work.stages:
        work.run(stage)
        here = {p.parent.name[:12] + "/" + p.name for p in work.out.rglob("*.safetensors")}
        seen.append((stage.kind, sorted(name.split("-")[0] + "/" + name.split("/")[1]
                                        for name in here)))  # fmt: skip
    last, early = "snapshot_1000.safetensors", "snapshot_50.safetensors"
    dense = [f"dense/{last}", f"dense/{early}"]
    fifty = [f"rewind50/{last}", f"rewind50/{early}"]
    assert seen == [
        ("train", dense),
        ("generate", dense),
        ("score", dense),
        ("draw", ["rewind50/ticket.safetensors"]),  # the dense run's are not read again
        ("train", fifty),
        ("generate", fifty),
        ("score", fifty),
        ("draw", ["rewind50/ticket.safetensors"]),
        ("train", []),
        ("generate", []),
        ("score", []),
    ]
    assert work.files("dense", 0.0) == work.files("slt", 0.9) == ["best.pt"]


def test_a_checkpoint_stays_until_its_moments_are_read(tmp_path):
    work = Kept(tmp_path, {"lr-rewind": {"moments": "keep"}}, sparsities=[0.5, 0.9])
    seen = []
    for stage in work.stages:
        work.run(stage)
        folders = [p.parent.name.split("-")[0] for p in work.out.rglob("checkpoint*.pt*")]
        assert all(p.name == "checkpoint_last.pt" for p in work.out.rglob("checkpoint*.pt*"))
        seen.append((stage.kind, sorted(folders)))
    assert [one for one in seen if one[0] in ("train", "draw")] == [
        ("train", ["dense"]), ("draw", []), ("train", ["keep50"]), ("draw", []), ("train", [])
    ]  # fmt: skip
    work.write_plan()
    assert not work.work.pending, "a deleted checkpoint that was read is not made again"


def test_a_snapshot_stays_for_the_second_of_two_readers(tmp_path):
    work = Kept(tmp_path, "slt", "clt", sparsities=[0.5])
    work.run(work.stage("train", "dense", 0.0))
    work.run(work.stage("draw", "slt", 0.5))
    assert len(work.files("dense", 0.0)) == 3
    work.run(work.stage("draw", "clt", 0.5))
    assert work.files("dense", 0.0) == ["best.pt"]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ([], ["best.pt"]),
        (["checkpoints"], sorted([*CHECKPOINTS, "best.pt"])),
        (["tickets"], ["best.pt", "ticket.safetensors"]),
        (["snapshots"], ["best.pt", "snapshot_0.safetensors", "snapshot_1000.safetensors",
                         "snapshot_50.safetensors"]),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_kept(tmp_path, keep, left):
    work = Kept(tmp_path, "slt", sparsities=[0.5], keep=keep)
    for stage in work.stages:
        work.run(stage)
    assert work.files("slt", 0.5) == left


def test_a_stage_that_failed_cleans_nothing(tmp_path):
    work = Kept(tmp_path, "slt", sparsities=[0.5])
    train = work.stage("train", "dense", 0.0)
    work.run(train)
    (work.out / train.record).unlink()
    for name in CHECKPOINTS:
        (work.out / train.folder / name).touch()
    clean(work.out, train)
    assert set(CHECKPOINTS) <= set(work.files("dense", 0.0))


def test_the_plan_may_have_grown_since_a_stage_was_started(tmp_path):
    """A training outlives its driver; another one has asked for more in the meantime."""
    small = Kept(tmp_path, "slt", sparsities=[0.5])
    small.run(small.stage("train", "dense", 0.0))
    grown = Kept(tmp_path, "slt", "clt", sparsities=[0.5])
    grown.write_plan()
    draw = small.stage("draw", "slt", 0.5)
    small.finish(draw)
    clean(small.out, draw)
    assert small.files("dense", 0.0) == [
        "best.pt", "snapshot_1000.safetensors", "snapshot_50.safetensors"
    ]  # fmt: skip
    grown.run(grown.stage("draw", "clt", 0.5))
    assert small.files("dense", 0.0) == ["best.pt"]


def test_what_is_asked_for_later_is_kept(tmp_path):
    work = Kept(tmp_path, "slt", sparsities=[0.5])
    work.write_plan()
    Kept(tmp_path, "slt", sparsities=[0.5], keep=["checkpoints"]).write_plan()
    train = work.stage("train", "dense", 0.0)
    work.interrupt(train, 1000)
    work.finish(train)
    clean(work.out, train)
    assert "checkpoint_last.pt" in work.files("dense", 0.0)


def test_other_settings_of_the_evaluation_clean_nothing(tmp_path):
    """Its record is of other settings than the plan's: the stage is not finished."""
    work = Kept(tmp_path, "slt", sparsities=[0.5])
    for stage in work.stages[:2]:
        work.run(stage)
    (work.out / work.stages[0].folder / "snapshot_9.safetensors").touch()
    other = Kept(tmp_path, "slt", sparsities=[0.5], generate="--remove-bpe")
    other.write_plan()
    clean(other.out, other.stages[1])
    assert "snapshot_9.safetensors" in work.files("dense", 0.0)
    clean(work.out, work.stages[1])
    assert "snapshot_9.safetensors" not in work.files("dense", 0.0)


def test_what_is_no_file_of_the_workflow_stays(tmp_path):
    work = Kept(tmp_path, "slt", sparsities=[0.5])
    folder = work.out / work.cell("slt", 0.5).training.folder
    folder.mkdir(parents=True)
    for name in ("notes.txt", "crash.pt", "own.safetensors"):
        (folder / name).touch()
    for stage in work.stages:
        work.run(stage)
    assert work.files("slt", 0.5) == ["best.pt", "crash.pt", "own.safetensors"]
    assert (folder / "notes.txt").exists()

import json
import subprocess

import pytest
from forking import python
from workflow.made import Work

from fairseq_lottery.workflow.engine.jobs import jobs_of
from fairseq_lottery.workflow.engine.snakemake import SNAKEFILE


def jobs(work, executor="local"):
    """Kind of stage -> what Snakemake is told of one of them."""
    return {
        stage.kind: job
        for stage, job in zip(work.work.pending, jobs_of(work.plan, work.work, executor))
    }


@pytest.mark.parametrize(
    ("executor", "resources", "threads"),
    [
        ("local", {"gpus": 0, "processes": 3, "threads": 4}, 12),
        ("slurm", {"gpus": 0, "processes": 3, "threads": 4}, 4),  # of each task
        ("local", {"gpus": 2, "threads": 4}, 8),
    ],
)
def test_threads(tmp_path, executor, resources, threads):
    work = Work(tmp_path, "slt", sparsities=[0.5], executor=executor, resources=resources)
    found = {kind: job["threads"] for kind, job in jobs(work, executor).items()}
    assert found == {"train": threads, "generate": 4, "draw": 1, "score": 1}


def test_every_stage_takes_a_slot_of_this_machine(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5],
                resources={"gpus": 2, "train": {"mem_mb": 9}, "other": {"disk_mb": 7}})  # fmt: skip
    assert {kind: job["resources"] for kind, job in jobs(work).items()} == {
        "train": {"slot": 1, "gpu": 2, "mem_mb": 9},
        "generate": {"slot": 1, "gpu": 1, "disk_mb": 7},
        "draw": {"slot": 1, "disk_mb": 7},
        "score": {"slot": 1, "disk_mb": 7},
    }


def test_stages_that_run_a_model_have_one_gpu_and_its_threads(tmp_path):
    """Importance and searches as well as translating; what only looks at files has none."""
    work = Work(tmp_path, "heads-lowest", "heads-good", sparsities=[0.5],
                resources={"gpus": 4, "threads": 3})  # fmt: skip
    found = jobs(work)
    assert {kind: job["resources"].get("gpu") for kind, job in found.items()} == {
        "train": 4, "rank": 1, "search": 1, "generate": 1, "choose": None, "draw": None,
        "score": None,
    }  # fmt: skip
    assert {kind: job["threads"] for kind, job in found.items()} == {
        "train": 12, "rank": 3, "search": 3, "generate": 3, "choose": 1, "draw": 1, "score": 1,
    }  # fmt: skip
    for kind in ("rank", "search"):
        assert "--cpu" not in found[kind]["command"]


def test_a_cluster_counts_its_jobs_itself(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5], executor="slurm",
                resources={"gpus": 2, "nodes": 2, "other": {"runtime": 5}})  # fmt: skip
    signal = {"slurm_extra": "--signal=TERM@120"}
    assert {kind: job["resources"] for kind, job in jobs(work, "slurm").items()} == {
        "train": {"mpi": "srun", "tasks": 4, "nodes": 2, "tasks_per_gpu": 1, "gpu": 4, **signal},
        "generate": {"gpu": 1, "runtime": 5, **signal},
        "draw": {"runtime": 5},
        "score": {"runtime": 5},
    }


def test_a_plan_holds_what_stages_read(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5], keep=["tickets"], resources={"gpus": 0})
    work.finish(*work.stages[:3])
    plan = work.write_plan()
    assert plan["keep"] == ["tickets"]
    assert [stage["name"] for stage in plan["stages"]] == [stage.name for stage in work.stages]
    assert [job["name"] for job in plan["jobs"]] == [stage.name for stage in work.stages[3:]]
    assert (work.out / ".markers").is_dir()


def test_markers_of_an_earlier_start_are_gone(tmp_path):
    work = Work(tmp_path, "slt", sparsities=[0.5])
    work.write_plan()
    (work.out / ".markers" / work.stages[0].name).touch()
    work.write_plan()
    assert list((work.out / ".markers").iterdir()) == []


def test_records_of_what_runs_again_are_gone_and_of_nothing_else(tmp_path):
    first = Work(tmp_path, "mp", sparsities=[0.5])
    first.finish()
    more = Work(tmp_path, "mp", sparsities=[0.5], only=["mp"], evaluate=[{"checkpoint": "last"}])
    ended = more.stage("train", "mp", 0.5)
    assert [repeat.stage for repeat in more.work.repeats] == [ended]
    (more.out / ended.folder / "checkpoint_1_50.pt").touch()
    (more.out / ended.log).touch()
    before = {path for path in more.out.rglob("*.json") if path.name != "plan.json"}
    more.write_plan()
    after = {path for path in more.out.rglob("*.json") if path.name != "plan.json"}
    assert before - after == {more.out / ended.record}
    assert not list((more.out / ended.folder).glob("checkpoint*"))
    assert not (more.out / ended.log).exists()
    assert json.loads((more.out / first.stages[0].record).read_text())["stage"].startswith("train-")


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_jobs_than_slots_run_after_a_chain_of_single_jobs(tmp_path, slots):
    """Snakemake 9.10 to 9.15 has one slot more after each job that was the only ready one."""
    after = {"a": [], "b": ["a"], "c": ["b"], **{f"leaf{n}": ["c"] for n in range(4)}}
    plan = [
        {"name": name, "rule": name, "after": before, "threads": 1, "priority": 1,
         "command": "echo 1 >>log; sleep 0.2; echo -1 >>log",
         "resources": {"slot": 1}}
        for name, before in after.items()
    ]  # fmt: skip
    content = {"markers": ".", "jobs": plan, "retries": 0, "executor": "local"}
    (tmp_path / "plan.json").write_text(json.dumps(content))
    subprocess.run(
        [python(), "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--cores", str(slots),
         "--resources", f"slot={slots}", "--scheduler", "greedy", "--nolock"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    steps = [int(line) for line in (tmp_path / "log").read_text().split()]
    running = [sum(steps[: end + 1]) for end in range(len(steps))]
    assert len(steps) == 2 * len(after) and max(running) == slots

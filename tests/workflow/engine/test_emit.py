import os
import re
import shlex
import subprocess
import sys

import pytest
from workflow.made import Work

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.engine.jobs import jobs_of
from fairseq_lottery.workflow.planning.graph import find_dependencies

#: stands for the work of a stage: notes when it starts and ends
NOTE = 'echo "start {0}" >>events; {1} echo "end {0}" >>events'


def after(stage, pending):
    """Names of the pending stages whose files a stage reads, by looking at all of them."""
    return [other.name for other in pending if set(stage.needs) & set(other.leaves)]


def line_of(work, stage):
    """Shell line of a pending stage."""
    lines = {job["name"]: job["command"] for job in jobs_of(work.plan, work.work, "local")}
    return lines[stage.name]


@pytest.fixture
def work(tmp_path):
    """SLT and MP at two sparsities: a chain, and two trainings beside it."""
    return Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9])


def start(script, folder, **environment):
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def checked(script):
    """A script that bash can read, with nothing left to fill in."""
    told = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert "{title}" not in script and "{{" not in script
    return script


#: waits until so many have started, but not for ever
TOGETHER = "for _ in {{1..400}}; do [ $(grep -c start events) -ge {0} ] && break; sleep 0.05; done;"


def cheap(work, jobs=1, does="", failing=()):
    """The script with every stage's command replaced; ``failing`` ones end with 3."""

    def replaced(match):
        name = match.group(1)
        line = NOTE.format(name, "exit 3;" if name in failing else does)
        return f"stage {name} {match.group(2)} <<'RUN'\n{line}\nRUN\n"

    script = work.emit("bash", jobs)
    text, count = re.subn(
        r"^stage (\S+) ('[^']*') <<'RUN'\n.*?\nRUN\n", replaced, script, flags=re.M | re.S
    )
    assert count == len(work.stages)
    return checked(text)


def events(work):
    return [line.split() for line in (work.out / "events").read_text().splitlines()]


# --- bash ---


def test_every_stage_is_a_plain_command_line(work):
    script = checked(work.emit("bash", 3))
    assert script.startswith("#!/usr/bin/env bash\n# small: 17 stages, JOBS at a time (default 3).")
    for stage in work.stages:
        waits = " ".join(after(stage, work.stages))
        line = line_of(work, stage)
        assert f"stage {stage.name} '{waits}' <<'RUN'\n{line}\nRUN\n" in script
        assert line == "exec " + shlex.join(
            [sys.executable, "-m", "fairseq_lottery.workflow.stages.runner", stage.name, "--",
             *stage.command]
        )  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 3])
def test_stages_run_after_those_they_wait_for(work, tmp_path, jobs):
    ended = start(cheap(work, jobs, TOGETHER.format(jobs)), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(ended.stdout.split()) == sorted(stage.name for stage in work.stages)
    seen = events(work)
    assert len(seen) == 2 * 17
    running, most, done = set(), 0, set()
    waits = {stage.name: set(after(stage, work.stages)) for stage in work.stages}
    for what, name in seen:
        if what == "start":
            assert waits[name] <= done
            running.add(name)
            most = max(most, len(running))
        else:
            running.remove(name)
            done.add(name)
    assert most == jobs  # the dense run and both of MP can start at once


def test_jobs_out_of_the_environment(work, tmp_path):
    ended = start(cheap(work, 1, TOGETHER.format(2)), tmp_path, JOBS="2")
    assert ended.returncode == 0
    first = [what for what, _ in events(work)[:2]]
    assert first == ["start", "start"]


def test_a_failed_stage_stops_what_waits_for_it_and_nothing_else(work, tmp_path):
    failing = work.stage("train", "slt", 0.5).name
    ended = start(cheap(work, 2, failing=[failing]), tmp_path)
    assert ended.returncode == 1
    done = {name for what, name in events(work) if what == "end"}
    waiting = {s.name for t in (0.5, 0.9) for s in work.stages
               if s.folder.startswith(work.cell("slt", t).training.folder)}  # fmt: skip
    drawn = work.stage("draw", "slt", 0.5).name
    assert done == {stage.name for stage in work.stages} - waiting | {drawn}
    assert len(done) == 3 + 2 * 3 + 1  # dense, both of MP, and the first ticket


def test_only_what_is_pending(work):
    work.finish(*work.stages[:3])
    script = checked(work.emit("bash"))
    assert re.findall(r"^stage (\S+) '(.*)' <<", script, re.M) == [
        (stage.name, " ".join(after(stage, work.stages[3:]))) for stage in work.stages[3:]
    ]
    work.finish()
    assert "0 stages" in checked(work.emit("bash"))


def test_a_finished_folder_ends_well(work, tmp_path):
    work.finish()
    ended = start(work.emit("bash"), tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_titles_and_folders_with_spaces_and_quotes(tmp_path):
    work = Work(
        tmp_path, "mp", sparsities=[0.5], title="what's {new}", out="a folder's name",
        train_env="export A='1 2'\necho ready",
        train="--optimizer masked_adam --max-update 10 --adam-betas '(0.9, 0.98)'",
    )  # fmt: skip
    for kind in ("bash", "sbatch"):
        script = checked_titles(work.emit(kind))
        before = "set -e +u\nexport A='1 2'\necho ready\n"
        assert f"<<'RUN'\n{before}exec python -m fairseq_lottery.workflow.stages.runner" in script
        assert "--adam-betas '(0.9, 0.98)'" in script
    ended = start(cheap(work), tmp_path)
    assert (ended.returncode, len(events(work))) == (0, 2 * 6)


def checked_titles(script):
    told = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    return script


def test_stages_that_end_at_the_same_time(tmp_path):
    """Many at a time and no work: several of them end while the script looks elsewhere."""
    work = Work(tmp_path, "mp", "one-shot", sparsities=[0.5, 0.6, 0.7, 0.8, 0.9], seeds=[1, 2])
    ended = start(cheap(work, 8), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(events(work)) == 2 * len(work.stages) == 2 * 2 * (3 + 5 * 3 + 5 * 4)


def test_a_stage_that_is_killed_has_failed(work, tmp_path):
    ended = start(cheap(work, 2, "kill -KILL $$;"), tmp_path)
    assert ended.returncode == 1
    assert len(events(work)) == 3  # all that wait for none: dense and both of MP


def test_there_is_no_other_kind(work):
    with pytest.raises(LotteryError, match="^--emit zsh is unknown; choose one of bash, sbatch"):
        work.emit("zsh")


# --- Slurm ---

SBATCH = """#!/usr/bin/env bash
number=$(($(ls "$TOLD" | wc -l) / 2 + 101))
cat >"$TOLD/$number.script"
printf '%s\\n' "$@" >"$TOLD/$number.options"
echo "$number"
"""


class Submitted:
    """What a stand-in for sbatch was told: options and script of every job, by name."""

    def __init__(self, folder, script):
        commands, told = folder / "commands", folder / "told"
        commands.mkdir()
        told.mkdir()
        (commands / "sbatch").write_text(SBATCH)
        (commands / "sbatch").chmod(0o755)
        self.ended = start(
            script, folder, PATH=f"{commands}:{os.environ['PATH']}", TOLD=str(told)
        )  # fmt: skip
        self.options, self.scripts, self.numbers = {}, {}, {}
        for path in sorted(told.glob("*.options"), key=lambda p: int(p.stem)):
            options = path.read_text().splitlines()
            name = options[options.index("--job-name") + 1]
            self.options[name] = options
            self.scripts[name] = path.with_suffix(".script").read_text()
            self.numbers[path.stem] = name

    def waits(self, name):
        """Names of the jobs that one waits for."""
        found = [o for o in self.options[name] if o.startswith("--dependency=afterok:")]
        numbers = found[0].partition("afterok:")[2].split(":") if found else []
        return [self.numbers[number] for number in numbers]


def test_every_stage_is_a_job_that_waits_for_others(tmp_path):
    work = Work(
        tmp_path, "slt", "mp", {"slt-mp": {"switch": [0.5]}}, sparsities=[0.5, 0.9], seeds=[1, 2],
        rewind_source="dense",
        resources={"gpus": 1, "threads": 4, "train": {"runtime": 600, "slurm_partition": "gpu",
                   "mem_mb": 16000, "slurm_extra": "--qos=high --exclude='a b'"},
                   "other": {"runtime": 20}},
    )  # fmt: skip
    script = checked(work.emit("sbatch"))
    told = Submitted(tmp_path, script)
    assert (told.ended.returncode, told.ended.stderr) == (0, "")
    assert list(told.options) == [stage.name for stage in work.stages]
    for stage in work.stages:
        assert told.waits(stage.name) == after(stage, work.stages)
        assert told.scripts[stage.name] == f"#!/usr/bin/env bash\n{line_of(work, stage)}\n"
        waits = "--kill-on-invalid-dep=yes" in told.options[stage.name]
        assert waits == bool(after(stage, work.stages))
    # a ticket on the dense run's weights under another run's mask waits for both
    draw = work.stage("draw", "slt", 0.9)
    assert len(told.waits(draw.name)) == 2

    train = told.options[work.stage("train", "dense", 0.0).name]
    assert train[:7] == [
        "--parsable", "--job-name", work.stages[0].name, "--output", "slurm-%x.log",
        "--open-mode", "append",
    ]  # fmt: skip
    assert train[7:] == [
        "--partition=gpu", "--time=600", "--mem=16000M", "--ntasks=1", "--gpus=1", "--qos=high",
        "--exclude=a b", "--signal=B:TERM@120", "--cpus-per-task=4",
    ]  # fmt: skip
    score = told.options[work.stage("score", "dense", 0.0).name]
    assert "--time=20" in score and "--cpus-per-task=1" in score
    assert not any(option.startswith(("--gpus", "--partition")) for option in score)
    generate = told.options[work.stage("generate", "dense", 0.0).name]
    assert "--gpus=1" in generate and "--cpus-per-task=4" in generate


def test_several_nodes_are_one_job_of_several_tasks(tmp_path):
    work = Work(tmp_path, "mp", sparsities=[0.5], executor="slurm",
                resources={"gpus": 4, "nodes": 2, "threads": 3})  # fmt: skip
    told = Submitted(tmp_path, checked(work.emit("sbatch")))
    name = work.stage("train", "mp", 0.5).name
    options = told.options[name]
    assert {"--nodes=2", "--ntasks=8", "--gpus=8", "--cpus-per-task=3"} <= set(options)
    assert "srun --nodes=2 --ntasks=8 --kill-on-bad-exit=1 --cpus-per-task=3 " in told.scripts[name]


def test_a_prologue_that_reads_what_is_not_set(tmp_path):
    """As modules and conda do; the submitted job and the script's own shell are strict."""
    env = 'echo "A is ${A_VARIABLE_THAT_NOBODY_SETS}" >>events\npython() { false; }\n'
    work = Work(tmp_path, "mp", sparsities=[0.5], train_env=env)
    line = line_of(work, work.stages[0])
    before = line[: line.index("exec ")]
    for shell in ("bash", "bash -u"):
        ended = start(f"{shell} -c {shlex.quote(before + 'echo ready')}", tmp_path)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")
    assert (tmp_path / "events").read_text() == "A is \n" * 2


def test_a_resource_that_sbatch_does_not_know(tmp_path):
    work = Work(tmp_path, "mp", sparsities=[0.5],
                resources={"gpus": 0, "train": {"mem_gb": 4, "constraint": "a100"}})  # fmt: skip
    with pytest.raises(LotteryError) as refusal:
        work.emit("sbatch")
    assert str(refusal.value).startswith("resource constraint is not supported by --emit sbatch; ")
    assert list(work.out.iterdir()) == []
    assert "constraint" not in checked(work.emit("bash"))  # which books nothing
    known = {"slurm_extra": "--constraint=a100", "runtime": 5, "mem_mb": 4000,
             "slurm_account": "us", "slurm_partition": "gpu"}  # fmt: skip
    work = Work(tmp_path, "mp", sparsities=[0.5], resources={"gpus": 2, "train": known},
                executor="slurm")  # fmt: skip
    assert "--constraint=a100" in checked(work.emit("sbatch"))


def test_a_submission_that_fails_ends_the_script(work, tmp_path):
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "sbatch").write_text("#!/bin/sh\necho no such partition >&2\nexit 1\n")
    (commands / "sbatch").chmod(0o755)
    ended = start(work.emit("sbatch"), tmp_path, PATH=f"{commands}:{os.environ['PATH']}")
    assert ended.returncode != 0
    assert ended.stderr == "no such partition\n"  # the first one, and none after it


def test_who_waits_for_whom(work):
    expected = {one.name: after(one, work.stages) for one in work.stages}
    assert find_dependencies(work.stages) == expected
    later = work.stages[3:]
    assert find_dependencies(later) == {one.name: after(one, later) for one in later}

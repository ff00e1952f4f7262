"""Pending stages as a script, for machines and clusters without Snakemake."""

from __future__ import annotations

import re
import shlex
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.engine.jobs import jobs_of, write_plan
from fairseq_lottery.workflow.planning.folder_state import Work
from fairseq_lottery.workflow.planning.plan import Plan

# up to JOBS stages run at a time; a stage starts after those that it waits for, in plan order
_BASH = """\
#!/usr/bin/env bash
# {title}: {count} stages, JOBS at a time (default {jobs}). Finished stages are skipped, so start a
# killed script again to resume it.
cd {out} || exit
: "${{JOBS:={jobs}}}"
names=()
running=0
declare -A after command state
# every stage writes its end here, as "wait -n" misses one of two that end at the same time
ends=$(mktemp -u) && mkfifo -m 600 "$ends" && exec 3<>"$ends" && rm "$ends" || exit

stage() {{ # NAME DEPENDENCIES; reads the command line from stdin
    names+=("$1") after[$1]=$2 command[$1]=$(cat) state[$1]=waiting
}}

start() {{ # start all stages that are ready
    local name needed
    for name in "${{names[@]}}"; do
        [ "${{state[$name]}}" = waiting ] && [ $running -lt "$JOBS" ] || continue
        for needed in ${{after[$name]}}; do
            [ "${{state[$needed]}}" = done ] || continue 2
        done
        echo "$name"
        {{ bash -c "${{command[$name]}}" 3>&-; echo "$? $name" >&3; }} &
        state[$name]=running running=$((running + 1))
    done
}}

run() {{
    local code name failed=0
    start
    while [ $running -gt 0 ]; do
        read -r code name <&3
        running=$((running - 1))
        if [ "$code" = 0 ]; then
            state[$name]=done
        else
            state[$name]=failed failed=1
        fi
        start
    done
    return $failed
}}

{stages}
run
"""

_SBATCH = """\
#!/usr/bin/env bash
# {title}: {count} jobs for Slurm, each after the jobs whose files it reads. Finished stages end at
# once, so run this script again after a time limit or a failure.
set -euo pipefail
cd {out}
submit() {{ # NAME DEPENDENCIES OPTIONS...; reads the command line from stdin
    local name=$1 after=$2
    shift 2
    {{ echo '#!/usr/bin/env bash'; cat; }} |
        sbatch --parsable --job-name "$name" --output "slurm-%x.log" --open-mode append \\
            ${{after:+--dependency=afterok:$after --kill-on-invalid-dep=yes}} "$@"
}}

{stages}
"""


def emit(plan: Plan, stages: tuple[Stage, ...], work: Work, kind: str, jobs: int) -> str:
    """Return a script of the pending stages, and write the ``plan.json`` that they read.

    Args:
        kind: ``bash`` or ``sbatch``.
    """
    makers = {"bash": (_BASH, _bash_stage), "sbatch": (_SBATCH, _sbatch_stage)}
    if kind not in makers:
        raise LotteryError(f"--emit {kind} is unknown; choose one of {', '.join(makers)}")
    template, format_stage = makers[kind]
    executor = "slurm" if kind == "sbatch" else "local"
    texts = [format_stage(job) for job in jobs_of(plan, work, executor)]
    write_plan(plan, stages, work, executor)
    return template.format(
        title=plan.configuration.title,
        count=len(texts),
        jobs=jobs,
        out=shlex.quote(str(plan.configuration.out)),
        stages="\n".join(texts),
    )


def _bash_stage(job: dict[str, Any]) -> str:
    return f"stage {job['name']} '{' '.join(job['after'])}' <<'RUN'\n{job['command']}\nRUN"


def _sbatch_stage(job: dict[str, Any]) -> str:
    after = ":".join(f"${{{_variable(name)}}}" for name in job["after"])
    words = " ".join(map(shlex.quote, _options(job)))
    return (
        f"{_variable(job['name'])}=$(submit {job['name']} \"{after}\" {words} <<'RUN'\n"
        f"{job['command']}\nRUN\n)"
    )


def _options(job: dict[str, Any]) -> list[str]:
    """Return the resources of a job as options of sbatch."""
    names = {
        "slurm_partition": "--partition={}",
        "slurm_account": "--account={}",
        "runtime": "--time={}",
        "mem_mb": "--mem={}M",
        "nodes": "--nodes={}",
        "tasks": "--ntasks={}",
        "gpu": "--gpus={}",
    }
    resources = {"tasks": 1, **job["resources"]}
    unknown = set(resources) - {*names, "slurm_extra", "mpi", "tasks_per_gpu", "slot"}
    if unknown:
        raise LotteryError(
            f"resource {sorted(unknown)[0]} is not supported by --emit sbatch; write its sbatch"
            " option in slurm_extra"
        )
    options = [form.format(resources[name]) for name, form in names.items() if name in resources]
    options += shlex.split(str(resources.get("slurm_extra", "")).replace("=TERM@", "=B:TERM@"))
    return [*options, f"--cpus-per-task={job['threads']}"]


def _variable(name: str) -> str:
    return "job_" + re.sub(r"\W", "_", name)

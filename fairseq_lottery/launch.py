"""One process of a training on several: ``python -m fairseq_lottery.launch FAIRSEQ-TRAIN-ARGS``.

``torchrun`` and ``srun`` start it once for every process. It takes its place among them from
the environment, adds the flags that tell fairseq so, and calls ``fairseq-train``. fairseq's own
way to find its place fails on a machine without GPUs, and on Slurm needs the world size twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import STOPPED, LotteryError, one_sentence

#: lets torchrun pass SIGUSR1 on to its processes too, and wait minutes, not 30 s, while they save.
#: torch before 2.9 knows neither: there it passes on SIGTERM only, and dies of SIGUSR1.
TORCHRUN_ENVIRONMENT = {
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    "PET_SHUTDOWN_TIMEOUT": "600",
}

#: ports of Slurm jobs: below those that Linux gives to outgoing connections (32768 and up)
_FIRST_PORT, _PORTS = 10_000, 20_000


def torchrun_command(processes: int, given: list[str]) -> list[str]:
    """The command that trains with ``given`` flags on ``processes`` processes of this machine.

    It is to run in an environment with ``TORCHRUN_ENVIRONMENT``. torchrun's own exit code is 1
    whatever its processes end with.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, "--nproc_per_node", str(processes), "-m", "fairseq_lottery.launch", *given]


@dataclass(frozen=True)
class Place:
    """Where a process stands in its training.

    Attributes:
        rank: its number among all processes.
        world: how many there are.
        local: its number among those of its machine.
        address: host of the first process.
        port: on that host.
        own_gpus: whether the scheduler shows every process only the GPUs that are its own.
    """

    rank: int
    world: int
    local: int
    address: str
    port: int
    own_gpus: bool = False


def find_place(environment: Mapping[str, str]) -> Optional[Place]:
    """The place that torchrun or srun gave; None for a process that trains alone.

    Raises:
        LotteryError: the environment tells half of it.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _from_torchrun(environment) if int(environment["WORLD_SIZE"]) > 1 else None
    if "SLURM_STEP_NUM_TASKS" in environment:
        return _from_srun(environment) if int(environment["SLURM_STEP_NUM_TASKS"]) > 1 else None
    if int(environment.get("SLURM_NTASKS", 1)) > 1:
        raise LotteryError(
            f"the Slurm job has {environment['SLURM_NTASKS']} tasks, of which srun starts one"
            " process each; put srun in front of the command"
        )
    return None


def _from_torchrun(environment: Mapping[str, str]) -> Place:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        if name not in environment:
            raise LotteryError(
                f"WORLD_SIZE is {environment['WORLD_SIZE']} but {name} is not set; start the"
                " processes with torchrun or srun"
            )
    rank, world, local, address, port = (environment[name] for name in names)
    return Place(int(rank), int(world), int(local), address, int(port))


def _from_srun(environment: Mapping[str, str]) -> Place:
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    # one port for all processes of a job step, most likely another for every other step
    port = _FIRST_PORT + (job * 101 + step) % _PORTS
    return Place(
        rank=int(environment["SLURM_PROCID"]),
        world=int(environment["SLURM_STEP_NUM_TASKS"]),
        local=int(environment["SLURM_LOCALID"]),
        address=environment.get("MASTER_ADDR") or _first_host(environment["SLURM_STEP_NODELIST"]),
        port=int(environment.get("MASTER_PORT") or port),
        own_gpus="SLURM_GPUS_PER_TASK" in environment,
    )


def _first_host(nodes: str) -> str:
    """The first host of a list in Slurm's short form, as ``node[07-09,12]``."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LotteryError(
            f"scontrol cannot say which host of {nodes} is the first; export MASTER_ADDR"
        ) from error
    return done.stdout.split()[0]


def flags(place: Optional[Place], given: list[str], gpus: int) -> list[str]:
    """What to add to the ``given`` flags of ``fairseq-train``; nothing for a process alone.

    Args:
        gpus: CUDA devices that this process sees.

    Raises:
        LotteryError: there are GPUs, but none for this process.
    """
    if place is None:
        return []
    added = ["--distributed-world-size", str(place.world), "--distributed-rank", str(place.rank)]
    added += ["--distributed-init-method", "env://", "--distributed-no-spawn"]
    if gpus and "--cpu" not in given:
        if place.local >= gpus and not place.own_gpus:
            raise LotteryError(
                f"process {place.local + 1} of this machine has no GPU, for only {gpus} can be"
                " seen; start no more processes on a machine than it has GPUs, or give --cpu"
            )
        return [*added, "--device-id", str(place.local if place.local < gpus else 0)]
    added += ["--device-id", "0"]
    for flag, value in (("--distributed-backend", "gloo"), ("--ddp-backend", "legacy_ddp")):
        if not any(word.split("=")[0] == flag for word in given):
            added += [flag, value]
    return added


def _leave(number: int, frame: object) -> None:
    """End a process that does not train: not yet, or because fairseq spawned others that do.

    In the second case Python waits for those at exit.
    """
    name = signal.Signals(number).name
    print(f"fairseq-lottery: ends because of {name}", file=sys.stderr, flush=True)
    raise SystemExit(STOPPED)


def main(given: list[str]) -> None:
    """Run ``fairseq-train`` with ``given`` and the flags of this process's place."""
    # set even where whoever started this process ignores them, which it inherits
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _leave)
    with one_sentence():
        place = find_place(os.environ)
        import torch

        added = flags(place, given, torch.cuda.device_count())
    if place is not None:
        os.environ.update(MASTER_ADDR=place.address, MASTER_PORT=str(place.port))
    sys.argv = ["fairseq-train", *given, *added]
    from fairseq_cli.train import cli_main

    import fairseq_lottery.plugin  # noqa: F401 - the package was imported before fairseq

    cli_main()


if __name__ == "__main__":
    main(sys.argv[1:])

"""One process of a distributed training: ``python -m fairseq_lottery.launch FAIRSEQ-TRAIN-ARGS``.

``torchrun`` and ``srun`` start this module once for every process. It reads its rank from the
environment, adds the matching flags and calls ``fairseq-train``. fairseq's own way to infer the
rank fails on a machine without GPUs, and requires the world size twice on Slurm.
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

#: makes torchrun forward SIGUSR1 to its processes and wait minutes, not 30 s, while they save;
#: torch before 2.9 ignores both: it forwards only SIGTERM, and SIGUSR1 kills it
TORCHRUN_ENVIRONMENT = {
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    "PET_SHUTDOWN_TIMEOUT": "600",
}

#: ports of Slurm jobs: below those that Linux gives to outgoing connections (32768 and up)
_FIRST_PORT, _PORTS = 10_000, 20_000


def torchrun_command(processes: int, arguments: list[str]) -> list[str]:
    """Return the command that trains on ``processes`` processes of this machine.

    Run it in an environment with ``TORCHRUN_ENVIRONMENT``. If a process fails, torchrun exits with
    1, whatever the exit code of the process.

    Args:
        arguments: arguments of ``fairseq-train``.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    return [*torchrun, str(processes), "-m", "fairseq_lottery.launch", *arguments]


@dataclass(frozen=True)
class Place:
    """Rank of a process in its training, and the address where all processes meet.

    Attributes:
        rank: number of the process among all processes.
        world: number of all processes.
        local: number of the process among those of its machine.
        address: host of the first process.
        port: port on that host.
        own_gpus: whether the scheduler shows every process only its own GPUs.
    """

    rank: int
    world: int
    local: int
    address: str
    port: int
    own_gpus: bool = False


def find_place(environment: Mapping[str, str]) -> Optional[Place]:
    """Return the place that torchrun or srun assigned; None for a process that trains alone.

    Raises:
        LotteryError: the environment is incomplete.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _from_torchrun(environment) if int(environment["WORLD_SIZE"]) > 1 else None
    if "SLURM_STEP_NUM_TASKS" in environment:
        return _from_srun(environment) if int(environment["SLURM_STEP_NUM_TASKS"]) > 1 else None
    if int(environment.get("SLURM_NTASKS", 1)) > 1:
        raise LotteryError(
            f"the Slurm job has {environment['SLURM_NTASKS']} tasks, but srun did not start this"
            " process; put srun in front of the command"
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
    # all processes of a job step use one port; another step very likely uses another
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
    """Return the first host of a list in Slurm's short form, such as ``node[07-09,12]``."""
    try:
        process = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LotteryError(
            f"scontrol cannot expand the host list {nodes}; export MASTER_ADDR"
        ) from error
    return process.stdout.split()[0]


def flags(place: Optional[Place], arguments: list[str], gpus: int) -> list[str]:
    """Return the flags to add to ``arguments``; none for a process that trains alone.

    Args:
        arguments: arguments of ``fairseq-train``.
        gpus: number of CUDA devices that this process sees.

    Raises:
        LotteryError: there are GPUs, but none for this process.
    """
    if place is None:
        return []
    added = ["--distributed-world-size", str(place.world), "--distributed-rank", str(place.rank)]
    added += ["--distributed-init-method", "env://", "--distributed-no-spawn"]
    if gpus and "--cpu" not in arguments:
        if place.local >= gpus and not place.own_gpus:
            raise LotteryError(
                f"process {place.local + 1} of this machine has no GPU (visible: {gpus}); start at"
                " most one process per GPU, or give --cpu"
            )
        return [*added, "--device-id", str(place.local if place.local < gpus else 0)]
    added += ["--device-id", "0"]
    for flag, value in (("--distributed-backend", "gloo"), ("--ddp-backend", "legacy_ddp")):
        if not any(word.split("=")[0] == flag for word in arguments):
            added += [flag, value]
    return added


def _leave(number: int, frame: object) -> None:
    """Exit with ``STOPPED``, before the training or while only spawned processes train.

    At exit Python waits for the spawned processes.
    """
    name = signal.Signals(number).name
    print(f"fairseq-lottery: stopped by {name}", file=sys.stderr, flush=True)
    raise SystemExit(STOPPED)


def main(arguments: list[str]) -> None:
    """Run ``fairseq-train`` with ``arguments`` and the flags of this process's place."""
    # the parent process may ignore these signals, and its children inherit that
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _leave)
    with one_sentence():
        place = find_place(os.environ)
        import torch

        added = flags(place, arguments, torch.cuda.device_count())
    if place is not None:
        os.environ.update(MASTER_ADDR=place.address, MASTER_PORT=str(place.port))
    sys.argv = ["fairseq-train", *arguments, *added]
    from fairseq_cli.train import cli_main

    import fairseq_lottery.plugin  # noqa: F401 - the package was imported before fairseq

    cli_main()


if __name__ == "__main__":
    main(sys.argv[1:])

"""The training's environment, which may differ from that of the workflow."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fairseq_lottery
from fairseq_lottery.launch import torchrun_command
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: flags whose weights compiled code cannot multiply
_HALF_PRECISION = ("--fp16", "--memory-efficient-fp16", "--bf16", "--memory-efficient-bf16")


def interpreter(configuration: Configuration) -> str:
    """Return the training's Python: the file ``train_env``, or the one on the PATH that it sets."""
    env = configuration.train_env.strip()
    if not env:
        return sys.executable
    path = (configuration.source.path.parent / Path(env).expanduser()).absolute()
    is_file = "\n" not in env and path.is_file()
    if not is_file and re.search(r"\s", env):
        return "python"
    if not is_file:
        message = f"train_env: there is no Python {path}; give its path, or shell lines"
        raise configuration.source.error(("train_env",), message)
    return str(path)


def in_environment(configuration: Configuration, words: Sequence[str]) -> str:
    """Return shell lines that run a command in the training's environment."""
    # exec replaces the shell, so that signals reach the command
    line = f"exec {shlex.join(words)}"
    if interpreter(configuration) != "python":
        return line
    # activation scripts may read unset variables (+u), but must not fail and leave another
    # Python to train (-e)
    return f"set -e +u\n{configuration.train_env.strip()}\n{line}"


def run(
    configuration: Configuration, words: Sequence[str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in the training's environment and the workflow's folder, as a stage does.

    Args:
        options: arguments of ``subprocess.run``, which captures the output.
    """
    lines = ["bash", "-c", in_environment(configuration, words)]
    return subprocess.run(
        lines, cwd=configuration.out, capture_output=True, text=True, check=False, **options
    )


def user_dir() -> str:
    """Return the folder of the package, for fairseq's ``--user-dir``."""
    return str(Path(fairseq_lottery.__file__).resolve().parent)


def task_words(configuration: Configuration) -> list[str]:
    """Return the first arguments of fairseq's commands: data, user directory and task."""
    task = configuration.task.lottery_task
    return [str(configuration.data), "--user-dir", user_dir(), "--task", task]


def data_flags(configuration: Configuration) -> Flags:
    """Return the flags that select the data; empty if fairseq infers them."""
    named = configuration.task.data_flags.values()
    items = configuration.train.items
    return Flags(tuple(item for item in items if item[0] in named and any(item[1])))


def translation_flags(configuration: Configuration) -> list[str]:
    """Return the flags of every translation: ``generate``, the data flags of ``train``, device."""
    flags = configuration.generate
    words = flags.words() + data_flags(configuration).without(flags.names).words()
    if configuration.resources.gpus:
        return words
    is_fast = not {"--sparse-decode", *_HALF_PRECISION} & set(flags.names)
    return [*words, "--cpu", *(["--sparse-decode"] if is_fast else [])]


def fairseq_train(
    configuration: Configuration, executor: str, seed: int, folder: str, words: Sequence[object]
) -> tuple[str, ...]:
    """Return the command of fairseq-train in one process, or in several by torchrun or srun.

    Args:
        folder: the save-dir.
        words: all further flags.

    Raises:
        LotteryError: several nodes without Slurm.
    """
    resources, python = configuration.resources, interpreter(configuration)
    arguments: list[object] = [*task_words(configuration)]
    arguments += ["--save-dir", folder, "--seed", seed, *words]
    arguments += [] if resources.gpus else ["--cpu"]
    tasks = resources.processes * resources.nodes
    words_of_one = [python, "-m", "fairseq_lottery.launch", *map(str, arguments)]
    if tasks == 1:
        return tuple(words_of_one)
    if executor == "slurm":
        flags = [f"--nodes={resources.nodes}", f"--ntasks={tasks}", "--kill-on-bad-exit=1"]
        flags += [f"--cpus-per-task={resources.threads}"]  # srun does not inherit it from sbatch
        return ("srun", *flags, *words_of_one)
    if resources.nodes > 1:
        raise configuration.source.error(
            ("resources", "nodes"),
            f"resources.nodes is {resources.nodes}; give --executor slurm or --emit sbatch",
        )
    return (python, *torchrun_command(resources.processes, list(map(str, arguments)))[1:])

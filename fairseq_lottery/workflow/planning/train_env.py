"""The environment that trains, which may be another than the workflow's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import fairseq_lottery
from fairseq_lottery.launch import torchrun_command
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.trainings.train_flags import Flags


def interpreter(configuration: Configuration) -> str:
    """The Python that trains: ``train_env`` where it is a file, else the one on its path."""
    env = configuration.train_env.strip()
    if not env:
        return sys.executable
    path = (configuration.source.path.parent / Path(env).expanduser()).absolute()
    there = "\n" not in env and path.is_file()
    if not there and re.search(r"\s", env):
        return "python"
    if not there:
        raise configuration.source.error(("train_env",), f"train_env: there is no Python {path}")
    return str(path)


def prologue(configuration: Configuration) -> str:
    """Shell lines that lead into the training's environment; empty where it is a file."""
    env = configuration.train_env.strip()
    # as in a shell at hand, what others wrote may read variables that are not set; but a line
    # that fails must not leave another Python to train
    return f"set -e +u\n{env}" if env and interpreter(configuration) == "python" else ""


def in_environment(configuration: Configuration, line: str) -> str:
    """A shell line behind what leads into the training's environment."""
    before = prologue(configuration)
    return f"{before}\n{line}" if before else line


def user_dir() -> str:
    """The package itself, as fairseq's ``--user-dir``."""
    return str(Path(fairseq_lottery.__file__).resolve().parent)


def task_words(configuration: Configuration) -> list[str]:
    """Words that begin each of fairseq's commands: the data, this package and its task."""
    task = configuration.task.lottery_task
    return [str(configuration.data), "--user-dir", user_dir(), "--task", task]


def data_flags(configuration: Configuration) -> Flags:
    """Return the flags that say which data is meant; none where fairseq infers it."""
    named = configuration.task.data_flags.values()
    items = configuration.train.items
    return Flags(tuple(item for item in items if item[0] in named and any(item[1])))


def translation_flags(configuration: Configuration) -> list[str]:
    """Flags of every translation: the configuration's, and the training's about the data."""
    own = configuration.generate
    return own.words() + data_flags(configuration).without(own.names).words()


def fairseq_train(
    configuration: Configuration, executor: str, seed: int, folder: str, words: Sequence[object]
) -> tuple[str, ...]:
    """fairseq-train in one process, or in several that ``fairseq_lottery.launch`` joins.

    Args:
        folder: its save-dir.
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
        several = [f"--nodes={resources.nodes}", f"--ntasks={tasks}", "--kill-on-bad-exit=1"]
        several += [f"--cpus-per-task={resources.threads}"]  # which srun does not inherit
        return ("srun", *several, *words_of_one)
    if resources.nodes > 1:
        raise configuration.source.error(
            ("resources", "nodes"), "several nodes want --executor slurm, or --emit sbatch"
        )
    return (python, *torchrun_command(resources.processes, list(map(str, arguments)))[1:])

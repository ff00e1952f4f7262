"""The configuration: what is to be trained, pruned, evaluated and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.techniques import Technique
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import model_file


@dataclass(frozen=True)
class Evaluation:
    """How a trained cell is evaluated: by the last validation of a checkpoint.

    Attributes:
        checkpoint: ``best``, ``last`` or ``average:N``.
        subset: the set of sentences.
    """

    checkpoint: str
    subset: str

    @property
    def name(self) -> str:
        """The name of its folder and of its rows."""
        return self.checkpoint

    @property
    def model(self) -> str:
        """The file of the chosen weights."""
        return model_file(self.checkpoint)

    @property
    def settings(self) -> dict[str, Any]:
        """What its rows say of it, under the names of records."""
        return {"checkpoint": self.checkpoint, "subset": self.subset}


@dataclass(frozen=True)
class Translation(Evaluation):
    """How a trained cell is evaluated: by translations of a test set.

    Attributes:
        references: the raw text of the test set.
    """

    beam: int
    lenpen: float
    references: Path

    @property
    def name(self) -> str:
        """The name of its folder and of its rows."""
        subset = "" if self.subset == "test" else f"-{self.subset}"
        return f"{self.checkpoint.replace(':', '')}-beam{self.beam}-lenpen{self.lenpen:g}{subset}"

    @property
    def settings(self) -> dict[str, Any]:
        """What its rows say of it, under the names of records."""
        return {
            "checkpoint": self.checkpoint,
            "beam": self.beam,
            "lenpen": self.lenpen,
            "subset": self.subset,
        }


@dataclass(frozen=True)
class Request:
    """A technique as asked for: its rows, seeds, and what differs from the whole."""

    technique: Technique
    name: str
    title: str
    sparsities: tuple[float, ...]
    rounds: tuple[float, ...]
    seeds: tuple[int, ...]
    rewind: int
    rewind_source: str
    clock: Optional[str]
    options: dict[str, Any]
    key: Key


@dataclass(frozen=True)
class Resources:
    """What a training occupies, and what a scheduler is told.

    Attributes:
        gpus: GPUs of one training; 0 trains on the CPU.
        processes: processes of one training, one a GPU unless it trains on the CPU.
        nodes: machines of one training; more than one is for Slurm.
        threads: CPU threads of a process.
        train, other: further resources of the engine (runtime, mem_mb, slurm_partition...)
            for trainings, and for all other stages.
    """

    gpus: int = 1
    processes: int = 1
    nodes: int = 1
    threads: int = 1
    train: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """A whole configuration; paths are absolute, shares of the training are updates.

    Attributes:
        prepare: the command that makes the data, for a reader; it is never run.
        references: the raw text of the test set; None where the task does not translate.
        generate: flags of every translation.
    """

    source: Lines
    title: str
    task: TaskAdapter
    out: Path
    data: Path
    references: Optional[Path]
    prepare: str
    train: Flags
    updates: int
    requests: tuple[Request, ...]
    growth: dict[str, Any]
    evaluations: tuple[Evaluation, ...]
    generate: Flags
    metrics: tuple[str, ...]
    score_commands: dict[str, str]
    resources: Resources
    train_env: str
    keep: tuple[str, ...]
    adopt: Optional[str]
    published: Optional[str]
    cost: dict[str, float]
    retries: int
    engine: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, in order."""
        return tuple(sorted({seed for request in self.requests for seed in request.seeds}))

    @property
    def adopted_folders(self) -> list[str]:
        """The run of each seed that stands for the dense training, if there are any."""
        return [self.adopt.format(seed=seed) for seed in self.seeds] if self.adopt else []

"""The configuration: what is to be trained, pruned, evaluated and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.records.schema import Rule, Size, at_least
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.techniques import Technique
from fairseq_lottery.workflow.trainings.train_flags import Flags


@dataclass(frozen=True)
class Evaluation:
    """How a trained cell is evaluated: by the last validation of a checkpoint."""

    checkpoint: str
    subset: str

    @property
    def name(self) -> str:
        """The name of its folder and of its rows."""
        return self.checkpoint

    @property
    def settings(self) -> dict[str, Any]:
        """What its rows say of it, under the names of records."""
        return {name: value for name, value in asdict(self).items() if name != "references"}

    @property
    def averaged(self) -> int:
        """How many numbered checkpoints it averages."""
        return int(self.checkpoint.partition(":")[2] or 0)


@dataclass(frozen=True)
class Translation(Evaluation):
    """How a trained cell is evaluated: by translations of a test set, against its raw text."""

    beam: int
    lenpen: float
    references: Path

    @property
    def name(self) -> str:
        """The name of its folder and of its rows."""
        subset = "" if self.subset == "test" else f"-{self.subset}"
        return f"{self.checkpoint.replace(':', '')}-beam{self.beam}-lenpen{self.lenpen:g}{subset}"


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
    update_counter: Optional[str]
    options: dict[str, Any]
    key: Key


#: resources of an engine, by its names
_Engine = Annotated[
    dict, Rule("a mapping, whose runtime is in minutes", lambda v: type(v.get("runtime", 1)) is int)
]


@dataclass(frozen=True)
class Resources:
    """What one training occupies, and further resources of the engine.

    Without GPUs it trains on the CPU; ``threads`` are those of a process; ``train`` and ``other``
    (runtime, mem_mb, slurm_partition...) are for trainings and for all other stages.
    """

    gpus: Annotated[int, at_least(0)] = 1
    processes: Size = 1
    nodes: Size = 1
    threads: Size = 1
    train: _Engine = field(default_factory=dict)
    other: _Engine = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """A whole configuration; paths are absolute, shares of the training are updates.

    There are no references where the task does not translate; ``prepare`` is never run.
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
    pruning: dict[str, Any]
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
    def translations(self) -> list[Translation]:
        """The evaluations by translations: all of them where the task translates."""
        return [one for one in self.evaluations if isinstance(one, Translation)]

    @property
    def test_sets(self) -> dict[tuple[str, Path], Key]:
        """Subset and references of every test set -> where the references are named."""
        found: dict[tuple[str, Path], Key] = {}
        for number, evaluation in enumerate(self.translations):
            own: Key = ("evaluate", number, "references")
            where = ("references",) if evaluation.references == self.references else own
            found.setdefault((evaluation.subset, evaluation.references), where)
        return found

    @property
    def adopted_folders(self) -> list[str]:
        """The run of each seed that stands for the dense training, if there are any."""
        return [self.adopt.format(seed=seed) for seed in self.seeds] if self.adopt else []

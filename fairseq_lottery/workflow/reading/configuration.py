"""The configuration of a workflow: trainings, pruning, evaluations, and files to keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.records.schema import Rule, Size, at_least
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.techniques import Technique
from fairseq_lottery.workflow.trainings.train_flags import Flags


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a trained cell on examples of its task.

    Attributes:
        usual: subset of an evaluation whose name does not state its subset.
    """

    checkpoint: str
    subset: str
    usual: str

    @property
    def name(self) -> str:
        """Name of the evaluation's folder and rows."""
        return f"{self.checkpoint.replace(':', '')}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return "" if self.subset == self.usual else f"-{self.subset}"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the evaluation in its rows, by their names in records."""
        omitted = ("references", "usual")
        return {name: value for name, value in asdict(self).items() if name not in omitted}

    @property
    def averaged(self) -> int:
        """Number of checkpoints in the average; 0 if the evaluation averages none."""
        return int(self.checkpoint.partition(":")[2] or 0)


@dataclass(frozen=True)
class Translation(Evaluation):
    """An evaluation of a trained cell by translations of a test set, against raw references.

    Attributes:
        pair: languages of the test set, as ``en-de``, for a task with several pairs; else None.
        pair_mask: mask of models with masks of pairs, as ``--pair-mask``; empty for that of the
            pair.
    """

    beam: int
    lenpen: float
    references: Path
    pair: Optional[str] = None
    pair_mask: str = ""

    @property
    def name(self) -> str:
        """Name of the evaluation's folder and rows."""
        name = f"{self.checkpoint.replace(':', '')}-beam{self.beam}-lenpen{self.lenpen:g}"
        name += f"{self._suffix}{f'-{self.pair}' if self.pair else ''}"
        rule = self.pair_mask.replace(":", ".").replace(",", ".")
        return f"{name}{f'-by-{rule}' if rule else ''}"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the evaluation in its rows; the subset names the pair of languages."""
        settings = {n: v for n, v in super().settings.items() if n not in ("pair", "pair_mask")}
        return {**settings, "subset": self.file_stems[0]}

    @property
    def file_stems(self) -> tuple[str, ...]:
        """Starts of the names of the test set's files, of which one exists; a dot follows them.

        fairseq reads the files of a pair in both directions.
        """
        if self.pair is None:
            return (self.subset,)
        source, target = self.pair.split("-")
        return f"{self.subset}.{source}-{target}", f"{self.subset}.{target}-{source}"

    @property
    def pair_words(self) -> list[str]:
        """Flags of fairseq-generate that select the pair."""
        if self.pair is None:
            return []
        source, target = self.pair.split("-")
        return ["--source-lang", source, "--target-lang", target]


@dataclass(frozen=True)
class Request:
    """A technique of the configuration, with its rows, seeds and settings.

    Attributes:
        rewind, later_rewinds: the update t, see ``Vocabulary``.
        budget: total length of the trainings behind each row, as a multiple of that of the dense
            model; None for trainings as long as the dense one.
    """

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
    later_rewinds: tuple[tuple[float, int], ...] = ()
    budget: Optional[float] = None

    @property
    def source(self) -> Optional[str]:
        """Data set whose masks are taken; None for those of the technique's own."""
        option = self.technique.option_of_data_sets
        return None if option is None else str(self.options[option])

    @property
    def rewinds(self) -> tuple[int, ...]:
        """Every update that survivors are reset to."""
        return (self.rewind, *(update for _, update in self.later_rewinds))


#: resources by their names in Snakemake
_Engine = Annotated[
    dict, Rule("a mapping, whose runtime is in minutes", lambda v: type(v.get("runtime", 1)) is int)
]


@dataclass(frozen=True)
class Resources:
    """Resources of one training, and further resources of the engine.

    Attributes:
        gpus: number of GPUs; 0 trains on the CPU.
        threads: threads of each process.
        train: resources of trainings (runtime, mem_mb, slurm_partition...).
        other: resources of all other stages.
    """

    gpus: Annotated[int, at_least(0)] = 1
    processes: Size = 1
    nodes: Size = 1
    threads: Size = 1
    train: _Engine = field(default_factory=dict)
    other: _Engine = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """A validated configuration, with absolute paths, and updates instead of percentages.

    If the file lists several data sets, it is that of the first, and ``others`` has the rest.

    Attributes:
        data_name: name of the data set; empty if the file does not name it.
        pretrained: checkpoint whose weights every training starts from; None for new weights.
        references: None if the task does not translate.
        prepare: command that makes the data; it is shown in messages and never run.
        analysis: what is computed of the trained models; None without the key ``analyze``.
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
    analysis: Optional[Settings] = None
    data_name: str = ""
    pretrained: Optional[Path] = None
    others: tuple[Configuration, ...] = ()

    @property
    def data_sets(self) -> tuple[Configuration, ...]:
        """Configurations of all data sets, in the order of the file."""
        return (self, *self.others)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, sorted."""
        return tuple(sorted({seed for request in self.requests for seed in request.seeds}))

    @property
    def translations(self) -> list[Translation]:
        """Evaluations by translations: all evaluations if the task translates, else none."""
        return [item for item in self.evaluations if isinstance(item, Translation)]

    @property
    def test_sets(self) -> dict[tuple[str, Optional[str], Path], Key]:
        """Map subset, pair and references of each test set to the key that names the references."""
        keys: dict[tuple[str, Optional[str], Path], Key] = {}
        for number, evaluation in enumerate(self.translations):
            own_key: Key = ("evaluate", number, "references")
            key = ("references",) if evaluation.references == self.references else own_key
            keys.setdefault((evaluation.subset, evaluation.pair, evaluation.references), key)
        return keys

    @property
    def adopted_folders(self) -> list[str]:
        """Folders of the adopted dense runs, one for each seed; empty without ``adopt``."""
        return [self.adopt.format(seed=seed) for seed in self.seeds] if self.adopt else []

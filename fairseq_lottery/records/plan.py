"""``plan.json``: the cells that a run set out to fill, and the stages that fill them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.json_files import read_file
from fairseq_lottery.records.schema import (
    Count,
    Inside,
    Line,
    Number,
    Rule,
    Sparsity,
    Text,
    is_text,
    one_line,
    one_of,
    parse,
)

FILE = "plan.json"
#: what the sparsities of a technique can be a share of, in the order in which reports have them
WEIGHTS, METRIC = "weights", "metric"
ROWS = (WEIGHTS, "heads", "units", "blocks", METRIC)
KINDS = ("rank", "search", "choose", "draw", "adopt", "close", "train", "generate", "score")
#: kinds of stages that leave the models of a training: an existing run's, a pruned one's, its own
TRAINED = ("adopt", "close", "train")
#: kinds of stages that run a model on sentences, on one GPU where there are any
RUNNING = ("rank", "search", "generate")


def _is_entry(value: Any) -> bool:
    """Whether a value is a text, a number, or a list of these."""
    for one in value if isinstance(value, list) else [value]:
        if not (one is None or isinstance(one, (str, int, float))):
            return False
        if isinstance(one, str) and not is_text(one_line(one)):
            return False
    return True


Entry = Annotated[Any, Rule("texts and numbers", _is_entry)]


@dataclass(frozen=True)
class PlannedTechnique:
    """A technique of a plan, and what its sparsities are a share of."""

    name: Line
    title: Line
    rows: Annotated[str, one_of(ROWS)] = WEIGHTS


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a plan, and the folder of the training that fills it."""

    technique: Line
    sparsity: Sparsity
    seed: Count
    training: Inside


@dataclass(frozen=True)
class Stage:
    """One command line. Paths are relative to the workflow's folder, where it is run.

    Attributes:
        folder: where its log and its record go.
        needs: files that it reads, each left by another stage.
        leaves: files that other stages read. The record says that all of them are there.
        facts: what checking and recording it takes besides.
    """

    kind: Annotated[str, one_of(KINDS)]
    folder: Inside
    title: str
    command: tuple[str, ...]
    needs: tuple[Inside, ...]
    leaves: tuple[Inside, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its kind and folder, which no other stage has."""
        return f"{self.kind}-{self.folder.replace('/', '-')}"

    @property
    def record(self) -> str:
        """The file that exists once the stage is finished."""
        return f"{self.folder}/{self.kind}.json"

    @property
    def log(self) -> str:
        """Where its output goes."""
        return f"{self.folder}/{self.kind}.log"

    @property
    def failure(self) -> str:
        """Where it says why it failed."""
        return f"{self.folder}/{self.kind}.failed"


@dataclass(frozen=True)
class TrainedFacts:
    """The facts of a stage that leaves models: updates behind them, and at the start."""

    updates: Count = 0
    first_update: Count = 0


@dataclass(frozen=True)
class Plan:
    """What a run set out to do, as tables show it.

    Attributes:
        cells: empty where the plan does not list them; any technique may have any sparsity then.
        stages: empty in plans of early versions.
    """

    title: Line
    techniques: tuple[PlannedTechnique, ...]
    sparsities: tuple[Sparsity, ...]
    seeds: tuple[Count, ...]
    recipe: dict[Line, Entry]
    published: Optional[Text] = None
    cells: tuple[PlannedCell, ...] = ()
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Refuse trainings that do not count their updates."""
        for stage in self.stages:
            if stage.kind in TRAINED:
                parse(TrainedFacts, stage.facts, (stage.name, "facts"))

    def rows_of(self, technique: str) -> str:
        """Return what the sparsities of a technique are a share of."""
        return next((one.rows for one in self.techniques if one.name == technique), WEIGHTS)


@dataclass(frozen=True)
class Evaluated:
    """How a ``score`` stage evaluates its cell."""

    name: Text
    checkpoint: Text
    subset: Text
    beam: Optional[Count] = None
    lenpen: Optional[Number] = None


@dataclass(frozen=True)
class ScoreFacts:
    """The facts of a ``score`` stage; one that scores translations has references."""

    evaluation: Evaluated
    references: Optional[str] = None


@dataclass(frozen=True)
class RankFacts:
    """The facts of a ``rank`` stage: the training whose components it ranks, and by what."""

    of: Inside
    measure: Text


@dataclass(frozen=True)
class PrunedComponents:
    """The components that a training prunes: their file, and the kind that its row counts."""

    file: Inside
    kind: Text


@dataclass(frozen=True)
class StagePlan:
    """What stages need of a plan."""

    configuration: str
    stages: tuple[Stage, ...]
    cells: tuple[PlannedCell, ...]
    keep: tuple[str, ...]
    gpus: Count
    threads: Count
    executor: str

    def __post_init__(self) -> None:
        """Refuse stages without the facts of their kind."""
        for stage in self.stages:
            if stage.kind in _FACTS:
                parse(_FACTS[stage.kind], stage.facts, (stage.name, "facts"))
            if "parts" in stage.facts:
                place = (stage.name, "facts", "parts")
                components = parse(PrunedComponents, stage.facts["parts"], place)
                if components.file not in stage.needs:
                    raise ValueError(f"{stage.name} does not need the file of its components")


_FACTS: dict[str, Any] = {"score": ScoreFacts, "rank": RankFacts}


def read_plan(folder: Union[str, Path]) -> Plan:
    """Read the plan of a folder that has been scored, for tables.

    Raises:
        LotteryError: there is none, or it is malformed.
    """
    return _read(Path(folder), Plan, "name a folder that fairseq-lottery run has scored")


def read_stage_plan(out: Path) -> StagePlan:
    """Read the plan of a workflow's folder, for its stages.

    Raises:
        LotteryError: there is none, or it is malformed.
    """
    return _read(out, StagePlan, "cd into the folder of a workflow")


def _read(folder: Path, kind: Any, hint: str) -> Any:
    plan = read_file(folder / FILE, kind)
    if plan is None:
        raise LotteryError(f"{folder.absolute()} has no {FILE}; {hint}")
    return plan

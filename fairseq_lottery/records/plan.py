"""``plan.json``: the cells of a workflow, and the stages that fill them."""

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
#: units of sparsities, in the order of reports
WEIGHTS, METRIC = "weights", "metric"
ROWS = (WEIGHTS, "heads", "units", "blocks", METRIC)
KINDS = (
    *("rank", "search", "choose", "masks", "draw", "adopt", "close", "train", "generate", "score"),
    "analyze",
)
#: kinds of stages that produce models: of an existing run, of a pruned one, of a training
TRAINED = ("adopt", "close", "train")
#: kinds of stages that always run a model on sentences
RUNNING = ("rank", "search", "generate", "analyze")


def _is_entry(value: Any) -> bool:
    """Return whether a value is a string, a number, or a list of these."""
    for item in value if isinstance(value, list) else [value]:
        if not (item is None or isinstance(item, (str, int, float))):
            return False
        if isinstance(item, str) and not is_text(one_line(item)):
            return False
    return True


Entry = Annotated[Any, Rule("texts and numbers", _is_entry)]


@dataclass(frozen=True)
class PlannedTechnique:
    """A technique of a plan, and the unit of its sparsities.

    Attributes:
        source: data set whose masks it takes; None for those of the cell's own data set.
    """

    name: Line
    title: Line
    rows: Annotated[str, one_of(ROWS)] = WEIGHTS
    source: Optional[Text] = None


@dataclass(frozen=True)
class PlannedDataSet:
    """A data set of a plan: its name, its task, and the recipe of its trainings."""

    name: Text
    task: Text
    recipe: dict[Line, Entry]


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a plan, and the folder of its training.

    Attributes:
        data: name of its data set; None if the plan has only one.
        keeps_start: whether its survivors start from pre-trained weights as they are.
    """

    technique: Line
    sparsity: Sparsity
    seed: Count
    training: Inside
    data: Optional[Text] = None
    keeps_start: bool = False


@dataclass(frozen=True)
class Stage:
    """One command line. Paths are relative to the workflow's folder, where it runs.

    Attributes:
        folder: folder of its log and its record.
        needs: files of other stages that it reads.
        leaves: files that other stages read; they are complete once the record exists.
        facts: further values for checks and records.
    """

    kind: Annotated[str, one_of(KINDS)]
    folder: Inside
    title: str
    command: tuple[str, ...]
    needs: tuple[Inside, ...]
    leaves: tuple[Inside, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def runs_model(self) -> bool:
        """Return whether it runs a model on sentences, on one GPU if there is one."""
        return self.kind in RUNNING or bool(self.facts.get("runs_model"))

    @property
    def name(self) -> str:
        """Return its unique name: kind and folder."""
        return f"{self.kind}-{self.folder.replace('/', '-')}"

    @property
    def record(self) -> str:
        """Return the file that exists once the stage is finished."""
        return f"{self.folder}/{self.kind}.json"

    @property
    def log(self) -> str:
        """Return the file of its output."""
        return f"{self.folder}/{self.kind}.log"

    @property
    def failure(self) -> str:
        """Return the file with the reason of a failure."""
        return f"{self.folder}/{self.kind}.failed"


@dataclass(frozen=True)
class TrainedFacts:
    """Facts of a stage that produces models: their updates, and the update at the start."""

    updates: Count = 0
    first_update: Count = 0


@dataclass(frozen=True)
class Plan:
    """The plan of a workflow for tables.

    Attributes:
        cells: empty if the plan does not list them; techniques may then have any sparsity.
        data_sets: empty if the plan has one data set without a name.
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
    data_sets: tuple[PlannedDataSet, ...] = ()

    def __post_init__(self) -> None:
        """Refuse trainings without their number of updates."""
        for stage in self.stages:
            if stage.kind in TRAINED:
                parse(TrainedFacts, stage.facts, (stage.name, "facts"))

    def rows_of(self, technique: str) -> str:
        """Return the unit of the sparsities of a technique."""
        return next((t.rows for t in self.techniques if t.name == technique), WEIGHTS)


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a ``score`` stage."""

    name: Text
    checkpoint: Text
    subset: Text
    beam: Optional[Count] = None
    lenpen: Optional[Number] = None


@dataclass(frozen=True)
class ScoreFacts:
    """Facts of a ``score`` stage; ``references`` only if it scores translations."""

    evaluation: Evaluated
    references: Optional[str] = None


@dataclass(frozen=True)
class RankFacts:
    """Facts of a ``rank`` stage: the training whose components it ranks, and the measure."""

    of: Inside
    measure: Text


@dataclass(frozen=True)
class PrunedComponents:
    """Components that a training prunes: their file, and the kind that its row counts."""

    file: Inside
    kind: Text


@dataclass(frozen=True)
class StagePlan:
    """The plan of a workflow for its stages."""

    configuration: str
    stages: tuple[Stage, ...]
    cells: tuple[PlannedCell, ...]
    keep: tuple[str, ...]
    gpus: Count
    threads: Count
    executor: str

    def __post_init__(self) -> None:
        """Refuse stages that lack the facts of their kind."""
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
    """Read the plan of a scored folder for tables.

    Raises:
        LotteryError: the plan is missing or malformed.
    """
    return _read(Path(folder), Plan, "name a folder that fairseq-lottery run has scored")


def read_stage_plan(out: Path) -> StagePlan:
    """Read the plan of a workflow's folder for its stages.

    Raises:
        LotteryError: the plan is missing or malformed.
    """
    return _read(out, StagePlan, "cd into the folder of a workflow")


def _read(folder: Path, kind: Any, hint: str) -> Any:
    plan = read_file(folder / FILE, kind)
    if plan is None:
        raise LotteryError(f"{folder.absolute()} has no {FILE}; {hint}")
    return plan

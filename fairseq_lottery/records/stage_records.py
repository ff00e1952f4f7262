"""Records of finished stages, and the calibration before the first one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import Point
from fairseq_lottery.records.json_files import lines_of, read_file
from fairseq_lottery.records.plan import PrunedComponents
from fairseq_lottery.records.schema import (
    Count,
    Malformed,
    Number,
    Positive,
    Seconds,
    Share,
    Size,
    Text,
    parse,
)

#: file with the rows of a finished ``score`` stage, one per metric
SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Content:
    """Settings that determine the weights of a training, for messages about differences."""

    flags: Optional[dict[str, Any]] = None
    ticket: Optional[dict[str, Any]] = None
    growth: Optional[dict[str, Any]] = None
    processes: Optional[int] = None


@dataclass(frozen=True)
class MeasuredModel:
    """Number of prunable weights of a model, and the density of each matrix.

    Attributes:
        pairs: pair of languages -> sparsity of its mask, if the model has a mask for each; the
            densities are then means.
    """

    prunable: Count = 0
    matrices: Optional[dict[Text, Share]] = None
    pairs: Optional[dict[Text, Share]] = None


@dataclass(frozen=True)
class CountedFlops:
    """Floating-point operations of a training, see ``fairseq_lottery.training.flops``."""

    dense: Number
    sparse: Number


@dataclass(frozen=True)
class StageRecord:
    """The record of a finished stage; only some kinds have more than the first three fields."""

    seconds: Seconds = 0.0
    versions: dict[str, Any] = field(default_factory=dict)
    settings: Optional[dict[str, Any]] = None
    content: Optional[Content] = None
    selection: dict[str, Any] = field(default_factory=dict)
    measured: dict[Text, MeasuredModel] = field(default_factory=dict)
    curves: tuple[Point, ...] = ()
    parts: Optional[PrunedComponents] = None
    flops: Optional[CountedFlops] = None


def read_stage_record(path: Path) -> Optional[StageRecord]:
    """Read the record of a stage; None if it is missing or truncated.

    Raises:
        LotteryError: the file is JSON but malformed.
    """
    return read_file(path, StageRecord, allow_nan=True, may_be_cut=True)


@dataclass(frozen=True)
class ScoreRow:
    """One metric of an evaluated model, and counts of the model.

    Attributes:
        subset: subset of the validation, for models that do not translate.
        closed: kind -> pruned share of these components, if the technique prunes any.
        signature_of_ticket: signature of the ticket that the model started from.
        pair_mask: pair or combination of pairs of languages whose mask is counted, and under which
            a model with masks of pairs translates.
    """

    metric: Text
    score: Number
    update: Count
    pruned: Count
    prunable: Size
    denominator: Text
    subset: Optional[Text] = None
    signature: Optional[str] = None
    sentences: Optional[Count] = None
    closed: Optional[dict[Text, Share]] = None
    signature_of_ticket: Optional[str] = None
    maximise: Optional[bool] = None
    examples: Optional[Count] = None
    pair_mask: Optional[Text] = None


def read_scores(path: Path) -> list[ScoreRow]:
    """Read the rows of a finished ``score`` stage.

    Raises:
        LotteryError: the rows are missing or malformed.
    """
    try:
        return [parse(ScoreRow, row) for _, row in lines_of(path)]
    except FileNotFoundError as error:
        raise LotteryError(f"{path} cannot be read ({error.strerror})") from error
    except Malformed as error:
        raise LotteryError(f"{path} is malformed ({error}); delete it") from error


@dataclass(frozen=True)
class Calibration:
    """Measurements before the first training: ``calibration.json``."""

    seconds_per_update: Optional[Positive] = None
    parameters: Optional[Positive] = None
    updates: Optional[Count] = None


def read_calibration(out: Path) -> Calibration:
    """Read the calibration of a folder; empty if there is none."""
    return read_file(out / "calibration.json", Calibration) or Calibration()


@dataclass(frozen=True)
class DataFile:
    """A file that trainings depend on, in ``data.json``: bytes, nanoseconds, hash."""

    size: int
    time: int
    sha256: str

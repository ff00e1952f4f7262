"""``records.jsonl``: one line for each score, curve point, model and choice of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.json_files import lines_of, write_lines
from fairseq_lottery.records.schema import Count, Number, Share, Sparsity, Text, parse, short

FILE = "records.jsonl"
DENSE = "dense"


@dataclass(frozen=True)
class CellRecord:
    """The cell that a record belongs to, and the folder of its training."""

    technique: Text
    sparsity: Sparsity
    seed: Count
    training: Text


@dataclass(frozen=True)
class Score(CellRecord):
    """One metric of one evaluated cell.

    ``sparsity`` is the target; ``pruned`` is the counted number of pruned weights. ``closed`` is
    kind -> pruned share of these components, if the technique prunes any. ``data`` is the data set
    if the plan has several. ``maximise`` is whether larger scores are better, if this is known.
    ``pair_mask`` is the pair or combination of pairs of languages whose mask translates and is
    counted, if the model has a mask for each pair.
    """

    checkpoint: Text
    evaluation: Text
    subset: Text
    metric: Text
    score: Number
    update: Optional[Count] = None
    beam: Optional[Count] = None
    lenpen: Optional[Number] = None
    signature: Optional[Text] = None
    run: Optional[Text] = None
    pruned: Optional[Count] = None
    prunable: Optional[Count] = None
    denominator: Optional[Text] = None
    hypotheses: Optional[Text] = None
    references: Optional[Text] = None
    sentences: Optional[Count] = None
    closed: Optional[dict[Text, Share]] = None
    data: Optional[Text] = None
    maximise: Optional[bool] = None
    examples: Optional[Count] = None
    pair_mask: Optional[Text] = None


@dataclass(frozen=True)
class Point:
    """One point of a training curve; NaN if the training diverged."""

    update: Count
    split: Text
    metric: Text
    value: float


@dataclass(frozen=True)
class Curve(Point, CellRecord):
    """One point of the training curve of a cell."""

    data: Optional[Text] = None


@dataclass(frozen=True)
class Model(CellRecord):
    """A checkpoint of a cell; ``matrices`` is the density of each matrix, if recorded.

    ``pairs`` is pair of languages -> sparsity of its mask, if the model has a mask for each; the
    densities are then means over the pairs.
    """

    file: Text
    checkpoint: Text
    matrices: Optional[dict[Text, Share]] = None
    data: Optional[Text] = None
    pairs: Optional[dict[Text, Share]] = None


@dataclass(frozen=True)
class Choice(CellRecord):
    """The choice of a cell: a file of ``fairseq_lottery.heads.save_choice``."""

    file: Text
    data: Optional[Text] = None


@dataclass(frozen=True)
class Importance(CellRecord):
    """A file with the scores of the dense model's components by one measure."""

    measure: Text
    file: Text
    data: Optional[Text] = None

    def __post_init__(self) -> None:
        """Refuse the importance of other models than the dense one."""
        if (self.technique, self.sparsity) != (DENSE, 0.0):
            raise ValueError("importance requires the dense model at sparsity 0")


@dataclass(frozen=True)
class Cost(CellRecord):
    """Training behind a cell, over all trainings that it depends on.

    ``flops`` are operations of the dense model; ``sparse_flops`` would remain if pruned weights
    took none.
    """

    updates: Count
    flops: Number
    sparse_flops: Number
    data: Optional[Text] = None


_KINDS: dict[str, Any] = {
    "score": Score,
    "curve": Curve,
    "model": Model,
    "parts": Choice,
    "importance": Importance,
    "cost": Cost,
}


def read_records(folder: Path) -> Iterator[CellRecord]:
    """Yield the records of a workflow's folder as ``Score``, ``Curve`` and so on.

    Raises:
        LotteryError: the file is missing, or a line is malformed.
    """
    path = folder / FILE
    try:
        for number, line in lines_of(path):
            where = f"{path}, line {number}"
            kind = line.get("kind") if isinstance(line, dict) else None
            if not isinstance(kind, str) or kind not in _KINDS:
                raise LotteryError(
                    f"{where} has kind {short(kind)}, expected one of {', '.join(_KINDS)}"
                )
            try:
                yield parse(_KINDS[kind], line)
            except ValueError as error:
                raise LotteryError(
                    f"{where} is malformed ({error}); let fairseq-lottery run rewrite it"
                ) from error
    except FileNotFoundError as error:
        raise LotteryError(
            f"{folder} has no {FILE}; name a folder that fairseq-lottery run has scored"
        ) from error


def write_records(folder: Path, records: Iterable[CellRecord]) -> None:
    """Write the records of a workflow's folder without entries that are None."""
    names = {kind: name for name, kind in _KINDS.items()}
    write_lines(
        folder / FILE,
        (
            {
                "kind": names[type(record)],
                **{name: value for name, value in asdict(record).items() if value is not None},
            }
            for record in records
        ),
    )


def mask_file(model: Path) -> Path:
    """Return the file with the mask of a workflow's model."""
    return model.with_suffix(".mask")

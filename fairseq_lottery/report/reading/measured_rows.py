"""Rows of measures that ``fairseq-lottery analyze`` has written into the folder of a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.records.cells import DENSE

#: folder of the tables in the folder of a run, and most bytes of a table
FOLDER, _LARGEST = "analysis", 1 << 26


@dataclass(frozen=True)
class MeasuredRow:
    """A row of a table.

    Attributes:
        technique, sparsity, seed: the model.
        place: other column -> text, such as ``layer`` -> ``1``; without empty columns.
    """

    technique: str
    sparsity: float
    seed: int
    measure: str
    place: Mapping[str, str]
    value: float


def read_measured(runs: Iterable[Path], measures: Container[str]) -> list[MeasuredRow]:
    """Return the rows of some measures, of single models or in comparison with the dense model.

    Args:
        runs: folders of runs; those without tables have no rows.

    Raises:
        LotteryError: a table is malformed.
    """
    paths = [path for run in runs for path in sorted((run / FOLDER).glob("*.csv"))]
    return [row for path in paths for row in _rows(path, measures)]


def _rows(path: Path, measures: Container[str]) -> Iterator[MeasuredRow]:
    own = ("technique", "sparsity", "seed", "measure", "value", "against", "other_seed")
    try:
        for row in csv.DictReader(read_lines(path, _LARGEST), strict=True):
            if row.get("measure") not in measures or row.get("against") not in (None, "", DENSE):
                continue
            place = {name: text for name, text in row.items() if text and name not in own}
            sparsity, value = float(row["sparsity"] or 0), float(row["value"])
            if not (math.isfinite(sparsity) and math.isfinite(value) and None not in row):
                raise ValueError("a number is not finite, or a row is too long")
            measure, technique = str(row["measure"]), str(row["technique"])
            yield MeasuredRow(technique, sparsity, int(row["seed"]), measure, place, value)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise LotteryError(
            f"{path} is malformed ({error}); run fairseq-lottery analyze again"
        ) from error

"""``measure_complexity``: the complexity of a recording or of a file of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.analysis.compute import compute, describe, open_input, reads, select_measures
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.results import Results
from fairseq_lottery.analysis.tables import by_place

#: components of curves that are printed
_SHOWN = (1, 10, 100)


def measure_complexity(
    model: Union[str, Path, Recording, ModelFile], measures: Optional[Sequence[str]] = None
) -> Results:
    """Compute the complexity of a model.

    Args:
        model: recording (a folder), for its activations, or file of a model, for its matrices.
        measures: names of measures; by default all that apply.

    Returns:
        rows by layer or matrix. ``inputs["left_out"]`` has the measures that do not apply, with the
        reason.

    Raises:
        LotteryError: the input cannot be read, or a named measure does not apply.
    """
    opened = open_input(model)
    selected = select_measures("complexity", reads(opened), 1, measures)
    rows, left_out = compute(selected, [opened], measures is not None)
    return Results("complexity", {"model": describe(opened), "left_out": left_out}, rows)


def summary(results: Results) -> list[str]:
    """Return tables of the results, with three points of each curve."""
    return by_place([row for row in results.rows if row.get("component", 1) in _SHOWN])

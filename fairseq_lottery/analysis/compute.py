"""Compute registered measures on recordings and files of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import OVER, Measure, Row, find_measure, registered_measures
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import model_file

#: what a measure reads
Input = Union[Recording, ModelFile]


def open_input(path: Union[str, Path, Recording, ModelFile]) -> Input:
    """Open a recording, which is a folder, or a model: its file, or a released archive's folder.

    Raises:
        LotteryError: it is missing or cannot be read.
    """
    if isinstance(path, (Recording, ModelFile)):
        return path
    path = Path(model_file(path))
    if not path.exists():
        raise LotteryError(f"{path} does not exist; give a recording or a file of a model")
    return Recording.open(path) if path.is_dir() else ModelFile.open(path)


def open_inputs(paths: Sequence[Union[str, Path, Recording, ModelFile]]) -> list[Input]:
    """Open inputs of one kind; an input that is given twice is opened once.

    Raises:
        LotteryError: recordings and files of models are mixed, or one cannot be read.
    """
    opened: dict[Any, Input] = {}
    for path in paths:
        opened[_key(path)] = opened.get(_key(path)) or open_input(path)
    inputs = [opened[_key(path)] for path in paths]
    if len({reads(one) for one in inputs}) > 1:
        raise LotteryError(
            "recordings and files of models are mixed; measures of activations and attention read"
            " recordings, and those of weights and masks read files"
        )
    return inputs


def _key(path: Union[str, Path, Recording, ModelFile]) -> Any:
    return id(path) if isinstance(path, (Recording, ModelFile)) else Path(path)


def reads(one: Input) -> str:
    """Return the kind of an input: ``recording`` or ``file``."""
    return "recording" if isinstance(one, Recording) else "file"


def select_measures(
    command: str, kind: str, models: int, names: Optional[Sequence[str]] = None
) -> list[Measure]:
    """Return the measures of a command that read a kind of input.

    Args:
        command: command of the measures.
        kind: ``recording`` or ``file``.
        models: number of models that they compare.
        names: only these, or a user's own ``package.module:function``; by default all.

    Raises:
        LotteryError: a measure is unknown or does not fit.
    """
    order = list(OVER)
    known = sorted(
        registered_measures(command, kind, models).values(),
        key=lambda one: (order.index(one.over), one.name),
    )
    if names is None:
        if not known:
            raise LotteryError(f"no measure of {command} reads a {kind}")
        return known
    selected = []
    for one in (find_measure(name) for name in names):
        if (one.command, OVER[one.over], one.models) != (command, kind, models):
            fitting = ", ".join(measure.name for measure in known)
            raise LotteryError(
                f"measure {one.name} does not fit {command} of a {kind}; choose from {fitting}"
            )
        selected.append(one)
    return selected


def compute(
    selected: Sequence[Measure], inputs: Sequence[Input], strict: bool
) -> tuple[list[Row], dict[str, str]]:
    """Compute measures of the same inputs.

    Args:
        selected: the measures.
        inputs: as many as each of them compares.
        strict: raise the error of a measure that does not apply to the inputs. Otherwise such
            measures are left out, unless all of them are.

    Returns:
        rows, and the name of each measure that was left out with the reason
    """
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for one in selected:
        try:
            rows += list(one.rows(*inputs))
        except LotteryError as error:
            if strict:
                raise
            left_out[one.name] = str(error)
    if left_out and not rows:
        raise LotteryError(next(iter(left_out.values())))
    return rows, left_out


def describe(one: Input) -> Mapping[str, Any]:
    """Return what identifies an input in the record of results."""
    if isinstance(one, Recording):
        record = one.record
        return {
            "recording": str(one.folder),
            "checkpoint": record.checkpoint,
            "weights": record.weights,
            "subset": record.subset,
            "words": dict(record.counts),
        }
    return {"file": one.name, "weights": one.source.digest()}

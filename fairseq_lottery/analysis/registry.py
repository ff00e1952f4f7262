"""``measure``: the decorator that registers a measure of the inside of models.

A measure is a function from one or two recordings, or files of models, to rows. Its command, its
stage of the workflow, its record, its table and its plot follow from the decorator's arguments and
from the columns of the rows. Modules in ``analysis/measures/`` are imported by themselves; a user
names a measure of their own as ``package.module:function``.
"""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.own_code import load_own

#: a row of a tidy table, with a number in the column ``value``
Row = Mapping[str, Union[str, int, float]]
#: what a measure reads, and whether it reads recordings or files of models
OVER = {"activations": "recording", "attention": "recording", "weights": "file", "masks": "file"}
#: columns of rows, in the order of tables. Layers and heads count from 1, as in the papers;
#: ``other`` is the second model, where one is compared to several
COLUMNS = {
    "measure": str, "model": str, "other": str, "pair": str, "task": str, "label": str, "part": str,
    "layer": int,
    "head": int, "matrix": str, "other_part": str, "other_layer": int, "other_head": int,
    "statistic": str, "seed": int, "role": str, "threshold": float, "component": int,
    "alpha": float, "value": float,
}  # fmt: skip

_registry: dict[str, Measure] = {}


@dataclass(frozen=True)
class Measure:
    """A registered measure.

    Attributes:
        name: its name in commands and rows, such as ``linear-cka``.
        command: command that computes it, such as ``similarity``.
        over: a key of ``OVER``.
        models: number of models that it compares: 1 or 2.
        title: its name in tables and plots.
        limits: lower and upper end of its values; None where it has no bound.
        function: takes one or two ``Recording`` or ``ModelFile``, and yields rows without the
            column ``measure``.
        same_seed: whether a sweep compares only models of one seed, as heads and layers of
            different seeds have no common numbers.
        in_report: statistics whose figures a report shows, empty for all; None if it shows none.
    """

    name: str
    command: str
    over: str
    models: int
    title: str
    limits: tuple[Optional[float], Optional[float]]
    function: Callable[..., Iterable[Row]]
    same_seed: bool = False
    in_report: Optional[tuple[str, ...]] = None

    def rows(self, *inputs: Any) -> Iterator[Row]:
        """Compute the measure and yield its rows.

        Args:
            inputs: ``models`` recordings, or files of models.

        Raises:
            LotteryError: the inputs do not fit the measure, or a row is malformed.
        """
        if len(inputs) != self.models:
            raise LotteryError(f"{self.name} compares {self.models} models, not {len(inputs)}")
        for row in self.function(*inputs):
            problem = _problem(row)
            if problem:
                raise LotteryError(f"{self.name} returned {dict(row)}: {problem}")
            yield {"measure": self.name, **row}


def _problem(row: Row) -> Optional[str]:
    for name, value in row.items():
        if name not in COLUMNS:
            return f"the column {name} is unknown; choose from {', '.join(COLUMNS)}"
        kind = COLUMNS[name]
        fits = type(value) in (int, float) if kind is float else type(value) is kind
        if not fits or (kind is float and not math.isfinite(value)):  # type: ignore[arg-type]
            return f"{name} is {value!r}, expected a finite {kind.__name__}"
    return None if "value" in row else "it has no value"


def measure(
    name: str,
    *,
    command: str,
    over: str,
    title: str,
    models: int = 1,
    limits: tuple[Optional[float], Optional[float]] = (0.0, 1.0),
    same_seed: bool = False,
    in_report: Union[bool, Sequence[str]] = False,
) -> Callable[[Callable[..., Iterable[Row]]], Callable[..., Iterable[Row]]]:
    """Register a function as a measure; see ``Measure`` for the arguments.

    Args:
        in_report: whether a report shows the figures of the measure; or the statistics that it
            shows, such as ``("centred",)``.
    """
    if over not in OVER:
        raise ValueError(f"over={over!r} is unknown; choose one of {', '.join(OVER)}")

    shown: Optional[tuple[str, ...]] = () if in_report is True else tuple(in_report or ()) or None

    def register(function: Callable[..., Iterable[Row]]) -> Callable[..., Iterable[Row]]:
        _registry[name] = Measure(
            name, command, over, models, title, limits, function, same_seed, shown
        )  # fmt: skip
        return function

    return register


@functools.cache
def _import_measures() -> None:
    package = importlib.import_module("fairseq_lottery.analysis.measures")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def registered_measures(
    command: Optional[str] = None, reads: Optional[str] = None, models: Optional[int] = None
) -> dict[str, Measure]:
    """Return the measures of a command by name, in the order of their names.

    Args:
        command: only measures of this command.
        reads: only measures of recordings (``recording``) or of files (``file``).
        models: only measures that compare this number of models.
    """
    _import_measures()
    return {
        name: one
        for name, one in sorted(_registry.items())
        if command in (None, one.command)
        and reads in (None, OVER[one.over])
        and models in (None, one.models)
    }


def find_measure(name: str) -> Measure:
    """Return the measure called ``name``, or a user's own ``package.module:function``.

    Raises:
        LotteryError: no measure has this name.
    """
    known = registered_measures()
    if ":" in name:
        function = load_own("measure", name)
        for one in _registry.values():
            if one.function is function:
                return one
        raise LotteryError(
            f"measure {name} is not registered; decorate it with fairseq_lottery.analysis.measure"
        )
    if name not in known:
        raise LotteryError(f"measure {name!r} is unknown; choose from {', '.join(known)}")
    return known[name]

"""The measures of a sweep: registered ones, and those that settings of the sweep complete."""

from __future__ import annotations

from collections.abc import Iterator

from fairseq_lottery.analysis.registry import Measure, find_measure, measures
from fairseq_lottery.analysis.sweep.settings import Settings


def choose_measures(settings: Settings) -> dict[str, Measure]:
    """Return the measures of a sweep by name.

    Raises:
        LotteryError: a name is unknown.
    """
    completed = {measure.name: measure for measure in _completed(settings)}
    if not settings.measures:
        return {**measures(), **completed}
    chosen = {}
    for name in settings.measures:
        measure = completed.get(name) or find_measure(name)
        chosen[measure.name] = measure
    return chosen


def _completed(settings: Settings) -> Iterator[Measure]:
    """Yield the measures whose functions take settings: roles of heads, and probes."""
    yield from ()

"""Plot of one value for each technique, sorted: for tables with a single row."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from fairseq_lottery.report.plots.drawings import GREY, Size, limits, looks
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.tables.score_tables import deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranked_values(
    group: Group,
    values: Mapping[str, Sequence[float]],
    reference: Optional[tuple[str, Sequence[float]]],
    label: str,
    page: Size,
    *,
    lowest_first: bool = False,
) -> Figure:
    """Return a figure with a line of text for each technique, the best or largest one on top.

    Args:
        values: technique -> its values, whose mean and deviation are drawn.
        reference: name and values of the vertical line.
        label: name of the values.
        lowest_first: whether the smallest mean is on top.
    """
    sign = 1 if lowest_first else -1
    names = sorted(values, key=lambda name: sign * statistics.fmean(values[name]))
    figure = page.new_figure((1.3 * len(names) + 4.5) * page.line)
    axes = figure.add_subplot()
    rows = [*values.values(), *([reference[1]] if reference else [])]
    if reference is not None:
        middle, spread = statistics.fmean(reference[1]), deviation(reference[1]) or 0.0
        axes.axvspan(middle - spread, middle + spread, color=GREY, alpha=0.15, linewidth=0)
        axes.axvline(middle, color=GREY, linestyle="--")
        axes.set_title(f"dashed: {reference[0]}", loc="right")
    styles = looks(group.techniques)
    for position, name in enumerate(names):
        spread = deviation(values[name]) or math.nan
        axes.errorbar(
            statistics.fmean(values[name]),
            position,
            xerr=None if math.isnan(spread) else spread,
            markeredgecolor="white",
            elinewidth=0.09 * page.font,
            capsize=0.15 * page.font,
            **{**styles[name], "linestyle": ""},
        )
    axes.set_yticks(range(len(names)), [group.title_of(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    ends = [(statistics.fmean(row), deviation(row) or 0.0) for row in rows]
    axes.set_xlim(limits([end for mean, sd in ends for end in (mean - sd, mean + sd)]))
    axes.set_xlabel(label)
    return figure

"""Plots of a metric by the cost of the trainings behind it, with the Pareto front."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import (
    GREY,
    Drawing,
    Size,
    draw,
    legend_outside,
    limits,
    looks,
)
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.tables.cost_tables import relative_costs
from fairseq_lottery.report.tables.score_tables import deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: titles of the panels, in the order of a pair of ``relative_costs``
_PANELS = ("counted as dense", "as if pruned weights took none")
#: largest ratio of costs that are one cost: trainings in rounds have whole numbers of updates
_EQUAL = 1.01


class Point(NamedTuple):
    """Mean cost and metric of a cell, and the deviation of the metric (NaN for one seed)."""

    technique: str
    share: float
    costs: tuple[float, float]
    value: float
    spread: float


def cost_plot(group: Group, key: Evaluation, page: Size) -> Optional[Drawing]:
    """Plot a metric by the operations of training, with a panel for each way to count them.

    A way in which all models cost the same has no panel.

    Returns:
        None if fewer than two techniques have scores and counted operations.
    """
    points = _points(group, key)
    if len({point.technique for point in points} - {DENSE}) < 2:
        return None
    most = group.most_seeds(key)
    bars = f"mean and standard deviation over {most} seeds" if most > 1 else "one seed"
    better = "lower" if key.lower_is_better else "higher"
    shares = f" Numbers are {group.words.shares} in percent." if _has_labels(points) else ""
    equal = (
        " Counted as dense, all models take equally many operations (within 1 %)."
        if 0 not in _panels(points)
        else ""
    )
    return draw(
        group.file(f"{key.slug}-by-operations"),
        f"{key.metric} on {key.subset} by the operations of all trainings behind a model"
        f" ({key.words}; {bars}), as multiples of the dense model's training.{shares}{equal} Grey"
        " line: Pareto front of the means; no model has both fewer operations and a"
        f" {better} mean than a model on the line.",
        page,
        lambda size: _figure(group, points, size, key),
    )


def pareto_front(
    points: Sequence[tuple[float, float]], lower_is_better: bool
) -> list[tuple[float, float]]:
    """Return the pairs (cost, value) that no other pair beats, by increasing cost.

    A pair beats another if its cost is not larger and its value is better, or its cost is smaller
    and its value equal.
    """
    sign = 1 if lower_is_better else -1
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda pair: (pair[0], sign * pair[1])):
        if not front or sign * value < sign * front[-1][1]:
            front.append((cost, value))
    return front


def _points(group: Group, key: Evaluation) -> list[Point]:
    cells = [(DENSE, 0.0), *((n, s) for n in group.techniques for s in (0.0, *group.sparsities))]
    points = []
    for name, share in cells:
        values, pairs = group.values(key, name, share), relative_costs(group, name, share)
        if values and pairs:
            dense, sparse = (statistics.fmean(costs) for costs in zip(*pairs))
            spread = deviation(values) or math.nan
            points.append(Point(name, share, (dense, sparse), statistics.fmean(values), spread))
    return points


def _panels(points: Sequence[Point]) -> list[int]:
    """Return the numbers of the panels: always that of kept weights."""
    costs = [point.costs[0] for point in points]
    return [0, 1] if max(costs) > _EQUAL * min(costs) else [1]


def _has_labels(points: Sequence[Point]) -> bool:
    """Return whether points have their shares beside them: not if there is only one."""
    return len({point.share for point in points if point.technique != DENSE}) > 1


def _figure(group: Group, points: Sequence[Point], page: Size, key: Evaluation) -> Figure:
    names = list(dict.fromkeys(point.technique for point in points))
    labels = [*map(group.title_of, names), "Pareto front"]
    height = min(0.6 * page.width, 3.4) + (3 + page.legend_of(labels)[0]) * page.line
    figure = page.new_figure(height)
    numbers = _panels(points)
    panels = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
    styles = {DENSE: {"color": GREY, "marker": "o"}, **looks(group.techniques)}
    handles: list[Any] = []
    for number, axes in zip(numbers, panels):
        handles = []
        for name in names:
            own = [point for point in points if point.technique == name]
            spreads = [point.spread for point in own]
            handles.append(
                axes.errorbar(
                    [point.costs[number] for point in own],
                    [point.value for point in own],
                    yerr=None if all(map(math.isnan, spreads)) else spreads,
                    markeredgecolor="white",
                    elinewidth=0.09 * page.font,
                    capsize=0.15 * page.font,
                    **{**styles[name], "linestyle": ""},
                )
            )
            for point in own if _has_labels(points) else ():
                axes.annotate(
                    group.label_of(point.share),
                    (point.costs[number], point.value),
                    xytext=(0.35 * page.font, 0.2 * page.font),
                    textcoords="offset points",
                    fontsize=0.7 * page.font,
                    color=styles[name]["color"],
                )
        pairs = [(point.costs[number], point.value) for point in points]
        front = pareto_front(pairs, key.lower_is_better)
        last = max(cost for cost, _ in pairs)
        steps = [*front, (max(last, front[-1][0]), front[-1][1])]
        handles += axes.step(*zip(*steps), where="post", color="0.75", zorder=0)
        costs = [cost for cost, _ in pairs]
        if max(costs) > 10 * min(costs) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        else:
            axes.set_xlim(limits(costs))
        axes.set_title(_PANELS[number])
    ends = [(point.value, 0.0 if math.isnan(point.spread) else point.spread) for point in points]
    panels[0].set_ylim(limits([end for value, sd in ends for end in (value - sd, value + sd)]))
    panels[0].set_ylabel(key.metric)
    figure.supxlabel("operations, dense training = 1", fontsize=page.font)
    legend_outside(figure, handles, labels, page, side="upper")
    return figure

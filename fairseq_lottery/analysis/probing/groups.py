"""Scores of many probes as percentages from the mean of their task, averaged in groups of tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Optional, Union

from fairseq_lottery.analysis.probing.task import ACCURACY, PEARSON, SPAN_F1
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.errors import LotteryError

#: statistic of the rows
PERCENT = "percent-of-mean"
#: statistics that are the score of a task
SCORES = (ACCURACY, SPAN_F1, PEARSON)

#: model, part and layer
Place = tuple[str, str, int]


def mean_scores(rows: Iterable[Row]) -> dict[str, dict[Place, float]]:
    """Return task -> (model, part, layer) -> score, the mean over seeds."""
    by_seed: dict[str, dict[Place, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["statistic"] in SCORES and "layer" in row:
            place = str(row.get("model", "")), str(row["part"]), int(row["layer"])
            by_seed[str(row["task"])][place].append(float(row["value"]))
    return {
        task: {place: fmean(values) for place, values in by_place.items()}
        for task, by_place in by_seed.items()
    }


def relative_scores(
    rows: Iterable[Row], groups: Optional[Mapping[str, Sequence[str]]] = None
) -> list[Row]:
    """Return the scores of groups of tasks, as Movva & Zhao 2020 show them.

    The score of a task is 100 * (score - mean) / mean, where the mean is over all models and layers
    of the rows; a group has the mean over its tasks. A group has no row for a layer that one of its
    tasks lacks.

    Args:
        rows: rows of ``probe``, with the column ``model`` for several models.
        groups: group -> names of its tasks; by default each task is a group.

    Raises:
        LotteryError: a task of a group has no rows, a task's mean is not above 0, or the tasks
            of a group have no layer in common.
    """
    scores = mean_scores(rows)
    groups = groups or {task: (task,) for task in scores}
    relative: dict[str, dict[Place, float]] = {}
    for group, tasks in groups.items():
        for task in tasks:
            if task not in scores:
                raise LotteryError(
                    f"group {group} has the task {task!r}, which was not probed; choose from"
                    f" {', '.join(scores)}"
                )
            mean = fmean(scores[task].values())
            if mean <= 0:
                raise LotteryError(
                    f"the mean score of {task} is {mean:.3g}, so it has no percentage; leave it out"
                )
            relative[task] = {p: 100 * (v - mean) / mean for p, v in scores[task].items()}
    table: list[Row] = []
    for group, tasks in groups.items():
        common = [p for p in relative[tasks[0]] if all(p in relative[task] for task in tasks)]
        if not common:
            parts = {task: next(iter(scores[task]))[1] for task in tasks}
            raise LotteryError(
                f"the tasks of group {group} have no layer in common"
                f" ({', '.join(f'{task}: {part}' for task, part in parts.items())}); name a group"
                " for encoder and decoder each"
            )
        for model, part, layer in common:
            row: dict[str, Union[str, int, float]] = {
                "measure": "probe", "task": group, "part": part, "layer": layer,
                "statistic": PERCENT,
                "value": fmean(relative[task][model, part, layer] for task in tasks),
            }  # fmt: skip
            if model:
                row["model"] = model
            table.append(row)
    return table

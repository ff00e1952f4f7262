"""Tables of probes as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, stdev

from fairseq_lottery.analysis.probing.groups import SCORES
from fairseq_lottery.analysis.probing.label_scores import F1
from fairseq_lottery.analysis.probing.probe import CONTROL, MAJORITY, SELECTIVITY, WORD_MAJORITY
from fairseq_lottery.analysis.registry import Row


def score_lines(rows: Iterable[Row], labels: Sequence[str] = ()) -> Iterator[str]:
    """Yield a table of each model and task: mean and deviation over seeds by layer.

    Args:
        labels: labels whose F1 has a column in the tables of their tasks.
    """
    tables: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        tables[str(row.get("model", "")), str(row["task"])].append(row)
    for number, ((model, task), own) in enumerate(tables.items()):
        if number:
            yield ""
        values: dict[tuple[int, str], list[float]] = defaultdict(list)
        for row in own:
            name = f"{F1} {row['label']}" if "label" in row else str(row["statistic"])
            values[int(row.get("layer", 0)), name].append(float(row["value"]))
        statistic = next(name for _, name in values if name in SCORES)
        baselines = ", ".join(
            f"{name} {values[0, name][0]:.3f}"
            for name in (MAJORITY, WORD_MAJORITY)
            if (0, name) in values
        )
        title = f"{model}: {task}" if model else task
        yield f"{title} ({statistic}{f'; {baselines}' if baselines else ''})"
        columns = [statistic, CONTROL, SELECTIVITY, *(f"{F1} {label}" for label in labels)]
        columns = [column for column in columns if any(column == name for _, name in values)]
        yield "layer    " + "".join(f"{column:<18}" for column in columns).rstrip()
        for layer in sorted({layer for layer, _ in values if layer}):
            cells = (mean_and_deviation(values[layer, column]) for column in columns)
            line = f"{str(own[0]['part'])[:3]} {layer:<5}" + "".join(
                f"{cell:<18}" for cell in cells
            )
            yield line.rstrip()


def mean_and_deviation(values: list[float]) -> str:
    """Return the mean, and the sample deviation of several values."""
    mean = f"{fmean(values):.3f}"
    return f"{mean} ± {stdev(values):.3f}" if len(values) > 1 else mean


def group_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the table of ``relative_scores``: a column for each model."""
    cells: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        place = str(row["task"]), str(row["part"]), int(row["layer"])
        cells[place][str(row.get("model", ""))] = float(row["value"])
    models = list(dict.fromkeys(model for by_model in cells.values() for model in by_model))
    width = max(len("group"), *(len(group) for group, _, _ in cells)) + 2
    yield "percent from the mean of each task over models and layers"
    if any(models):
        yield from (f"  {number}: {model}" for number, model in enumerate(models, 1))
    numbers = "".join(f"{number:>9}" for number, _ in enumerate(models, 1)) if any(models) else ""
    yield f"{'group':<{width}}layer    {numbers}".rstrip()
    for (group, part, layer), by_model in cells.items():
        values = "".join(
            f"{by_model[model]:>+9.1f}" if model in by_model else f"{'-':>9}" for model in models
        )
        yield f"{group:<{width}}{part[:3]} {layer:<5}{values}"

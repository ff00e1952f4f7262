"""Heat maps across data sets: transferred masks, and overlaps of masks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from fairseq_lottery.report.plots.drawings import Drawing, Size, draw
from fairseq_lottery.report.plots.heat_maps import Cells, Differences, heat_maps
from fairseq_lottery.report.reading.families import Family, View
from fairseq_lottery.report.reading.published import Published
from fairseq_lottery.report.reading.table_words import percent
from fairseq_lottery.report.statistics.transfer import TransferRow, transfer_matrices
from fairseq_lottery.report.tables.published_data_sets import as_good_as_own, published_transfers
from fairseq_lottery.report.tables.transfer_tables import (
    AS_GOOD,
    difference_text,
    most_seeds,
    seeds_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: most characters of a line of a label
_LINE = 16
#: share of the differences that the colours resolve; larger ones have the last colour
_RESOLVED = 0.8


def transfer_maps(family: Family, view: View, page: Size) -> list[Drawing]:
    """Plot the differences to the full model, a panel per sparsity.

    Returns:
        one plot for data sets with metrics in percent, and one for those with losses.
    """
    by_digits: dict[int, list[str]] = {}
    for name, key in view.keys.items():
        by_digits.setdefault(family.groups[name].decimals(key), []).append(name)
    matrices = transfer_matrices(family, view)
    if not matrices:
        return []
    return [
        _transfer_map(family, view, matrices, names, digits, len(by_digits) > 1, page)
        for digits, names in by_digits.items()
    ]


def _transfer_map(
    family: Family,
    view: View,
    matrices: Mapping[float, Sequence[TransferRow]],
    targets: Sequence[str],
    digits: int,
    is_part: bool,
    page: Size,
) -> Drawing:
    titles = list(dict.fromkeys(row.masks.title for rows in matrices.values() for row in rows))
    panels, texts, framed = [], [], []
    for sparsity, rows in matrices.items():
        by_title = {row.masks.title: row for row in rows}
        cells, words, frames = [], [], []
        for title in titles:
            row = by_title.get(title)
            verdicts = [row.targets[name] if row else None for name in targets]
            cells.append([math.nan if v is None or v.gain is None else v.gain for v in verdicts])
            words.append(
                [
                    "" if v is None or v.difference is None else _short(v.difference, digits)
                    for v in verdicts
                ]
            )
            frames.append([v is not None and v.matches is True for v in verdicts])
            words[-1].append(f"{row.as_good}/{row.compared}" if row and row.compared else "")
        panels.append((f"{percent(sparsity)} %", [[*line, math.nan] for line in cells]))
        texts.append(words)
        framed.append(frames)
    metrics = ", ".join(dict.fromkeys(view.keys[name].metric for name in targets))
    part = " Only these metrics are in this plot; the last column counts all data sets."
    less = any(view.keys[name].lower_is_better for name in targets)
    return draw(
        family.file(
            f"transfer-{view.slug}" + (f"-{'percent' if digits == 1 else 'loss'}" * is_part)
        ),
        f"Masks of one data set (rows) trained on another (columns), a panel per sparsity:"
        f" difference of {metrics} to the full model, {seeds_text(most_seeds(family, view))}."
        f" Blue is better, red is worse{' (less is better)' if less else ''}; a frame marks a match"
        " (at most one standard deviation of the full model worse). Last column: number of other"
        f" data sets on which the mask is at least as good as their own.{part if is_part else ''}",
        page,
        lambda size: difference_maps(
            panels, texts, framed, [*targets, AS_GOOD], titles, size, f"{metrics}: difference"
        ),
    )


def published_map(family: Family, published: Published, page: Size) -> Optional[Drawing]:
    """Plot published differences to the full model; None if there are none."""
    matrices = published_transfers(published)
    if not matrices:
        return None
    sources = list(dict.fromkeys(source for matrix in matrices.values() for source in matrix))
    targets = list(dict.fromkeys(each.target for each in published.transfers))
    panels, texts = [], []
    for sparsity, matrix in matrices.items():
        words = [[matrix.get(source, {}).get(name, "") for name in targets] for source in sources]
        cells = [[float(text) if text else math.nan for text in line] for line in words]
        panels.append((f"{percent(sparsity)} %", [[*line, math.nan] for line in cells]))
        counts = (as_good_as_own(matrix, source) for source in sources)
        ends = [f"{good}/{compared}" for good, compared in counts]
        texts.append(
            [
                [*(_short(float(text), 1) if text else "" for text in line), end]
                for line, end in zip(words, ends)
            ]
        )
    framed = [[[False] * len(targets)] * len(sources)] * len(panels)
    return draw(
        family.file("transfer-published"),
        f"Published ({published.title}): masks of one data set (rows) trained on another (columns),"
        " difference to the full model. Blue is better, red is worse. Last column: number of other"
        " data sets on which the mask is at least as good as their own, by the printed figures.",
        page,
        lambda size: difference_maps(
            panels, texts, framed, [*targets, AS_GOOD], sources, size, "published: difference"
        ),
    )


def _short(difference: float, digits: int) -> str:
    """Return a difference for a cell: ``-2.3``, or ``+.014`` with three decimals."""
    text = difference_text(difference, digits)
    return text.replace("0.", ".", 1) if digits == 3 and text[:3] in ("+0.", "-0.") else text


def difference_maps(
    panels: Sequence[tuple[str, Cells]],
    texts: Sequence[Sequence[Sequence[str]]],
    framed: Sequence[Sequence[Sequence[bool]]],
    columns: Sequence[str],
    rows: Sequence[str],
    page: Size,
    label: str,
) -> Figure:
    """Return a figure of differences, on a scale of colours that is centred at 0.

    One large difference would leave all others without colour, so the scale ends at a quantile.
    """
    sizes = sorted(abs(v) for _, cells in panels for line in cells for v in line if v == v)
    end = _round_up(sizes[math.ceil(_RESOLVED * len(sizes)) - 1] if sizes else 0.0)
    if sizes and sizes[-1] > end:
        label += f" (colours end at ±{end:g})"
    longest = max(len(text) for words in texts for line in words for text in line)
    return heat_maps(
        panels,
        {n: textwrap.fill(name, _LINE) for n, name in enumerate(columns)},
        {n: textwrap.fill(name, _LINE) for n, name in enumerate(rows)},
        page,
        label,
        low=-end,
        high=end,
        in_percent=False,
        texts=texts,
        differences=Differences(framed, max(longest, 3) + 0.2),
    )


def _round_up(value: float) -> float:
    """Return a number of one or two digits that is at least ``value``; 1 for 0."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    step = magnitude / 10 if value < 2 * magnitude else magnitude
    return math.ceil(value / step - 1e-9) * step

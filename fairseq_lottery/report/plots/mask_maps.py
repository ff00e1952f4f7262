"""Maps of masks: which matrices keep how much, and how far techniques keep the same weights."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from fairseq_lottery.report.plots.drawings import Drawing, Size, draw
from fairseq_lottery.report.plots.heat_maps import heat_maps
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MATRIX = re.compile(
    r"^(enc|dec)oder\.layers\.(\d+)\.(?:(self|encoder)_attn\.(k|v|q|out)_proj|fc(\d))\.weight$"
)
_KINDS = ("k", "v", "q", "out")
#: above this, rows are labelled by layer and not one by one
_MOST_LABELS = 40
#: densities of one mask that differ by less are the same, but for rounding in small matrices
_SAME = 0.01


def place(name: str) -> tuple[tuple[int, int, int], str, str]:
    """Where a matrix stands in plots, the label of its layer and its own, by fairseq's name."""
    match = _MATRIX.match(name)
    if match is None:
        short = re.sub(r"\.weight$|_tokens", "", name)
        short = re.sub(r"^(enc|dec)oder\.", r"\1 ", short)
        layer = "embed" if "embed" in short or "output" in short else "other"
        return (0, 0, 0), layer, short
    side, layer, attention, part, fc = match.groups()
    kind = 20 + int(fc) if fc else 10 * (attention == "encoder") + _KINDS.index(part)
    own = f"fc{fc}" if fc else f"{'cross' if attention == 'encoder' else 'self'} {part}"
    order = (1 + (side == "dec"), int(layer), kind)
    return order, f"{side} {layer}", f"{side} {layer} {own}"


def density_map(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """The share of weights that each matrix keeps, of the techniques where it is not the same.

    None where all matrices of each mask keep the same share, as a draw per matrix makes them.
    """
    kept = {cell: own for cell, own in masks.densities.items() if own}
    spread = {cell: max(own.values()) - min(own.values()) for cell, own in kept.items()}
    uneven = {cell[0] for cell in kept if spread[cell] > _SAME}
    kept = {cell: own for cell, own in kept.items() if cell[0] in uneven}
    if not kept:
        return None
    names = {matrix for own in kept.values() for matrix in own}
    matrices = sorted(names, key=lambda matrix: (place(matrix)[0], matrix))
    each_row = len(matrices) <= _MOST_LABELS
    layers = (
        ""
        if each_row
        else (" (in each layer self-attention k, v, q, out, then cross-attention, fc1, fc2)")
    )
    left_out = [title for name, title in group.techniques.items() if name not in uneven]
    others = f" Left out, as all matrices keep the same share: {', '.join(left_out)}."
    return draw(
        group.file("densities"),
        "Density of each matrix: the share of its prunable weights that is kept, in percent, a row"
        f" a matrix{layers}, a column a sparsity, the mean over seeds; grey where there is no"
        f" mask.{others if left_out else ''}",
        page,
        lambda size: _density_figure(group, kept, matrices, each_row, size),
    )


def _density_figure(
    group: Group,
    kept: Mapping[Cell, Mapping[str, float]],
    matrices: Sequence[str],
    each_row: bool,
    page: Size,
) -> Figure:
    sparsities = [s for s in group.sparsities if any(s == cell[1] for cell in kept)]
    panels = []
    for name, title in group.techniques.items():
        if any(name == cell[0] for cell in kept):
            # a line a word, but not within "t = 5%"
            wrapped = title.replace(" = ", "\u00a0=\u00a0").replace(" ", "\n")
            cells = [[_density(kept, name, s, m) for s in sparsities] for m in matrices]
            panels.append((wrapped, cells))
    places = [place(matrix) for matrix in matrices]
    firsts = [n for n, own in enumerate(places) if n == 0 or own[1] != places[n - 1][1]]
    rows: dict[float, str] = {n: own for n, (_, _, own) in enumerate(places)}
    if not each_row:
        ends = [*firsts[1:], len(matrices)]
        rows = {(n + end - 1) / 2: places[n][1] for n, end in zip(firsts, ends)}
    densities = [share for own in kept.values() for share in own.values()]
    nothing = " (orange: nothing is kept)" if 0 in densities else ""
    return heat_maps(
        panels,
        {n: percent(share) for n, share in enumerate(sparsities)},
        rows,
        page,
        f"density, %, by sparsity, %{nothing}",
        row_height=1.1 * page.line if each_row else 0.05,
        low=min([0.5, *(share for share in densities if share > 0)]),
        logarithmic=True,
        empty="0.85",
        lines=[first - 0.5 for first in firsts[1:]],
    )


def _density(
    kept: Mapping[Cell, Mapping[str, float]], name: str, sparsity: float, matrix: str
) -> float:
    """The mean over seeds, NaN where no mask has the matrix."""
    own = [densities for cell, densities in kept.items() if cell[:2] == (name, sparsity)]
    found = [densities[matrix] for densities in own if matrix in densities]
    return statistics.fmean(found) if found else math.nan


def technique_overlaps(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """Overlap of every two techniques, a panel a sparsity; None where no two masks were found."""
    found: dict[float, dict[frozenset[str], list[float]]] = {}
    for pair in masks.overlaps:
        if pair.a[0] != pair.b[0]:
            own = found.setdefault(pair.a[1], {})
            own.setdefault(frozenset((pair.a[0], pair.b[0])), []).append(pair.above_chance)
    if not found:
        return None
    compared = set().union(*(pair for own in found.values() for pair in own))
    names = [name for name in group.techniques if name in compared]
    panels = []
    for sparsity in sorted(found):
        cells = [
            [
                statistics.fmean(found[sparsity].get(frozenset((a, b)), [math.nan]))
                if column <= row  # each pair once
                else math.nan
                for column, b in enumerate(names[:-1])
            ]
            for row, a in enumerate(names[1:])
        ]
        panels.append((f"{percent(sparsity)} %", cells))
    return draw(
        group.file("overlap-techniques"),
        "Overlap of the weights that two techniques keep, in percent, a panel a sparsity, within a"
        " seed (the mean over seeds): 0 is what two independent masks of these densities share,"
        " 100 is the same mask; above chance means (Jaccard index - chance) / (1 - chance).",
        page,
        lambda size: heat_maps(
            panels,
            {n: group.title_of(name) for n, name in enumerate(names[:-1])},
            {n: group.title_of(name) for n, name in enumerate(names[1:])},
            size,
            "overlap above chance, %",
        ),
    )

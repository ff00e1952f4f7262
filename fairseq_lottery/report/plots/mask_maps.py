"""Maps of masks: densities of matrices, and overlaps of techniques."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional

from fairseq_lottery.report.plots.drawings import Drawing, Size, draw
from fairseq_lottery.report.plots.heat_maps import heat_maps
from fairseq_lottery.report.reading.families import Family
from fairseq_lottery.report.reading.mask_tables import Masks, Overlap
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, percent, slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MATRIX = re.compile(
    r"^(enc|dec)oder\.layers\.(\d+)\.(?:(self|encoder)_attn\.(k|v|q|out)_proj|fc(\d))\.weight$"
)
_KINDS = ("k", "v", "q", "out")
#: maximum number of matrices with labels of their own; more are labelled by layer
_MOST_LABELS = 40
#: differences of densities that rounding in small matrices explains
_SAME = 0.01


def place(name: str) -> tuple[tuple[int, int, int], str, str]:
    """Return a matrix's position in plots, the label of its layer, and its own label."""
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
    """Plot the share that each matrix keeps, for techniques with unequal shares.

    Returns:
        None if all matrices of each mask keep the same share, as with the scope ``layer``.
    """
    kept = {cell: shares for cell, shares in masks.densities.items() if shares}
    spread = {cell: max(shares.values()) - min(shares.values()) for cell, shares in kept.items()}
    uneven = {cell[0] for cell in kept if spread[cell] > _SAME}
    kept = {cell: shares for cell, shares in kept.items() if cell[0] in uneven}
    if not kept:
        return None
    names = {matrix for shares in kept.values() for matrix in shares}
    matrices = sorted(names, key=lambda matrix: (place(matrix)[0], matrix))
    each_row = len(matrices) <= _MOST_LABELS
    layers = (
        ""
        if each_row
        else (" (in each layer self-attention k, v, q, out, then cross-attention, fc1, fc2)")
    )
    even = [
        title
        for name, title in group.techniques.items()
        if name in {cell[0] for cell in spread} - uneven - set(group.sources)
    ]
    note = f" Omitted, as all matrices keep the same share: {', '.join(even)}." if even else ""
    return draw(
        group.file("densities"),
        "Density of each matrix: the share of its prunable weights that is kept, in percent, with a"
        f" row per matrix{layers} and a column per sparsity, the mean over seeds; grey means no"
        f" mask.{note}",
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
            # one line per word, except for "t = 5%"
            wrapped = title.replace(" = ", "\u00a0=\u00a0").replace(" ", "\n")
            cells = [[_density(kept, name, s, m) for s in sparsities] for m in matrices]
            panels.append((wrapped, cells))
    places = [place(matrix) for matrix in matrices]
    firsts = [n for n, (_, layer, _) in enumerate(places) if n == 0 or layer != places[n - 1][1]]
    rows: dict[float, str] = {n: label for n, (_, _, label) in enumerate(places)}
    if not each_row:
        ends = [*firsts[1:], len(matrices)]
        rows = {(n + end - 1) / 2: places[n][1] for n, end in zip(firsts, ends)}
    means = [mean for _, cells in panels for row in cells for mean in row]
    nothing = " (orange: nothing is kept)" if 0 in means else ""
    return heat_maps(
        panels,
        {n: percent(share) for n, share in enumerate(sparsities)},
        rows,
        page,
        f"density, %, by sparsity, %{nothing}",
        row_height=1.1 * page.line if each_row else 0.05,
        low=min([0.5, *(mean for mean in means if mean > 0)]),
        logarithmic=True,
        empty="0.85",
        lines=[first - 0.5 for first in firsts[1:]],
    )


def _density(
    kept: Mapping[Cell, Mapping[str, float]], name: str, sparsity: float, matrix: str
) -> float:
    """Return the mean over seeds; NaN if no mask has the matrix."""
    masks = [densities for cell, densities in kept.items() if cell[:2] == (name, sparsity)]
    shares = [densities[matrix] for densities in masks if matrix in densities]
    return statistics.fmean(shares) if shares else math.nan


def technique_overlaps(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """Plot the overlap of all pairs of techniques by sparsity; None without pairs."""
    overlaps: dict[float, dict[frozenset[str], list[float]]] = {}
    for pair in masks.overlaps:
        if pair.a[0] != pair.b[0]:
            by_names = overlaps.setdefault(pair.a[1], {})
            by_names.setdefault(frozenset((pair.a[0], pair.b[0])), []).append(pair.above_chance)
    if not overlaps:
        return None
    compared = set().union(*(pair for by_names in overlaps.values() for pair in by_names))
    names = [name for name in group.techniques if name in compared]
    panels = []
    for sparsity in sorted(overlaps):
        cells = [
            [
                statistics.fmean(overlaps[sparsity].get(frozenset((a, b)), [math.nan]))
                if column <= row  # each pair once
                else math.nan
                for column, b in enumerate(names[:-1])
            ]
            for row, a in enumerate(names[1:])
        ]
        panels.append((f"{percent(sparsity)} %", cells))
    return draw(
        group.file("overlap-techniques"),
        "Overlap of the weights that two techniques keep, in percent, with a panel per sparsity,"
        " within a seed (the mean over seeds): 0 is the overlap of independent masks of these"
        " densities, 100 is the same mask; above chance means (Jaccard index - chance) /"
        " (1 - chance).",
        page,
        lambda size: heat_maps(
            panels,
            {n: group.title_of(name) for n, name in enumerate(names[:-1])},
            {n: group.title_of(name) for n, name in enumerate(names[1:])},
            size,
            "overlap above chance, %",
        ),
    )


def data_set_overlaps(
    family: Family, technique: str, overlaps: Sequence[Overlap], page: Size
) -> Optional[Drawing]:
    """Plot the overlap of the masks of all pairs of data sets; None without pairs.

    Args:
        overlaps: pairs of masks of the technique.
    """
    values: dict[float, dict[frozenset[str], list[float]]] = {}
    for pair in overlaps:
        by_data = values.setdefault(pair.a[1], {})
        by_data.setdefault(frozenset(pair.data), []).append(pair.above_chance)
    compared = set().union(*(pair.data for pair in overlaps))
    names = [name for name in family.groups if name in compared]
    if len(names) < 2:
        return None
    panels = []
    for sparsity, by_data in values.items():
        cells = [
            [
                statistics.fmean(by_data.get(frozenset((a, b)), [math.nan]))
                if column <= row  # each pair once
                else math.nan
                for column, b in enumerate(names)
            ]
            for row, a in enumerate(names)
        ]
        panels.append((f"{percent(sparsity)} %", cells))
    return draw(
        family.file(f"overlap-data-sets-{slug(technique)}"),
        f"Overlap of the weights that the masks of two data sets keep"
        f" ({family.techniques[technique]}), in percent, with a panel per sparsity, the mean over"
        " all pairs of seeds; on the diagonal, of two seeds of one data set. 0 is the overlap of"
        " independent masks with these densities of each matrix, 100 is the same mask; above chance"
        " means (Jaccard index - chance) / (1 - chance).",
        page,
        lambda size: heat_maps(
            panels,
            dict(enumerate(names)),
            dict(enumerate(names)),
            size,
            "overlap above chance, %",
        ),
    )

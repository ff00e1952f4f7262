"""Stability of choices across data sets: which heads or FFN units several tasks keep."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Optional

from fairseq_lottery.heads.choices.stability import Agreement, agreement, fleiss_kappa, survival
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.report.choices_read import read_choices
from fairseq_lottery.heads.report.head_sections import PERMUTATIONS, kind_of
from fairseq_lottery.report.pages import Block, Heading, Text
from fairseq_lottery.report.plots.drawings import Drawing, Size, draw
from fairseq_lottery.report.plots.heat_maps import heat_maps
from fairseq_lottery.report.reading.families import Family
from fairseq_lottery.report.reading.table_words import WORDS, slug
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: data set and seed -> the components that a choice keeps
Choices = Mapping[tuple[str, int], ComponentMask]

_MEASURES = ("kappa", "alpha", "jaccard", "chance", "jaccard_p", "intersection")
_HEADER = ("kappa", "alpha", "Jaccard", "by chance", "largest p", "kept by all")


def data_set_section(family: Family, page: Size) -> list[Block]:
    """Return how far data sets agree on components, if a group of the family has choices.

    Raises:
        LotteryError: a recorded file cannot be read, or belongs to another model than the others.
    """
    if not any(group.choices for group in family.groups.values()):
        return []
    noun = WORDS[kind_of(family.first)].noun
    blocks: list[Block] = [Heading(3, f"Stability of {noun} across data sets")]
    cells = _cells(family)
    anatomies = [mask.anatomy for choices in cells.values() for mask in choices.values()]
    if not cells:
        return [*blocks, Text("No two data sets have a choice of one technique and share.")]
    if any(anatomy != anatomies[0] for anatomy in anatomies):
        return [*blocks, Text("The data sets have models with different heads or units.")]
    try:
        table = data_set_agreement(family, cells)
        drawings = [
            drawing
            for name in family.techniques
            if (drawing := kappa_map(family, name, cells, page)) is not None
        ]
    except ImportError as error:
        reason = f'{error.name} is not installed; run `pip install ".[analysis]"`.'
        return [*blocks, Text(f"Agreement between data sets is left out: {reason}")]
    return [*blocks, *drawings, *([table] if table is not None else [])]


def _cells(family: Family) -> dict[tuple[str, float], Choices]:
    """Return technique and share -> choices of at least two data sets, each choice once."""
    found: dict[tuple[str, float], dict[tuple[str, int], ComponentMask]] = {}
    for name, group in family.groups.items():
        for (technique, share, seed), mask in read_choices(group).masks.items():
            found.setdefault((technique, share), {})[name, seed] = mask
    cells: dict[tuple[str, float], Choices] = {}
    for place in sorted(found, key=lambda cell: [*family.techniques].index(cell[0])):
        choices = found[place]
        is_known = any(choices == known and place[1] == at[1] for at, known in cells.items())
        if len({name for name, _ in choices}) > 1 and not is_known:
            cells[place] = choices
    return cells


def data_set_agreement(
    family: Family, cells: Mapping[tuple[str, float], Choices]
) -> Optional[Table]:
    """Return the agreement of the data sets within a seed, as means over seeds.

    Raises:
        ImportError: statsmodels or SciPy is not installed.
    """
    group = family.first
    kind = kind_of(group)
    noun = WORDS[kind].noun
    rows, data = [], []
    for (technique, share), choices in cells.items():
        results: dict[int, Agreement] = {}
        for seed in sorted({seed for _, seed in choices}):
            own = [choices[name, seed] for name in family.groups if (name, seed) in choices]
            if len(own) > 1:
                results[seed] = agreement(own, kind, permutations=PERMUTATIONS[kind])
        if results:
            rows.append([family.techniques[technique], group.label_of(share), *_text(results)])
        data += [
            [technique, share, seed, len(each.sizes), statistics.fmean(each.sizes), *_plain(each)]
            for seed, each in results.items()
        ]
    if not rows:
        return None
    count = next(iter(next(iter(cells.values())).values())).count(kind)
    columns = [*("technique", group.words.column, "seed", "data sets", "kept"), *_HEADER]
    columns[columns.index("largest p")] = "p"
    return Table(
        slug=family.file("agreement-data-sets"),
        caption=f"How far the choices of several data sets keep the same {noun}.",
        header=["technique", group.words.axis, "data sets", "seeds", "kept", *_HEADER],
        rows=rows,
        notes=[
            f"The choices of all data sets are compared within a seed; means over seeds. Kept:"
            f" number of {noun}, of {count}; kept by all: by the choices of all data sets.",
            "Kappa (Fleiss) and alpha (Krippendorff): 1 where all data sets keep the same, 0 where"
            " they agree as independent choices do. Jaccard: the mean over pairs of data sets; by"
            f" chance: of choices of the same sizes; the largest p of a seed, by"
            f" {PERMUTATIONS[kind]:,} permutations, one-sided and not adjusted for the number of"
            " rows.",
            "Random choices are drawn by seed, so those of one seed may be equal by construction."
            " Techniques with the same choices as an earlier one are omitted.",
        ],
        data=(columns, data),
    )


def kappa_map(
    family: Family,
    technique: str,
    cells: Mapping[tuple[str, float], Choices],
    page: Size,
) -> Optional[Drawing]:
    """Plot Fleiss' kappa of pairs of data sets, a panel per share; None without choices.

    Raises:
        ImportError: statsmodels is not installed.
    """
    group = family.first
    kind = kind_of(group)
    own = {share: choices for (name, share), choices in cells.items() if name == technique}
    names = [n for n in family.groups if any(n == name for c in own.values() for name, _ in c)]
    if not own:
        return None
    panels = [
        (f"{group.label_of(share)} %", _kappas(choices, names, kind))
        for share, choices in own.items()
    ]
    low = min([0.0, *(v for _, rows in panels for row in rows for v in row if not math.isnan(v))])
    noun = WORDS[kind].noun
    return draw(
        family.file(f"kappa-data-sets-{slug(technique)}"),
        f"Agreement of two data sets on the {noun} that they keep"
        f" ({family.techniques[technique]}): Fleiss' kappa, a panel per"
        f" {group.words.share}, the mean over all pairs of seeds; on the diagonal, of two seeds of"
        " one data set. 1 is the same choice, 0 the agreement of independent choices.",
        page,
        lambda size: heat_maps(
            panels,
            dict(enumerate(names)),
            dict(enumerate(names)),
            size,
            "Fleiss' kappa",
            low=low,
            in_percent=False,
        ),
    )


def _kappas(choices: Choices, names: Sequence[str], kind: str) -> list[list[float]]:
    """Return the mean kappa of each pair of data sets; NaN above the diagonal."""
    values: dict[frozenset[str], list[float]] = {}
    for a, b in combinations(choices, 2):
        kappa = fleiss_kappa(survival([choices[a], choices[b]], kind))
        values.setdefault(frozenset((a[0], b[0])), []).append(kappa)
    return [
        [_mean(values.get(frozenset((a, b)), [])) if column <= row else math.nan
         for column, b in enumerate(names)]
        for row, a in enumerate(names)
    ]  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are defined; NaN if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def _plain(each: Agreement) -> list[Any]:
    values = [float(getattr(each, name)) for name in _MEASURES]
    return [None if math.isnan(value) else value for value in values]


def _text(results: Mapping[int, Agreement]) -> list[str]:
    agreements = [*results.values()]
    counts = sorted({len(each.sizes) for each in agreements})
    sizes = statistics.fmean(size for each in agreements for size in each.sizes)
    means = {name: _mean(float(getattr(a, name)) for a in agreements) for name in _MEASURES}
    largest = max(each.jaccard_p for each in agreements)
    shown = [MISSING if math.isnan(means[n]) else f"{means[n]:.2f}" for n in _MEASURES[:4]]
    size, common = (f"{v:.1f}".removesuffix(".0") for v in (sizes, means["intersection"]))
    between = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return [between, str(len(agreements)), size, *shown, f"{largest:.3f}", common]

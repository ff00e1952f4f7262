"""The table of overlaps between masks of several data sets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.report.reading.families import Family
from fairseq_lottery.report.reading.mask_tables import Overlap
from fairseq_lottery.report.reading.table_words import percent
from fairseq_lottery.report.tables.table_formats import MISSING, Table

_HEAD = "technique sparsity data_a seed_a data_b seed_b overlap chance above_chance".split()


def overlap_table(family: Family, overlaps: Sequence[Overlap]) -> Optional[Table]:
    """Return the mean overlaps of data sets and of seeds, with all pairs in the CSV file."""
    if not overlaps:
        return None
    rows = []
    for technique, share in dict.fromkeys(pair.a[:2] for pair in overlaps):
        pairs = [pair for pair in overlaps if pair.a[:2] == (technique, share)]
        between = [pair for pair in pairs if pair.data[0] != pair.data[1]]
        seeds = [pair for pair in pairs if pair.data[0] == pair.data[1]]
        texts = [text for own in (between, seeds) for text in _means(own)]
        rows.append([family.techniques[technique], percent(share), *texts])
    head = [
        f"{what}, {of}"
        for of in ("data sets", "seeds")
        for what in ("Jaccard", "by chance", "pairs")
    ]
    return Table(
        slug=family.file("overlap-data-sets"),
        caption="Overlap of the weights that two masks keep: of two data sets (all pairs of seeds),"
        " and of two seeds of one data set; means over pairs.",
        header=["technique", "sparsity, %", *head],
        rows=rows,
        notes=[
            "Jaccard: weights that both masks keep, as a share of those that either keeps. By"
            " chance: that of independent masks which keep as much of each matrix.",
        ],
        data=(
            _HEAD,
            [
                [*pair.a[:2], pair.data[0], pair.a[2], pair.data[1], pair.b[2]]
                + [round(value, 6) for value in (pair.jaccard, pair.chance, pair.above_chance)]
                for pair in overlaps
            ],
        ),
    )


def _means(pairs: Sequence[Overlap]) -> list[str]:
    if not pairs:
        return [MISSING, MISSING, "0"]
    means = (statistics.fmean(values) for values in zip(*((p.jaccard, p.chance) for p in pairs)))
    return [*(f"{mean:.3f}" for mean in means), str(len(pairs))]

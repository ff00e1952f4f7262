"""The section across the data sets of a plan: transfer, overlaps, published figures."""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_lottery.extensions import load_data_set_reports
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Points, Text
from fairseq_lottery.report.plots.drawings import Size
from fairseq_lottery.report.plots.mask_maps import data_set_overlaps
from fairseq_lottery.report.plots.transfer_maps import published_map, transfer_maps
from fairseq_lottery.report.reading.families import Family, View, families, views
from fairseq_lottery.report.reading.mask_tables import overlaps_of_data_sets
from fairseq_lottery.report.reading.published import Published, load
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.statistics.transfer import own_techniques
from fairseq_lottery.report.tables.matching_tables import highest_table
from fairseq_lottery.report.tables.overlap_tables import overlap_table
from fairseq_lottery.report.tables.published_comparison import recipe_table
from fairseq_lottery.report.tables.published_data_sets import published_table
from fairseq_lottery.report.tables.transfer_tables import transfer_table, universal_table


def data_set_sections(groups: Sequence[Group], page: Size) -> list[Block]:
    """Return a section for each plan with several data sets."""
    blocks: list[Block] = []
    found = families(groups)
    for family in found:
        title = "Across data sets"
        if len(found) > 1:
            title += f": {family.title}, {family.first.words.title}"
        blocks += [Heading(2, title), *_family(family, page)]
        if family in _beside_published(found):
            blocks += _published(family, load(str(family.first.published)), page)
    return blocks


def _beside_published(found: Sequence[Family]) -> list[Family]:
    """Return for each plan the family whose section has its published figures.

    It is that with the same quantity of shares, else the first one.
    """
    chosen: dict[str, Family] = {}
    for family in found:
        name, data_set = family.first.published, family.first.data_set
        if name is not None and data_set is not None:
            known = chosen.get(data_set.plan)
            if known is None or family.first.rows == load(name).rows:
                chosen[data_set.plan] = family
    return list(chosen.values())


def _family(family: Family, page: Size) -> list[Block]:
    names = ", ".join(family.groups)
    seeds = sorted({seed for group in family.groups.values() for seed in group.seeds})
    blocks: list[Block] = [
        Text(
            f"{len(family.groups)} data sets: {names}."
            f" {'Seed' if len(seeds) == 1 else 'Seeds'} {', '.join(map(str, seeds))}."
        )
    ]
    every = views(family)
    if every:
        blocks.append(Heading(3, "Matching subnetworks"))
        blocks += [highest_table(family, view) for view in every]
    if family.first.rows == WEIGHTS:
        blocks += _transfer(family, every, page)
        blocks += _overlaps(family, page)
    for extension in load_data_set_reports():
        blocks += extension.data_set_section(family, page)
    return blocks


def _transfer(family: Family, every: Sequence[View], page: Size) -> list[Block]:
    blocks: list[Block] = []
    for view in every:
        table, universal = transfer_table(family, view), universal_table(family, view)
        if table is not None and universal is not None:
            blocks += [Heading(3, f"Transfer of masks by {view.title}")]
            blocks += [*transfer_maps(family, view, page), table, universal]
    return blocks or [
        Text(
            "No mask of one data set was trained on another, so there is no transfer matrix: no"
            " such technique is planned, or none has a score yet."
        )
    ]


def _overlaps(family: Family, page: Size) -> list[Block]:
    blocks: list[Block] = [Heading(3, "Overlap of masks between data sets")]
    techniques = own_techniques(family)
    overlaps, unlike = overlaps_of_data_sets(family, techniques)
    if unlike:
        blocks.append(Text(f"{unlike} pairs of masks have different prunable sets, so no overlap."))
    table = overlap_table(family, overlaps)
    if table is None:
        return [*blocks, Text("No two masks of one technique and sparsity, so no overlap.")]
    for technique in techniques:
        own = [pair for pair in overlaps if pair.a[0] == technique]
        drawing = data_set_overlaps(family, technique, own, page)
        blocks += [drawing] if drawing is not None else []
    return [*blocks, table]


def _published(family: Family, published: Published, page: Size) -> list[Block]:
    """Return published figures of several data sets, if the publication has any."""
    if not published.data_sets:
        return []
    drawing = published_map(family, published, page)
    is_shown = any(published.of_data_set(name) for name in family.groups)  # in its own section
    return [
        Heading(3, "Published figures across data sets"),
        *([drawing] if drawing is not None else []),
        published_table(family, published),
        Points(
            [
                *published.notes,
                "Data, models and recipes differ, so the figures do not prove a difference.",
            ]
        ),
        *([] if is_shown else [recipe_table(family.first, published)]),
    ]

"""The section of a report for one group of runs; without data, a part states the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Optional

from fairseq_lottery.extensions import load_reports
from fairseq_lottery.records.plan import METRIC, WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Points, Text
from fairseq_lottery.report.plots.cost_plots import cost_plot
from fairseq_lottery.report.plots.curves import (
    LEARNING,
    learning_curves,
    seed_overlaps,
    sparsity_curves,
)
from fairseq_lottery.report.plots.drawings import Size
from fairseq_lottery.report.plots.mask_maps import density_map, technique_overlaps
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.reading.published import Published
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.statistics.significance import FEWEST_SEEDS, Comparison
from fairseq_lottery.report.tables.cost_tables import flops_table, updates_table
from fairseq_lottery.report.tables.matching_tables import matching_table
from fairseq_lottery.report.tables.orders import order_table
from fairseq_lottery.report.tables.published_comparison import comparison_table, entry, recipe_table
from fairseq_lottery.report.tables.published_measures import measure_tables
from fairseq_lottery.report.tables.score_tables import metric_table

#: evaluation -> tests, and reasons why cells are omitted
Tests = Mapping[Evaluation, tuple[Sequence[Comparison], Sequence[str]]]


def section(
    group: Group,
    tests: Tests,
    published: Optional[Published],
    masks: Masks,
    page: Size,
) -> list[Block]:
    """Return the tables, tests and plots of a group."""
    recipe = ", ".join(f"{name} {entry(value)}" for name, value in group.recipe.items())
    blocks: list[Block] = [
        Heading(2, group.title if group.slug else "Results"),
        Text(
            f"{_count(group.techniques, 'technique', 'techniques')},"
            f" {_count(group.sparsities, group.words.share, group.words.shares)},"
            f" {'seed' if len(group.seeds) == 1 else 'seeds'} {', '.join(map(str, group.seeds))}."
            f" Recipe: {recipe or 'not stated'}."
        ),
    ]
    blocks += [table for table in (updates_table(group), flops_table(group)) if table is not None]
    for key, (comparisons, reasons) in tests.items():
        blocks += _scores(group, key, published, page)
        blocks += _orders(group, key, comparisons, reasons)
        if group.data_set is not None or group.keeps_start:
            blocks.append(matching_table(group, key, comparisons))
    if published is not None and published.measures:
        blocks.append(Heading(3, "Published figures of the inside of models"))
        blocks.append(Points(published.notes))
        blocks += measure_tables(group, published)
    if published is not None:
        blocks.append(Heading(3, "What differs from the published recipe"))
        blocks.append(recipe_table(group, published))
    blocks.append(Heading(3, "Learning curves"))
    drawn = [learning_curves(group, metric, page) for metric in LEARNING]
    curves: list[Block] = [drawing for drawing in drawn if drawing is not None]
    blocks += curves or [Text("No validation curve was recorded.")]
    if group.rows == WEIGHTS:
        blocks += _masks(group, masks, page)
    for extension in load_reports():
        blocks += extension.section(group, page)
    return blocks


def _count(items: Sized, singular: str, plural: str) -> str:
    return f"{len(items)} {singular if len(items) == 1 else plural}"


def _scores(
    group: Group, key: Evaluation, published: Optional[Published], page: Size
) -> list[Block]:
    reason = "only the dense model has a score."
    if group.rows == METRIC:
        reason = "a search decides what it prunes."
    no_plot = Text(f"There is no plot by {group.words.by}: {reason}")
    blocks: list[Block] = [
        Heading(3, key.title),
        metric_table(group, key),
        sparsity_curves(group, key, page) or no_plot,
    ]
    costs = cost_plot(group, key, page)
    blocks += [costs] if costs is not None else []
    if published is not None:
        blocks.append(
            comparison_table(group, key, published)
            or Text(f"{published.title} has no {key.metric} of these techniques.")
        )
    return blocks


def _orders(
    group: Group, key: Evaluation, comparisons: Sequence[Comparison], reasons: Sequence[str]
) -> list[Block]:
    within = order_table(group, key, [c for c in comparisons if c.is_within_seed])
    across = order_table(group, key, [c for c in comparisons if not c.is_within_seed])
    blocks: list[Block] = [table for table in (within, across) if table is not None]
    sentences = [] if within else ["No two techniques were tested within a seed."]
    if across is None:
        most = group.most_seeds(key)
        sentences.append(
            f"Differences across seeds are not tested: the test requires {FEWEST_SEEDS} seeds of"
            f" two techniques at one {group.words.share}, and there"
            f" {'is one' if most == 1 else f'are {most}'} at most."
        )
    sentences += reasons
    return [*blocks, Text(" ".join(sentences))] if sentences else blocks


def _masks(group: Group, masks: Masks, page: Size) -> list[Block]:
    blocks: list[Block] = [Heading(3, "Masks")]
    if not masks.densities:
        blocks.append(Text("No checkpoint has a mask, so densities and overlaps are omitted."))
    else:
        blocks += [
            density_map(group, masks, page)
            or Text(
                "Every matrix of a mask keeps the same share, so the map of densities is omitted;"
                " see densities.csv."
            ),
            technique_overlaps(group, masks, page)
            or Text("Overlap of techniques is omitted: no two masks of one seed and sparsity."),
            seed_overlaps(group, masks, page)
            or Text("Overlap of seeds is omitted: no two masks of one technique and sparsity."),
        ]
    if group.sources:
        blocks.append(
            Text("Masks of other data sets are compared in the section across data sets.")
        )
    if masks.missing:
        blocks.append(Text(f"{masks.missing} recorded checkpoints are not in the run's folder."))
    if masks.unlike:
        blocks.append(
            Text(f"{masks.unlike} pairs of masks have different prunable sets, so no overlap.")
        )
    return blocks

"""What a report says about one group of runs, in order; parts without data say why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.extensions import load_reports
from fairseq_lottery.report.collected import Section
from fairseq_lottery.report.pages import Heading, Points, Text
from fairseq_lottery.report.plots.curves import LEARNING, learning_curves, sparsity_curves
from fairseq_lottery.report.plots.densities import density_map
from fairseq_lottery.report.plots.overlaps import seed_overlaps, technique_overlaps
from fairseq_lottery.report.plots.style import Size
from fairseq_lottery.report.reading.groups import Evaluation, Group
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.reading.plans import METRIC, WEIGHTS
from fairseq_lottery.report.reading.published import Published
from fairseq_lottery.report.statistics.bootstrap import within_seeds
from fairseq_lottery.report.statistics.significance import FEWEST_SEEDS, across_seeds
from fairseq_lottery.report.tables.orders import order_table
from fairseq_lottery.report.tables.published_comparison import comparison_table, entry, recipe_table
from fairseq_lottery.report.tables.score_tables import metric_table

_ONLY_DENSE = "only the dense model has a score."


def section(group: Group, published: Optional[Published], masks: Masks, page: Size) -> Section:
    """Tables, tests and plots of a group."""
    made = Section(group)
    seeds = ", ".join(map(str, group.seeds))
    made.add(
        Text(
            f"{len(group.techniques)} techniques, {len(group.sparsities)} {group.words.shares},"
            f" {'seed' if len(group.seeds) == 1 else 'seeds'} {seeds}."
        )
    )
    for key in group.tables:
        _scores(made, key, published, page)
    if published is not None:
        made.add(Heading(3, "What differs from the published recipe"))
        made.add(recipe_table(group, published))
    made.add(Heading(3, "Learning curves"))
    drawn = [learning_curves(group, metric, page) for metric in LEARNING]
    for drawing in drawn:
        made.add(drawing)
    if not any(drawn):
        made.add(Text("No validation curve was recorded."))
    if group.rows == WEIGHTS:
        _masks(made, masks, page)
    for extension in load_reports():
        extension.add_section(made, page)
    made.add(Heading(3, "Signatures"))
    made.add(Points([f"Recipe: {_recipe(group)}", *_signatures(group)]))
    runs = dict.fromkeys(
        f"{group.title_of(s.technique)} {s.sparsity:.4g} seed {s.seed}: `{s.run}`"
        for table in group.tables.values()
        for _, s in sorted(table.items())
        if s.run
    )
    if runs:
        made.add(Points(list(runs), folded=f"{len(runs)} run signatures"))
    return made


def _scores(made: Section, key: Evaluation, published: Optional[Published], page: Size) -> None:
    group = made.group
    made.add(Heading(3, f"{key.metric}, {key.subset}, {key.evaluation}"))
    own = [extension.search_table(group, key) for extension in load_reports()]
    made.add(next((table for table in own if table is not None), None) or metric_table(group, key))
    made.add(
        sparsity_curves(group, key, page),
        f"There is no plot by {group.words.by}: "
        + ("a search finds what it closes." if group.rows == METRIC else _ONLY_DENSE),
    )
    if published is not None:
        made.add(
            comparison_table(group, key, published),
            f"{published.title} has no {key.metric} of these techniques.",
        )
    _tests(made, key)


def _tests(made: Section, key: Evaluation) -> None:
    group = made.group
    within, reasons = within_seeds(group, key)
    made.comparisons += within
    if within:
        made.add(order_table(group, key, within, f"{key.slug}-bootstrap"))
    sentences = [] if within else ["No two techniques were tested within a seed."]
    across = across_seeds(group, key)
    made.comparisons += across
    if across:
        made.add(order_table(group, key, across, f"{key.slug}-seeds"))
    else:
        sentences.append(
            f"Whether differences hold across seeds is not tested: that takes {FEWEST_SEEDS} seeds"
            f" of two techniques at one {group.words.share}, and there {_most_seeds(group, key)}."
        )
    if sentences or reasons:
        made.add(Text(" ".join([*sentences, *reasons])))


def _most_seeds(group: Group, key: Evaluation) -> str:
    most = max(len(group.values(key, t, s)) for t, s, _ in group.tables[key])
    return "is one at most" if most == 1 else f"are {most} at most"


def _masks(made: Section, masks: Masks, page: Size) -> None:
    group = made.group
    made.add(Heading(3, "Masks"))
    if not masks.densities:
        made.add(
            Text("No checkpoint with a mask was found, so densities and overlaps are left out.")
        )
    else:
        made.add(density_map(group, masks, page))
        made.add(
            technique_overlaps(group, masks, page),
            "Overlap between techniques is left out: no two masks of one seed and sparsity.",
        )
        made.add(
            seed_overlaps(group, masks, page),
            "Overlap between seeds is left out: no two masks of one technique and sparsity.",
        )
    if masks.missing:
        made.add(Text(f"{masks.missing} recorded checkpoints are not in the run's folder."))
    if masks.unlike:
        made.add(
            Text(f"{masks.unlike} pairs of masks have different prunable sets, so no overlap.")
        )


def _recipe(group: Group) -> str:
    entries = [f"{name} {entry(value)}" for name, value in group.recipe.items()]
    return ", ".join(entries) or "not stated"


def _signatures(group: Group) -> Sequence[str]:
    lines: dict[str, list[str]] = {}
    for key, table in group.tables.items():
        signature = next(iter(table.values())).signature
        if signature:
            lines.setdefault(f"{key.metric}: `{signature}`", []).append(
                f"{key.subset}, {key.evaluation}"
            )
    return [f"{line} ({'; '.join(where)})" for line, where in lines.items()]

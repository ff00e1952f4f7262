"""Tables of published and measured figures, and of the differences between their recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.published import EVERY, Published, compare_recipes, load
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation, percent
from fairseq_lottery.report.tables.score_tables import cell_text, signed, spread_text
from fairseq_lottery.report.tables.table_formats import MISSING, Table


def beside(groups: Sequence[Group]) -> list[Optional[Published]]:
    """Return for each group its published figures, or None.

    In each recipe, they belong to the group with the same quantity of shares, else to the first
    group, for the dense model's figure. A group of one of several data sets has the figures of this
    data set.
    """
    figures: list[Optional[Published]] = []
    for group in groups:
        published = load(group.published) if group.published is not None else None
        if published is not None:
            recipe = [each for each in groups if each.number == group.number]
            matching = [each for each in recipe if each.rows == published.rows]
            published = published if group is (matching or recipe)[0] else None
        if published is not None and group.data_set is not None:
            published = published.of_data_set(group.data_set.name)
        figures.append(published)
    return figures


def comparison_table(group: Group, key: Evaluation, published: Published) -> Optional[Table]:
    """Return a table of measured and published columns; None without a common technique."""
    fits = published.rows == group.rows
    figures = {
        (technique, share): value
        for (metric, technique, share), value in published.values.items()
        if metric == key.metric and (fits or technique == DENSE)
    }
    shared = [name for name in group.techniques if any(name == t for t, _ in figures)]
    shared = [n for n in shared if any(group.values(key, n, s) for s in group.sparsities)]
    if not shared and (DENSE, 0.0) not in figures:
        return None
    memory = {}
    if key.metric == "BLEU":  # show sizes once, not for every metric
        sizes = published.values.items()
        memory = {s: size for (m, t, s), size in sizes if (m, t) == ("memory_MB", EVERY)}
    digits, most = group.decimals(key), group.most_seeds(key)
    wanted = {s for name, s in figures if name in shared} | set(group.sparsities)
    rows = []
    for sparsity in sorted({0.0, *(wanted if shared else ())}):
        row = [group.label_of(sparsity)]
        for name in shared or [DENSE]:
            technique = name if sparsity else DENSE
            values = group.values(key, technique, sparsity)
            printed = figures.get((technique, sparsity), MISSING)
            row += [cell_text(values, most, digits), printed]
        rows.append([*row, memory.get(sparsity, MISSING)] if memory else row)
    header = [group.words.axis]
    for name in shared or [DENSE]:
        title = group.title_of(name)
        header += [f"{title}, here", f"{title}, published"]
    return Table(
        slug=group.file(f"{key.slug}-published"),
        caption=f"{key.metric} on {key.subset} measured here ({key.words};"
        f" {spread_text(most)}) beside {published.title}.",
        header=[*header, "size, MB, published"] if memory else header,
        rows=rows,
        notes=[
            f"Here: {signed(group, key)}.",
            f"Published ({published.citation}): {published.computed.get(key.metric, MISSING)}.",
            "The recipes differ, so the figures do not prove a difference.",
            *published.notes,
            *_remarks(group, key, published, {*shared, DENSE}),
        ],
    )


def _remarks(
    group: Group, key: Evaluation, published: Published, techniques: set[str]
) -> list[str]:
    """Return each remark on single figures once, with the sparsities of these figures."""
    places: dict[tuple[str, str], list[str]] = {}
    for (metric, technique, sparsity), remark in published.remarks.items():
        if metric == key.metric and technique in techniques:
            places.setdefault((technique, remark), []).append(percent(sparsity))
    return [
        f"{group.title_of(technique)} at {', '.join(at)} %, published: {remark}."
        for (technique, remark), at in places.items()
    ]


def recipe_table(group: Group, published: Published) -> Table:
    """Return a table of the differences between a published recipe and that of a group."""
    equal, differing = compare_recipes(published.recipe, group.recipe)
    rows = [
        [name, *(MISSING if value is None else entry(value) for value in values)]
        for name, *values in differing
    ]
    equal_entries = ", ".join(f"{name} ({published.recipe[name]})" for name in equal)
    return Table(
        slug=group.file("recipe"),
        caption=f"What differs in the recipe from {published.title}.",
        header=["entry", "published", "here"],
        rows=rows,
        prose=True,
        notes=[
            f"{MISSING} means: not stated. Entries are compared as written.",
            f"Equal in both: {equal_entries or 'nothing'}.",
        ],
    )


def entry(value: Any) -> str:
    """Return an entry of a recipe as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

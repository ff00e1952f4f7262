"""The section of a report about heads and units; it explains which data are missing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Optional

from fairseq_lottery.heads.choices.stability import Agreement, agreement
from fairseq_lottery.heads.report.choices_read import Choices, read_choices
from fairseq_lottery.heads.report.head_plots import importance_grid, survival_grid
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Text
from fairseq_lottery.report.plots.drawings import Size
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import WORDS
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: number of permutations: one of a model's units takes milliseconds, of its heads microseconds
PERMUTATIONS = {"heads": 1000, "units": 100, "blocks": 1000}
#: heads and units of different seeds do not correspond; blocks do, by their layer
_ALIKE = (
    "Where every seed trains a dense model of its own, number n of one seed's {} does not"
    " correspond to number n of another's: seeds can agree on layers and types only."
)
HEADER = ("seeds", "kept", "kappa", "Jaccard", "by chance", "p")


def section(group: Group, page: Size) -> list[Block]:
    """Return importance, survival and agreement between seeds, if a group has choices or scores.

    Raises:
        LotteryError: a recorded file cannot be read, or belongs to another model than the others.
    """
    if group.rows == WEIGHTS and not group.choices and not group.importance:
        return []
    choices = read_choices(group)
    blocks: list[Block] = [Heading(3, "Heads and units")]
    if group.importance:
        blocks.append(
            importance_grid(group, choices, page)
            or Text(
                "The importance of heads is left out: no scores of heads are in the run's folder."
            )
        )
    if not choices.masks:
        blocks.append(Text("There is no choice of heads or units, so survival is left out."))
    else:
        survival = survival_grid(group, choices, page) if kind_of(group) == "heads" else None
        blocks += [survival] if survival is not None else []
        blocks.append(_agreement(group, choices))
    for count, noun in ((choices.missing, "choices"), (choices.scores_missing, "files of scores")):
        if count:
            blocks.append(Text(f"{count} recorded {noun} are not in the run's folder."))
    return blocks


def _agreement(group: Group, choices: Choices) -> Block:
    reason = "no technique has two seeds at one share."
    try:
        table = agreement_table(group, choices)
        if table is not None:
            return table
    except ImportError as error:
        reason = f'{error.name} is not installed; run `pip install ".[analysis]"`.'
    return Text(f"Agreement between seeds is left out: {reason}")


def kind_of(group: Group) -> str:
    """Return the kind of components that a group's shares refer to, else heads."""
    return group.rows if group.rows in PERMUTATIONS else "heads"


def agreement_table(group: Group, choices: Choices) -> Optional[Table]:
    """Return Fleiss' kappa and the mean Jaccard index; None if no cell has two seeds.

    Raises:
        ImportError: statsmodels or SciPy is not installed.
    """
    kind = kind_of(group)
    noun = WORDS[kind].noun
    rows, data = [], []
    for technique in group.techniques:
        for share in group.sparsities:
            own = choices.of(technique, share)
            if len(own) < 2:
                continue
            result = agreement(own, kind, permutations=PERMUTATIONS[kind])
            title, label = group.title_of(technique), group.label_of(share)
            rows.append([title, label, *_text(result)])
            data.append([technique, share, *_numbers(result)])
    if not rows:
        return None
    count = next(iter(choices.masks.values())).count(kind)
    return Table(
        slug=group.file("agreement-seeds"),
        caption=f"How far the seeds of a technique keep the same {noun}.",
        header=["technique", group.words.axis, *HEADER],
        rows=rows,
        notes=[
            f"Kept: number of {noun}, of {count}, the mean over seeds."
            " Kappa: Fleiss' kappa, 1 where all seeds keep the same, 0 where they agree as"
            " independent choices do.",
            f"Jaccard: what both of two seeds keep, as a share of what either keeps, the mean over"
            f" pairs; by chance: of choices of the same sizes, p by {PERMUTATIONS[kind]:,}"
            " permutations, one-sided and not adjusted for the number of rows.",
            *([_ALIKE.format(noun)] if kind != "blocks" else []),
        ],
        data=(["technique", group.words.column, *HEADER], data),
    )


def _numbers(result: Agreement) -> Sequence[Any]:
    values = (result.kappa, result.jaccard, result.chance, result.jaccard_p)
    plain = [None if math.isnan(value) else value for value in values]
    return [len(result.sizes), statistics.fmean(result.sizes), *plain]


def _text(result: Agreement) -> list[str]:
    seeds, size, *values, p = _numbers(result)
    shown = [MISSING if value is None else f"{value:.2f}" for value in values]
    return [str(seeds), f"{size:.1f}".removesuffix(".0"), *shown, f"{p:.3f}"]

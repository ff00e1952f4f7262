"""The section of a report about heads and units; it explains which data are missing."""

from __future__ import annotations

from fairseq_lottery.heads.report.agreement_table import agreement_table, kind_of
from fairseq_lottery.heads.report.choices_read import Choices, read_choices
from fairseq_lottery.heads.report.head_plots import importance_grid, survival_grid
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Text
from fairseq_lottery.report.plots.drawings import Size
from fairseq_lottery.report.reading.recipe_groups import Group


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

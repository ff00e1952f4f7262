"""What a report says about heads and units; parts of it without data say why."""

from __future__ import annotations

from fairseq_lottery.heads.report.agreement_table import agreement_table, kind_of
from fairseq_lottery.heads.report.choices_read import read_choices
from fairseq_lottery.heads.report.head_plots import importance_grid, survival_grid
from fairseq_lottery.report.collected import Section
from fairseq_lottery.report.pages import Heading, Text
from fairseq_lottery.report.plots.style import Size
from fairseq_lottery.report.reading.plans import WEIGHTS


def add_section(made: Section, page: Size) -> None:
    """Importance, survival, and agreement between seeds, if a group is about heads or units.

    Raises:
        LotteryError: a recorded file cannot be read, or is of another model than the rest.
    """
    group = made.group
    if group.rows == WEIGHTS and not group.choices and not group.importance:
        return
    choices, kind = read_choices(group), kind_of(group)
    made.add(Heading(3, "Heads and units"))
    if group.importance:
        made.add(
            importance_grid(group, choices, page),
            "The importance of heads is left out: no scores of heads are in the run's folder.",
        )
    if not choices.parts:
        made.add(Text("No choice of heads or units was found, so survival is left out."))
    else:
        if kind == "heads":
            made.add(survival_grid(group, choices, page))
        try:
            made.add(
                agreement_table(group, choices),
                "Agreement between seeds is left out: no technique has two seeds at one share.",
            )
        except ImportError as error:
            made.add(
                Text(
                    f"Agreement between seeds is left out: {error.name} is not installed here, and"
                    ' `pip install ".[analysis]"` adds it.'
                )
            )
    for count, what in ((choices.missing, "choices"), (choices.scores_missing, "files of scores")):
        if count:
            made.add(Text(f"{count} recorded {what} of parts are not in the run's folder."))

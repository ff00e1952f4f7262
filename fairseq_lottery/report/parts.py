"""What a report says about heads and units; parts of it without data say why."""

from __future__ import annotations

from fairseq_lottery.report.agreement import agreement_table, kind_of
from fairseq_lottery.report.choices import Choices
from fairseq_lottery.report.collected import Section
from fairseq_lottery.report.heads import importance_grid, survival_grid
from fairseq_lottery.report.pages import Heading, Text
from fairseq_lottery.report.style import Size


def add_parts(made: Section, choices: Choices, page: Size) -> None:
    """Importance, survival, and agreement between seeds."""
    group, kind = made.group, kind_of(made.group)
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

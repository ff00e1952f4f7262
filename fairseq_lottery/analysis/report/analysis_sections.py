"""The section of a report about the inside of the models: pictures, then their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from fairseq_lottery.analysis.report.figure_files import figures_by_quantity
from fairseq_lottery.analysis.report.layer_tables import layer_table
from fairseq_lottery.analysis.report.quantities import Quantity, Scene
from fairseq_lottery.analysis.report.sweep_rows import Sweep, merge, read_sweep
from fairseq_lottery.analysis.sweep.settings import FOLDER
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Points, Text
from fairseq_lottery.report.plots.drawings import Size
from fairseq_lottery.report.reading.recipe_groups import Group

#: command -> heading
_TITLES = {
    "similarity": "Similarity of representations and attention",
    "complexity": "Complexity of representations and matrices",
    "roles": "Roles of heads",
    "probe": "Probes",
    "weights": "Weights and masks",
    "connect": "Linear mode connectivity",
}
#: most reasons why measures are left out
_REASONS = 20


def section(group: Group, page: Size) -> list[Block]:
    """Return the figures and tables of ``fairseq-lottery analyze`` in the folders of a group.

    Raises:
        LotteryError: a table is malformed, or the analyses are of different words.
    """
    folders = [Path(run) / FOLDER for run in group.stages]
    sweeps = [sweep for sweep in map(read_sweep, folders) if sweep is not None]
    if not sweeps:
        return []
    sweep = _of_group(merge(sweeps), group)
    if not any(row.get("technique") in group.techniques for row in sweep.rows):
        return []
    axis = (group.words.axis, group.rows == WEIGHTS)
    scene = Scene(group.techniques, page, group.slug, axis, is_report=True)
    recorded = f" Representations and attention are of {sweep.words}." if sweep.words else ""
    blocks: list[Block] = [
        Heading(3, "Inside the models"),
        Text(
            "What `fairseq-lottery analyze` computed of each model. Measures of two models compare"
            f" each with the {sweep.against} model of the same seed, and two seeds of a technique;"
            " those of weights also the start and the end of a training, if the start was kept."
            f"{recorded} All values are in `{FOLDER}/` of the run's folder, those of a figure in"
            " the CSV file of its name. Only figures that answer questions of the papers are below:"
            " to draw all measures, repeat the command with `--figures`, which computes nothing"
            f" again and writes PDF, SVG and PNG files into `{FOLDER}/figures/`."
        ),
    ]
    commands: dict[str, list[Block]] = {}
    shown: Optional[Quantity] = None
    for quantity, drawing in figures_by_quantity(sweep, scene):
        own = commands.setdefault(sweep.measures[quantity.key[0]].command, [])
        if shown is not None and shown is not quantity:
            _add_table(commands, sweep, shown, scene)
        own.append(drawing)
        shown = quantity
    if shown is not None:
        _add_table(commands, sweep, shown, scene)
    for command, own in commands.items():
        blocks += [Heading(3, _TITLES.get(command, command)), *own]
    if sweep.skipped:
        blocks.append(Text("Left out:"))
        blocks.append(Points(_reasons(sweep)))
    return blocks


def _add_table(
    commands: dict[str, list[Block]], sweep: Sweep, quantity: Quantity, scene: Scene
) -> None:
    table = layer_table(quantity, scene)
    if table is not None:
        commands[sweep.measures[quantity.key[0]].command].append(table)


def _of_group(sweep: Sweep, group: Group) -> Sweep:
    """Return the rows of a group's techniques and of the dense model."""
    names = {DENSE, *group.techniques}
    rows = [row for row in sweep.rows if row.get("technique") in names]
    return Sweep(rows, sweep.measures, sweep.against, sweep.words, sweep.skipped)


def _reasons(sweep: Sweep) -> list[str]:
    texts = []
    for reason, tasks in list(sweep.skipped.items())[:_REASONS]:
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        texts.append(f"{tasks[0]}{more}: {reason}.")
    more_reasons = len(sweep.skipped) - len(texts)
    return [*texts, f"{more_reasons} more reasons."] if more_reasons else texts

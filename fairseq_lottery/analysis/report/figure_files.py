"""``plot``: all figures of rows of measures, and ``write_figures``, which writes them to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.analysis.registry import Row, registered_measures
from fairseq_lottery.analysis.report.command_rows import labelled_rows
from fairseq_lottery.analysis.report.figures.component_figures import component_curves
from fairseq_lottery.analysis.report.figures.curve_figures import layer_curves
from fairseq_lottery.analysis.report.figures.heat_map_figures import head_maps, layer_maps
from fairseq_lottery.analysis.report.figures.line_figures import (
    CONNECT,
    MASK_DISTANCE,
    connection_lines,
    distance_lines,
    layer_lines,
)
from fairseq_lottery.analysis.report.figures.matrix_figures import matrix_maps
from fairseq_lottery.analysis.report.figures.probe_figures import (
    PROBE,
    SCORES,
    SHOWN,
    probe_figures,
)
from fairseq_lottery.analysis.report.figures.role_bars import (
    CHANGES,
    COUNTS,
    SURVIVORS,
    count_figures,
    survivor_figures,
)
from fairseq_lottery.analysis.report.figures.role_figures import (
    HAS_ROLE,
    MODELS,
    change_figures,
    role_figures,
)
from fairseq_lottery.analysis.report.quantities import (
    SEEDS,
    TECHNIQUES,
    Quantity,
    Scene,
    quantities,
)
from fairseq_lottery.analysis.report.sweep_rows import Sweep
from fairseq_lottery.analysis.sweep.tables import MeasureRecord
from fairseq_lottery.files import replacing, writing_in
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import Drawing, Size, size

#: measure -> its figures, which show several statistics or roles
_OF_MEASURE: dict[str, Callable[[Sequence[Quantity], Scene], Iterator[Drawing]]] = {
    CONNECT: connection_lines,
    MASK_DISTANCE: distance_lines,
    COUNTS: count_figures,
    CHANGES: change_figures,
    SURVIVORS: survivor_figures,
}
#: ends of the names of statistics by chance
EXPECTED, DEVIATION = "expected", "deviation"


def plot(
    rows: Sequence[Row],
    page: Optional[Size] = None,
    techniques: Optional[Mapping[str, str]] = None,
) -> list[Drawing]:
    """Return all figures of rows of measures; their columns decide what each shows.

    ``layer`` and ``other_layer``: a heat map of all pairs of layers. ``layer`` with ``sparsity``:
    curves by sparsity, of the same layer of two models. ``layer`` alone: a
    line by layer. ``alpha``: a line between two models. ``component``: curves of variance.
    ``layer`` and ``head``: a grid of heads. ``matrix``: a map by matrix and layer.

    Args:
        rows: rows of ``Measure.rows``, or of a table of ``fairseq-lottery analyze``.
        page: size of the figures; 16 cm and 9 points by default.
        techniques: name -> title of the techniques, in their order; by default as in the rows.
    """
    rows = labelled_rows(rows)
    scene = Scene(techniques or _techniques(rows), page or size("16cm", 9))
    return list(figures_of(Sweep(rows, _measures_of(rows)), scene))


def _measures_of(rows: Sequence[Row]) -> dict[str, MeasureRecord]:
    """Return the titles of measures; rows of commands may have names that are not registered."""
    known = registered_measures()
    records = {}
    for name in dict.fromkeys(str(row["measure"]) for row in rows):
        one = known.get(name)
        if one is None:
            records[name] = MeasureRecord(name, "others", "")
        else:
            records[name] = MeasureRecord(one.title, one.command, one.over, *one.limits)
    return records


def write_plots(rows: Sequence[Row], folder: Union[str, Path], page: Optional[Size] = None) -> None:
    """Write the figures of ``plot`` into a folder, as PDF, SVG, PNG and CSV."""
    write_figures(Sweep(labelled_rows(rows), _measures_of(rows)), folder, page)


def _techniques(rows: Sequence[Row]) -> dict[str, str]:
    names = dict.fromkeys(str(row["technique"]) for row in rows if "technique" in row)
    return {name: name for name in names if name != DENSE}


def figures_of(sweep: Sweep, scene: Scene) -> Iterator[Drawing]:
    """Yield all figures of a sweep."""
    for _, drawing in figures_by_quantity(sweep, scene):
        yield drawing


def figures_by_quantity(sweep: Sweep, scene: Scene) -> Iterator[tuple[Quantity, Drawing]]:
    """Yield the figures of a sweep, each with the quantity that it shows.

    In a report these are the figures of measures and statistics that are ``in_report``.

    Of roles only the rows are shown that say which heads have or keep them; scores, tests and their
    p-values are in the tables. A statistic ``X-expected`` or ``expected``, by chance, is a line in
    the plots of X or of the measure; deviations by chance are in the tables only.
    """
    roles: dict[tuple[str, str], list[Quantity]] = {}
    singles: dict[str, list[Quantity]] = {}
    every = list(quantities(sweep))
    chances = {(one.key, one.relation): one for one in every if one.key[2].endswith(EXPECTED)}
    for quantity in every:
        measure, task, statistic, role, threshold = quantity.key
        if scene.is_report and not sweep.measures[measure].is_in_report(statistic):
            continue
        if measure in _OF_MEASURE:
            singles.setdefault(measure, []).append(quantity)
            continue
        if statistic.endswith((EXPECTED, DEVIATION)):
            continue
        if measure == PROBE and statistic not in (SCORES if quantity.has("sparsity") else SHOWN):
            continue
        own = (f"{statistic}-{EXPECTED}", EXPECTED)
        keys = [((measure, task, name, role, threshold), quantity.relation) for name in own]
        chance = next((chances[key] for key in keys if key in chances), None)
        if role and statistic in (HAS_ROLE, MODELS):
            roles.setdefault((quantity.key[0], quantity.relation), []).append(quantity)
        elif not role and not threshold:
            for drawing in figures_of_quantity(quantity, scene, chance):
                yield quantity, drawing
    for measure, own_quantities in singles.items():
        for drawing in _OF_MEASURE[measure](own_quantities, scene):
            yield own_quantities[0], drawing
    probes = [one for one in every if one.key[0] == PROBE]
    for drawing in probe_figures(probes, scene):
        yield probes[0], drawing
    for of_measure in roles.values():
        for drawing in role_figures(of_measure, scene):
            yield of_measure[0], drawing


def figures_of_quantity(
    quantity: Quantity, scene: Scene, chance: Optional[Quantity] = None
) -> Iterator[Drawing]:
    """Yield all figures of a quantity.

    Args:
        chance: the same quantity by chance.
    """
    drawings: list[Optional[Drawing]] = [
        layer_curves(quantity, scene, chance),
        layer_lines(quantity, scene),
    ]
    if quantity.relation != SEEDS:  # heads and layers of two seeds are not the same ones
        drawings += layer_maps(quantity, scene)
        drawings += [head_maps(quantity, scene)]
        drawings += component_curves(quantity, scene)
    if quantity.relation != TECHNIQUES:
        drawings += [matrix_maps(quantity, scene)]
    yield from (drawing for drawing in drawings if drawing is not None)


def write_figures(
    sweep: Sweep,
    folder: Union[str, Path],
    page: Optional[Size] = None,
    techniques: Optional[Mapping[str, str]] = None,
) -> list[str]:
    """Write the figures of a sweep as PDF, SVG, PNG and CSV, and return their names.

    Raises:
        LotteryError: the folder cannot be written.
    """
    target = Path(folder)
    with writing_in(target):
        target.mkdir(parents=True, exist_ok=True)
    scene = Scene(techniques or _techniques(sweep.rows), page or size("16cm", 9))
    names = []
    for drawing in figures_of(sweep, scene):
        for ending, content in drawing.files.items():
            with replacing(target / f"{drawing.slug}.{ending}") as temporary:
                temporary.write_bytes(content)
        names.append(drawing.slug)
    return names

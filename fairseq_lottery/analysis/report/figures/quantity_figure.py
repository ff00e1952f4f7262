"""``figure``: a plot of a quantity, with its values as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from fairseq_lottery.analysis.report.quantities import Quantity, Scene, summary
from fairseq_lottery.analysis.sweep.tasks import SWEEP_COLUMNS
from fairseq_lottery.report.plots.drawings import FORMATS, Drawing, Size, draw
from fairseq_lottery.report.reading.table_words import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: format of the figures in the pages of a report
PAGE_FORMAT = "svg"


def figure(
    quantity: Quantity, name: str, caption: str, scene: Scene, paint: Callable[[Size], Figure]
) -> Drawing:
    """Return a plot of a quantity as PDF, SVG and PNG (SVG in a report), and its values as CSV.

    Args:
        quantity: the rows that it shows.
        name: end of its file name.
        caption: what it shows; a capital letter is made of its first letter.
        scene: the page.
        paint: returns the plot for a size.
    """
    file = slug("-".join(filter(None, (scene.prefix, quantity.slug, name))))
    formats = (PAGE_FORMAT,) if scene.is_report else FORMATS
    drawing = draw(file, caption[:1].upper() + caption[1:], scene.page, paint, formats)
    return replace(drawing, files={**drawing.files, "csv": values_csv(quantity).encode()})


def values_csv(quantity: Quantity) -> str:
    """Return mean, sample standard deviation and number of the values at each place, as CSV."""
    rows = summary(quantity.rows)
    used = {name for row in rows for name in row}
    columns = [name for name in SWEEP_COLUMNS if name in used] + ["mean", "sd", "count"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

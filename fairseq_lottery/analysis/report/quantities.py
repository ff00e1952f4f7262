"""``Quantity``: the rows of one measure that a figure shows, with a value per cell and place."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.sweep_rows import Sweep
from fairseq_lottery.analysis.sweep.cells import START
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import Size
from fairseq_lottery.report.reading.table_words import percent, slug
from fairseq_lottery.report.tables.score_tables import deviation

#: technique and sparsity; of rows without them, as a single command's, both are empty
Model = tuple[str, float]
#: relations of two models
SEEDS, TECHNIQUES = "seeds", "techniques"
#: columns that name a quantity of a measure
_KEY = ("measure", "task", "statistic", "role", "threshold")
#: columns of places -> the words of a caption
_SHORT = {"enc_self": "enc-self", "dec_self": "dec-self", "enc_dec": "enc-dec"}


#: characters of a line of a panel's title
_TITLE = 14


def wrapped(text: str, longest: int) -> str:
    """Return a text in lines of at most ``longest`` characters, without breaking words."""
    joined = text.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")
    # textwrap splits at ASCII blanks only
    return "\n".join(textwrap.wrap(joined, longest, break_long_words=False, break_on_hyphens=False))


@dataclass(frozen=True)
class Scene:
    """What all figures of a page share.

    Attributes:
        techniques: name -> title in the order of the page, without the dense model.
        page: size of the page.
        prefix: prefix of file names.
        axis: label of an axis of sparsities, and whether it is logarithmic in the density.
        is_report: whether to draw only the figures that a report shows, and only as SVG.
    """

    techniques: Mapping[str, str]
    page: Size
    prefix: str = ""
    axis: tuple[str, bool] = ("sparsity, %", True)
    is_report: bool = False

    def title_of(self, technique: str) -> str:
        """Return the title of a technique."""
        return self.techniques.get(technique, technique)

    def label_of(self, model: Model) -> str:
        """Return the title of a panel for a technique at a sparsity, in short lines."""
        technique, sparsity = model
        title, label = self.title_of(technique), f"{percent(sparsity)} %" if sparsity else ""
        whole = ", ".join(filter(None, (title, label)))
        return whole if len(whole) <= _TITLE else f"{wrapped(title, _TITLE)}\n{label}".strip()


@dataclass(frozen=True)
class Quantity:
    """Rows of one quantity.

    Attributes:
        key: the values of measure, task, statistic, role and threshold, where given.
        title: its name in captions and axes.
        limits: lower and upper end of its values; None where it has no bound.
        relation: empty for one model, else the technique that the models are compared with;
            ``SEEDS`` for two seeds of one technique; ``TECHNIQUES`` for two techniques whose masks
            are compared; or ``START``.
        rows: its rows.
        words: what was recorded; empty for measures of files.
    """

    key: tuple[str, ...]
    title: str
    limits: tuple[Optional[float], Optional[float]]
    relation: str
    rows: Sequence[Row]
    words: str

    @property
    def slug(self) -> str:
        """Start of its file names."""
        return slug("-".join((*self.key, self.relation)))

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, which are shown in percent."""
        return self.limits == (0.0, 1.0)

    @property
    def axis(self) -> str:
        """Label of its axis."""
        return f"{self.title}, %" if self.is_share else self.title

    @property
    def seeds(self) -> list[Any]:
        """All seeds of its rows."""
        return sorted({row["seed"] for row in self.rows if "seed" in row})

    @property
    def about(self) -> str:
        """Sentence part that says of what, on which words and over how many seeds it is."""
        seeds = self.seeds
        compared = {
            "": "",
            SEEDS: " between two seeds of a technique",
            TECHNIQUES: " between two techniques of the same seed",
            START: " between the start and the end of a training",
        }.get(self.relation, f" compared with the {self.relation} model of the same seed")
        over = "one seed" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
        words = f", {self.words}" if self.words else ""
        return f"{self.title}{compared} ({over}{words})" if seeds else f"{self.title}{words}"

    def has(self, *columns: str) -> bool:
        """Return whether a row has all of these columns."""
        return any(all(name in row for name in columns) for row in self.rows)

    def only(self, rows: Iterable[Row]) -> Quantity:
        """Return the quantity with some of its rows."""
        return Quantity(self.key, self.title, self.limits, self.relation, list(rows), self.words)

    def models(self, scene: Scene) -> list[Model]:
        """Return its techniques and sparsities: the dense model, then by sparsity."""
        names = [DENSE, *scene.techniques]
        found = {model_of(row) for row in self.rows}
        return sorted(
            found,
            key=lambda m: (m[1], names.index(m[0]) if m[0] in names else len(names), m[0]),
        )


def model_of(row: Row) -> Model:
    """Return the technique and sparsity of a row."""
    return str(row.get("technique", "")), float(row.get("sparsity", 0.0))


def values_of(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[float]]:
    """Return the values of rows, over seeds, by their model and the given columns."""
    values: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        place = (model_of(row), *(row.get(name) for name in columns))
        values.setdefault(place, []).append(float(row["value"]))
    return values


def mean_of(values: Optional[Sequence[float]]) -> float:
    """Return the mean; NaN without values."""
    return statistics.fmean(values) if values else math.nan


def summary(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return a row per place, with mean, sample standard deviation and number of values."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        place = {k: v for k, v in row.items() if k not in ("seed", "other_seed", "value")}
        groups.setdefault(tuple(place.items()), []).append(float(row["value"]))
    return [
        {
            **dict(place), "mean": mean_of(values), "sd": deviation(values),
            "count": len(values),
        }
        for place, values in groups.items()
    ]  # fmt: skip


def part_text(part: Any) -> str:
    """Return a part of a model in labels."""
    return _SHORT.get(str(part), str(part))


def quantities(sweep: Sweep) -> Iterator[Quantity]:
    """Yield the quantities of a sweep, in the order of its rows."""
    groups: dict[tuple[tuple[str, ...], str], list[Row]] = {}
    for row in sweep.rows:
        groups.setdefault((_key(row), _relation(row, sweep)), []).append(row)
    for (key, relation), rows in groups.items():
        measure = sweep.measures[key[0]]
        title = ", ".join((measure.title, *(text for text in key[1:] if text)))
        words = sweep.words if measure.over in ("activations", "attention") else ""
        yield Quantity(key, title, (measure.low, measure.high), relation, rows, words)


def _key(row: Row) -> tuple[str, ...]:
    threshold = row.get("threshold")
    named = [str(row.get(name, "")) for name in _KEY[:-1]]
    return (*named, "" if threshold is None else f"threshold {threshold:g}")


def _relation(row: Row, sweep: Sweep) -> str:
    if "against" not in row:
        return ""
    if row["against"] == row["technique"]:
        return SEEDS
    has_pairs = sweep.measures[str(row["measure"])].over == "masks"
    return TECHNIQUES if has_pairs and row["against"] != sweep.against else str(row["against"])

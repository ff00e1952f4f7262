"""Tables of scores: rows sparsity or what is closed, columns technique, mean and deviation."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq_lottery.report.reading.groups import Evaluation, Group
from fairseq_lottery.report.reading.plans import METRIC, WEIGHTS
from fairseq_lottery.report.reading.records import DENSE, Score

MISSING = "–"
#: metrics that fairseq's criterions log, which have three decimals
LOSSES = {"loss", "nll_loss", "ppl"}
#: metrics of which less is better; of an extra score this is not known, and nothing depends on it
LOWER_IS_BETTER = {"TER", *LOSSES}
#: columns that fit a page at the usual size
WIDE = 9
SACREBLEU = {"BLEU", "chrF", "TER"}


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        slug: file name without ending.
        caption: what it shows, one sentence or two.
        header, rows: text, ready to print.
        notes: what has to stand below it.
        data: header and rows in full precision for CSV; None where the text is the data.
        prose: whether the cells are words, which stand at the left and may wrap.
    """

    slug: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    data: Optional[tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default=None, repr=False)
    prose: bool = False

    @property
    def wide(self) -> bool:
        """Whether it needs smaller type to fit a page."""
        return len(self.header) > WIDE


def deviation(values: Sequence[float]) -> Optional[float]:
    """The sample standard deviation, None below two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def percent(share: float) -> str:
    """``0.9`` as ``90``, ``0.8926`` as ``89.26``."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".")


def row_label(group: Group, share: float) -> str:
    """The first cell of a row; the dense model, of share 0, keeps all of its metric."""
    return percent(1.0 if group.rows == METRIC and not share else share)


def rows_of(group: Group) -> list[tuple[str, float]]:
    """Technique and sparsity of every cell: the dense model, then row by row."""
    return [(DENSE, 0.0), *((t, s) for s in group.sparsities for t in group.techniques)]


def metric_table(group: Group, key: Evaluation) -> Table:
    """One metric under one evaluation."""
    cells = {cell: group.values(key, *cell) for cell in rows_of(group)}
    most = max(map(len, cells.values()))
    digits = decimals(group.tables[key].values())
    columns = [name for name in group.techniques if any(cells[name, s] for s in group.sparsities)]
    rows, data = [], []
    for sparsity in (0.0, *(group.sparsities if columns else ())):
        found = [cells[name if sparsity else DENSE, sparsity] for name in columns or [DENSE]]
        text = (cell_text(values, most, digits) for values in found)
        rows.append([row_label(group, sparsity), *text])
        data.append([sparsity, *(entry for values in found for entry in _numbers(values))])
    names = columns or [DENSE]
    wide = [f"{name} {part}" for name in names for part in ("mean", "sd", "seeds")]
    return Table(
        slug=group.file(key.slug),
        caption=f"{key.metric} on {key.subset} by {group.words.by} ({key.evaluation}):"
        f" {spread_text(most)}.",
        header=[group.words.axis, *(group.title_of(name) for name in names)],
        rows=rows,
        notes=_notes(group, key, columns),
        data=([group.words.column, *wide], data),
    )


def missing(group: Group, key: Evaluation) -> str:
    """What dashes and smaller numbers of seeds mean, as a sentence; how many cells are missing."""
    absent = group.planned - set(group.tables[key])
    if not absent:
        return f"{MISSING} marks what was not meant to be run."
    have = "has" if len(absent) == 1 else "have"
    return (
        f"{MISSING} marks what has no score: of the {len(group.planned)} cells (technique,"
        f" {group.words.share} and seed) that were meant to be run, {len(absent)} {have} none."
    )


def decimals(scores: Iterable[Score]) -> int:
    """Return 1 for sacreBLEU's metrics and others of 0 to 100, 3 for losses and those around 1."""
    fine = all(
        each.metric in LOSSES or (abs(each.score) <= 1.5 and each.metric not in SACREBLEU)
        for each in scores
    )
    return 3 if fine else 1


def spread_text(most: int) -> str:
    """What the numbers of a table are, by its cells' most seeds."""
    if most < 2:
        return "one seed, so no deviation"
    return f"mean ± sample standard deviation over {most} seeds"


def cell_text(values: Sequence[float], most: int, digits: int) -> str:
    """``26.6 ± 0.2``; cells of fewer seeds than the table's say how many."""
    if not values:
        return MISSING
    text = f"{statistics.fmean(values):.{digits}f}"
    spread = deviation(values)
    if spread is not None:
        text += f" ± {spread:.{digits}f}"
    return text if len(values) == most else f"{text} (n={len(values)})"


def _numbers(values: Sequence[float]) -> list[Any]:
    mean = statistics.fmean(values) if values else None
    return [mean, deviation(values), len(values)]


def signed(group: Group, key: Evaluation) -> str:
    """The metric with its signature."""
    signature = next(iter(group.tables[key].values())).signature
    if signature is None:
        return f"{key.metric}, without a signature"
    return f"{key.metric}, signature `{signature}`"


def _notes(group: Group, key: Evaluation, columns: Sequence[str]) -> list[str]:
    table = group.tables[key]
    notes = [f"{signed(group, key)}."]
    if columns:
        notes.append(f"{row_label(group, 0.0)} % is the dense model, the same for every technique.")
    counts = {s.sentences for s in table.values() if s.sentences is not None}
    if counts:
        notes.append(f"{', '.join(f'{count:,}' for count in sorted(counts))} sentences.")
    notes += _shares(group, table.values())
    if key.metric in LOWER_IS_BETTER:
        notes.append("Less is better.")
    whole = all(group.values(key, name, s) for name in columns for s in group.sparsities)
    if not whole or group.planned - set(table):
        notes.append(missing(group, key))
    return notes


def _shares(group: Group, scores: Iterable[Score]) -> list[str]:
    """What the shares are of, as a sentence; it names techniques where they differ."""
    shares: dict[str, list[str]] = {}
    for score in scores:
        if score.sparsity and score.denominator:
            users = shares.setdefault(_whole(group, score), [])
            if group.title_of(score.technique) not in users:
                users.append(group.title_of(score.technique))
    subject, verb = ("Sparsity", "is") if group.rows == WEIGHTS else ("Shares", "are")
    article = "a share of " if group.rows == WEIGHTS else "of "
    if len(shares) < 2:
        return [f"{subject} {verb} {article}{whole}." for whole in shares]
    parts = "; ".join(f"{share} for {', '.join(users)}" for share, users in shares.items())
    return [f"{subject} {verb} NOT {article}the same {group.words.noun} in all columns: {parts}."]


def _whole(group: Group, score: Score) -> str:
    """``no-embeddings (700 weights)``, ``24 heads``."""
    if group.rows == WEIGHTS:
        size = f" ({score.prunable:,} weights)" if score.prunable else ""
        return f"{score.denominator}{size}"
    return f"{score.prunable:,} {group.words.noun}" if score.prunable else group.words.noun

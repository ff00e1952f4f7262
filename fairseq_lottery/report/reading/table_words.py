"""What cells, rows and tables are called: in sentences, in headings and in names of files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairseq_lottery.records.plan import METRIC, WEIGHTS

#: technique, sparsity, seed
Cell = tuple[str, float, int]

_EVALUATION = re.compile(
    r"(?P<name>best|last|average(?P<count>\d+))(-beam(?P<beam>\d+))?(-lenpen(?P<lenpen>[\d.]+))?"
    r"(-.+)?"
)


@dataclass(frozen=True)
class RowWords:
    """What the rows of a table are called.

    Attributes:
        title: what the techniques prune, in headings.
        column: what rises from row to row.
        by: what a metric is plotted by.
        share, shares: one and several of the numbers.
        noun: what is counted; empty for shares of the metric.
    """

    title: str
    column: str
    by: str
    share: str
    shares: str
    noun: str = ""

    @property
    def axis(self) -> str:
        """The head of a column, and the label of an axis, in percent."""
        return f"{self.column}, %"


def _closed(title: str, noun: str) -> RowWords:
    of = f"of {noun} closed"
    return RowWords(title, f"{noun} closed", f"{noun} left", f"share {of}", f"shares {of}", noun)


_KEPT = "kept of the metric"
WORDS = {
    WEIGHTS: RowWords(
        "pruned weights", "sparsity", "sparsity", "sparsity", "sparsities", "weights"
    ),
    "heads": _closed("attention heads", "heads"),
    "units": _closed("FFN units", "FFN units"),
    "blocks": _closed("FFN blocks", "FFN blocks"),
    METRIC: RowWords("searches", _KEPT, f"share {_KEPT}", f"share {_KEPT}", f"shares {_KEPT}"),
}


@dataclass(frozen=True, order=True)
class Evaluation:
    """What one table is about."""

    subset: str
    evaluation: str
    metric: str

    @property
    def slug(self) -> str:
        """A name for files."""
        return slug(f"{self.metric}-{self.subset}-{self.evaluation}")

    @property
    def words(self) -> str:
        """``best checkpoint, beam 4`` for ``best-beam4-lenpen1``."""
        match = _EVALUATION.fullmatch(self.evaluation)
        if match is None:
            return self.evaluation
        count, beam, lenpen = match["count"], match["beam"], match["lenpen"]
        words = [f"average of {count} checkpoints" if count else f"{match['name']} checkpoint"]
        words += [f"beam {beam}"] if beam else []
        words += [f"length penalty {lenpen}"] if lenpen not in (None, "1") else []
        return ", ".join(words)

    @property
    def title(self) -> str:
        """A heading: metric, test set, and how it was decoded."""
        return f"{self.metric} on {self.subset}: {self.words}"


def slug(text: str) -> str:
    """Letters, digits and hyphens of ``text``, lower case; LaTeX wants no dots in file names."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


def name_of(cell: Cell) -> str:
    """A cell in a sentence."""
    technique, sparsity, seed = cell
    return f"{technique} at {sparsity:.4g}, seed {seed}"


def percent(share: float) -> str:
    """``0.9`` as ``90``, ``0.8926`` as ``89.26``."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".")

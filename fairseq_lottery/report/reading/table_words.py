"""Words for cells, rows and tables in sentences, headings and file names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import METRIC, WEIGHTS

#: technique, sparsity, seed
Cell = tuple[str, float, int]

_EVALUATION = re.compile(
    r"(?P<name>best|last|average(?P<count>\d+))(-beam(?P<beam>\d+))?(-lenpen(?P<lenpen>[\d.]+))?"
    r"(-.+?)?(-by-(?P<rule>.+))?"
)
#: metrics of fairseq's criterions
LOSSES = {"loss", "nll_loss", "ppl"}
SACREBLEU = {"BLEU", "chrF", "TER"}


@dataclass(frozen=True)
class RowWords:
    """Words for the rows of a table.

    Attributes:
        title: what the techniques prune, for headings.
        column: quantity of the rows.
        by: quantity on the x-axis of plots of a metric.
        share, shares: quantity of the rows in sentences, singular and plural.
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
        """Header of a column and label of an axis, in percent."""
        return f"{self.column}, %"


def _pruned(title: str, noun: str) -> RowWords:
    of = f"of {noun} pruned"
    return RowWords(title, f"{noun} pruned", f"{noun} left", f"share {of}", f"shares {of}", noun)


_KEPT = "kept of the metric"
WORDS = {
    WEIGHTS: RowWords(
        "pruned weights", "sparsity", "sparsity", "sparsity", "sparsities", "weights"
    ),
    "heads": _pruned("attention heads", "heads"),
    "units": _pruned("FFN units", "FFN units"),
    "blocks": _pruned("FFN blocks", "FFN blocks"),
    METRIC: RowWords("searches", _KEPT, f"share {_KEPT}", f"share {_KEPT}", f"shares {_KEPT}"),
}


@dataclass(frozen=True, order=True)
class Evaluation:
    """The evaluation and metric of one table.

    Attributes:
        maximise: whether larger scores are better, if the records state it.
    """

    subset: str
    evaluation: str
    metric: str
    maximise: Optional[bool] = field(default=None, compare=False)

    @property
    def lower_is_better(self) -> bool:
        """Whether lower scores are better; of users' metrics this is not known."""
        if self.maximise is not None:
            return not self.maximise
        return self.metric == "TER" or self.metric in LOSSES

    @property
    def slug(self) -> str:
        """Name of its plots and tables in file names."""
        return slug(f"{self.metric}-{self.subset}-{self.evaluation}")

    @property
    def words(self) -> str:
        """Description, such as ``best checkpoint, beam 4`` for ``best-beam4-lenpen1``."""
        match = _EVALUATION.fullmatch(self.evaluation)
        if match is None:
            return self.evaluation
        count, beam, lenpen = match["count"], match["beam"], match["lenpen"]
        words = [f"average of {count} checkpoints" if count else f"{match['name']} checkpoint"]
        words += [f"beam {beam}"] if beam else []
        words += [f"length penalty {lenpen}"] if lenpen not in (None, "1") else []
        words += [f"masks of pairs: {match['rule']}"] if match["rule"] else []
        return ", ".join(words)

    @property
    def title(self) -> str:
        """Heading with metric, test set, and settings of decoding."""
        return f"{self.metric} on {self.subset}: {self.words}"


def slug(text: str) -> str:
    """Return ``text`` in lowercase letters, digits and hyphens, as LaTeX file names require."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


def cell_of(technique: str, sparsity: float, seed: int) -> Cell:
    """Return the cell of a technique at a sparsity; the dense model has sparsity 0."""
    return technique, (0.0 if technique == DENSE else sparsity), seed


def name_of(cell: Cell) -> str:
    """Return the name of a cell in sentences."""
    technique, sparsity, seed = cell
    return f"{technique} at {sparsity:.4g}, seed {seed}"


def percent(share: float) -> str:
    """Return a share in percent: ``90`` for 0.9, ``89.26`` for 0.8926."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".")

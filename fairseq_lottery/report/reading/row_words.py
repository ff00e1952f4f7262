"""What the shares of a table are of, and what tables and plots call them."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_lottery.report.reading.plans import METRIC, WEIGHTS


@dataclass(frozen=True)
class Words:
    """What one kind of rows is called.

    Attributes:
        title: in headings, what the techniques work on.
        column: what rises from row to row.
        by: what a metric is plotted by.
        share, shares: one and several of the numbers.
        noun: what is counted; empty where nothing is.
    """

    title: str
    column: str
    by: str
    share: str
    shares: str
    noun: str

    @property
    def axis(self) -> str:
        """The head of a column, and the label of an axis, in percent."""
        return f"{self.column}, %"


def _closed(title: str, noun: str) -> Words:
    return Words(
        title=title,
        column=f"{noun} closed",
        by=f"{noun} left",
        share=f"share of {noun} closed",
        shares=f"shares of {noun} closed",
        noun=noun,
    )


WORDS = {
    WEIGHTS: Words("pruned weights", "sparsity", "sparsity", "sparsity", "sparsities", "weights"),
    "heads": _closed("attention heads", "heads"),
    "units": _closed("FFN units", "FFN units"),
    "blocks": _closed("FFN blocks", "FFN blocks"),
    METRIC: Words(
        title="searches",
        column="kept of the metric",
        by="share kept of the metric",
        share="share kept of the metric",
        shares="shares kept of the metric",
        noun="",
    ),
}

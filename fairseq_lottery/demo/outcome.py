"""Summarise the demo's report: its table of BLEU and its conclusions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path


def lines(report: Path) -> Iterator[str]:
    """Yield the first table of BLEU, the paragraph of conclusions, and the path of the page.

    Args:
        report: folder of the report.
    """
    blocks = (report / "report.md").read_text(encoding="utf-8").split("\n\n")
    of_bleu = dropwhile(lambda block: not block.startswith("### BLEU"), blocks)
    yield next(block for block in of_bleu if block.startswith("| "))
    yield ""
    yield blocks[blocks.index("## Summary") + 1]
    yield f"The page with plots and tests: {report / 'report.html'}"

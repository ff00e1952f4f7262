"""Summarise a finished demo: the size of its 90 % ticket, its table of BLEU, and conclusions.

--sparse-decode is not mentioned, because a model of the demo's width does not become faster.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

from fairseq_lottery.records.cells import Model, read_records

TECHNIQUE, SPARSITY = "slt", 0.9


def size_lines(runs: Path) -> Iterator[str]:
    """Yield a sentence about the size in a finished demo; nothing without its ticket."""
    from fairseq_lottery.export.checkpoint_forms import export
    from fairseq_lottery.tickets.inspection import inspect_file

    models = [record for record in read_records(runs) if isinstance(record, Model)]
    matches = [m for m in models if (m.technique, m.sparsity) == (TECHNIQUE, SPARSITY)]
    for model in matches[:1]:
        path = runs / model.file
        with tempfile.TemporaryDirectory() as folder:
            compact = Path(folder) / "model.safetensors"
            export(path, compact, "compact")
            sizes = inspect_file(compact)
        yield (
            f"The SLT model of {SPARSITY:.0%}: {sizes['bytes'] / 1e3:.0f} kB as a compact file,"
            f" {sizes['dense_bytes'] / 1e3:.0f} kB dense"
            f" (fairseq-lottery export {path} --to compact --out FILE)."
        )


def report_lines(report: Path) -> Iterator[str]:
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

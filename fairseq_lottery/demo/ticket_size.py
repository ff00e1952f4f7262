"""Size of the model of the demo's 90 % ticket.

--sparse-decode is not mentioned, because a model of the demo's width does not become faster.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

TECHNIQUE, SPARSITY = "slt", 0.9


def lines(runs: Path) -> Iterator[str]:
    """Yield a sentence about the size in a finished demo; nothing without its ticket."""
    rows = map(json.loads, (runs / "records.jsonl").read_text(encoding="utf-8").splitlines())
    models = (row for row in rows if row["kind"] == "model")
    matches = [m for m in models if (m["technique"], m["sparsity"]) == (TECHNIQUE, SPARSITY)]
    for model in matches[:1]:
        yield _size(runs / model["file"])


def _size(path: Path) -> str:
    from fairseq_lottery.export.checkpoint_forms import export
    from fairseq_lottery.tickets.inspection import inspect_file

    with tempfile.TemporaryDirectory() as folder:
        compact = Path(folder) / "model.safetensors"
        export(path, compact, "compact")
        sizes = inspect_file(compact)
    return (
        f"The SLT model of {SPARSITY:.0%}: {sizes['bytes'] / 1e3:.0f} kB as a compact file,"
        f" {sizes['dense_bytes'] / 1e3:.0f} kB dense"
        f" (fairseq-lottery export {path} --to compact --out FILE)."
    )

"""How small the model of the demo's 90 % ticket is.

Nothing is said of --sparse-decode: on a model of the demo's width it gains nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

TECHNIQUE, SPARSITY = "slt", 0.9


def lines(runs: Path) -> Iterator[str]:
    """Yield a sentence for a reader about a finished demo; none without its ticket."""
    rows = map(json.loads, (runs / "records.jsonl").read_text(encoding="utf-8").splitlines())
    models = (row for row in rows if row["kind"] == "model")
    found = [m for m in models if (m["technique"], m["sparsity"]) == (TECHNIQUE, SPARSITY)]
    for model in found[:1]:
        yield _size(runs / model["file"])


def _size(path: Path) -> str:
    from fairseq_lottery.export.checkpoint_forms import export
    from fairseq_lottery.tickets.inspection import inspect_file

    with tempfile.TemporaryDirectory() as folder:
        compact = Path(folder) / "model.safetensors"
        export(path, compact, "compact")
        found = inspect_file(compact)
    return (
        f"The SLT model of {SPARSITY:.0%}: {found['bytes'] / 1e3:.0f} kB as a compact file,"
        f" {found['dense_bytes'] / 1e3:.0f} kB dense"
        f" (fairseq-lottery export {path} --to compact --out FILE)."
    )

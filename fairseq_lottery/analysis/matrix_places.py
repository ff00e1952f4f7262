"""``matrix_place``: side, layer and short name of a Transformer's matrix."""

from __future__ import annotations

import re
from typing import Optional

_MATRIX = re.compile(
    r"^(enc|dec)oder\.layers\.(\d{1,4})\.(?:(self|encoder)_attn\.(q|k|v|out)_proj|fc(\d))\.weight$"
)
#: short names, in the order of tables and maps
MATRICES = (
    *(f"{name} {part}" for name in ("self", "cross") for part in ("q", "k", "v", "out")),
    "fc1", "fc2",
)  # fmt: skip


def matrix_place(name: str) -> Optional[tuple[str, int, str]]:
    """Return side, layer from 1, and short name of a matrix; None for embeddings and others."""
    match = _MATRIX.match(name)
    if match is None:
        return None
    side, layer, attention, part, fc = match.groups()
    kind = f"fc{fc}" if fc else f"{'cross' if attention == 'encoder' else 'self'} {part}"
    return side, int(layer) + 1, kind

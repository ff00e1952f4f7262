"""What the steps of ``fairseq-lottery heads`` say of what they have made."""

import argparse
from typing import Any

from fairseq_lottery import __version__
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.score_table import grid


def record_of(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Return how a file was made: the step and its flags, but not where it was written."""
    left_out = ("run", "command", "debug", "out", "overwrite", "json")
    said = {k: v for k, v in vars(args).items() if k not in left_out and v is not None}
    return {**said, **more, "version": __version__}


def show(path: object, parts: Parts) -> None:
    """Print how many parts are closed, and which heads."""
    counts = (f"{parts.count_closed(k)} of {parts.count(k)} {k}" for k in KINDS)
    print(f"{path}: {', '.join(counts)} closed")
    print(*grid(parts["heads"]), sep="\n")

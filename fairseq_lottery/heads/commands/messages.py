"""Records and messages of the steps of ``fairseq-lottery heads``."""

import argparse
from typing import Any

from fairseq_lottery import __version__
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.score_table import grid

#: argument -> its key in records
_STORED = {"components": "parts"}
#: arguments that do not change the content of a file
_NOT_STORED = ("run", "command", "debug", "out", "overwrite", "json")


def record_of(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Return the record of a file: the arguments of its step, ``more`` entries and the version."""
    given = {k: v for k, v in vars(args).items() if k not in _NOT_STORED and v is not None}
    flags = {_STORED.get(name, name): value for name, value in given.items()}
    return {**flags, **more, "version": __version__}


def show(path: object, components: ComponentMask) -> None:
    """Print how many components are pruned, and which heads."""
    counts = (f"{components.count_pruned(k)} of {components.count(k)} {k}" for k in KINDS)
    print(f"{path}: {', '.join(counts)} pruned")
    print(*grid(components["heads"]), sep="\n")

"""Lottery tickets and magnitude pruning for fairseq translation.

The package is its own ``--user-dir``: if fairseq is already loaded, importing the package
registers its optimizers, tasks and criteria. Elsewhere (the command, a notebook) fairseq is
not imported, so ``fairseq_lottery.masks`` and ``fairseq_lottery.tickets`` work on any
``torch.nn.Module``. The public names are those in ``__all__`` of the rooms: see docs/api.md.
"""

import sys

__all__ = ["__version__"]

__version__ = "0.1.0"

if "fairseq" in sys.modules:
    import fairseq_lottery.plugin  # noqa: F401

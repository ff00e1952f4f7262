"""Lottery tickets and magnitude pruning for fairseq translation.

The package is its own ``--user-dir``: where fairseq is already loaded, importing the
package registers its optimizers, task and criterion. Elsewhere (the command, a notebook)
nothing of fairseq is imported, so that ``fairseq_lottery.masks`` and
``fairseq_lottery.tickets`` work on any ``torch.nn.Module``.
"""

import sys

__version__ = "0.1.0"

if "fairseq" in sys.modules:
    import fairseq_lottery.plugin  # noqa: F401

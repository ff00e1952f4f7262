"""Techniques of one training that is sparse from its start, or whose mask changes during it."""

from __future__ import annotations

from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import SCOPE
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary


def _prune(v: Vocabulary, scope: str, **settings: Any) -> Cells:
    """Yield one training from scratch for each row.

    Args:
        settings: fields of ``PruningSchedule``; None for those of the configuration.
    """
    SCOPE.refuse_unknown(scope)
    given = {name: value for name, value in settings.items() if value is not None}
    for sparsity in v.sparsities:
        yield sparsity, v.prune(sparsity, scope=scope, **given)


def _refuse_share(name: str, value: Optional[float]) -> None:
    if value is not None and not (isinstance(value, float) and 0 < value <= 1):
        raise LotteryError(f"{name}: {value!r} is not a share in (0, 1]; 0.3 exchanges 30 %")


@technique("dense-longer", "dense, whole budget", has_dense_row=True)
def dense_longer(v: Vocabulary) -> Cells:
    """Train the dense model for the whole ``budget``, as a control of longer techniques."""
    yield 0.0, v.dense


@technique("static", "static random mask")
def static_random_mask(v: Vocabulary, scope: str = "layer") -> Cells:
    """Train from scratch under a random mask that never changes, as a control of regrowth."""
    return _prune(v, scope, score="random", schedule="one-shot", start=0, end=0)


@technique("set", "SET")
def sparse_evolutionary(
    v: Vocabulary, scope: str = "layer", fraction: Optional[float] = None
) -> Cells:
    """Exchange small weights for random ones at constant sparsity (Mocanu et al. 2018)."""
    _refuse_share("fraction", fraction)
    return _prune(v, scope, pruner="set", start=0, fraction=fraction)

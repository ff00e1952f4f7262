"""Running total of a training's floating-point operations, over all its processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from torch import nn

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.masks import Mask
from fairseq_lottery.training.flops import FlopCounter, Flops, batches_of

_KEYS = ("lottery_flops", "lottery_sparse_flops")


class FlopTotal:
    """Operations of a training from its first update on.

    fairseq adds up the logging outputs of all processes, so each process logs the operations of
    its own batches.

    Args:
        model: the model without wrappers.
        adapter: adapter of its task.
        stored: result of ``state`` in the checkpoint that the run resumes from; None for a new run.

    Attributes:
        total: operations so far; None if the training began without counting.
    """

    def __init__(
        self, model: nn.Module, adapter: TaskAdapter, stored: Optional[Mapping[str, Any]]
    ) -> None:
        self._counter = FlopCounter(model, adapter)
        self.total: Optional[Flops] = Flops()
        if stored is not None:
            counted = stored.get("flops")
            self.total = Flops(counted["dense"], counted["sparse"]) if counted else None

    def logged(
        self, sample: Optional[Mapping[str, Any]], mask: Optional[Mask], dense_gradients: bool
    ) -> dict[str, float]:
        """Return entries for the logging output of one process.

        Args:
            sample: batch of the process, or its parts by pairs of languages.
            mask: mask of the model; None without one.
            dense_gradients: whether gradients of pruned weights are computed as well.
        """
        counts = [self._counter.count(b, mask, dense_gradients) for b in batches_of(sample)]
        flops = sum(counts, Flops())
        return dict(zip(_KEYS, (flops.dense, flops.sparse)))

    def add(self, logging_outputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Add the operations of all processes; return the logging outputs without them."""
        if self.total is not None:
            dense, sparse = (
                sum(float(output.get(key, 0.0)) for output in logging_outputs) for key in _KEYS
            )
            self.total += Flops(dense, sparse)
        return [{k: v for k, v in output.items() if k not in _KEYS} for output in logging_outputs]

    def state(self) -> dict[str, Any]:
        """Return the entry for checkpoints; empty if the total is not known."""
        if self.total is None:
            return {}
        return {"flops": {"dense": self.total.dense, "sparse": self.total.sparse}}

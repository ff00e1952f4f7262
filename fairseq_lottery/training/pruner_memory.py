"""``PrunerMemory``: what a run remembers between pruning steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Optional

from torch import Tensor, nn

from fairseq_lottery.compat import divided_twice
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.masks import Mask, PrunerInput, find_score, score_all
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.training.exploration import Exploration
from fairseq_lottery.training.optimizers import MasterTensors, find_masked
from fairseq_lottery.training.pruned_values import PrunedValues
from fairseq_lottery.training.pruning_steps import GRADIENTS, PruningSteps


class PrunerMemory:
    """Weights at the start, summed gradients, values of pruned weights and explored weights.

    Each is kept only if the pruner or its score reads it.

    Args:
        steps: pruning steps of the run.
        mask: first mask of the run.
        stored: state of the run in the checkpoint that it starts from; empty without one.
        is_same_run: whether it resumes the run of the checkpoint.
        is_rewound: whether it starts at a later update than 0, from a ticket.

    Attributes:
        exploration: weights that were ever kept, if the pruner regrows; None for others.
    """

    def __init__(
        self,
        steps: PruningSteps,
        mask: Mask,
        stored: Mapping[str, Any],
        is_same_run: bool,
        is_rewound: bool,
    ) -> None:
        self._steps, self._is_same_run = steps, is_same_run
        self._tensors: Optional[MasterTensors] = None
        #: fp32 weights at the start of training
        self._start_weights: dict[str, Tensor] = {}
        if steps.needs_start:
            weights = stored.get("start_weights") or {}
            self._start_weights = {name: weight.clone() for name, weight in weights.items()}
        self._values: Optional[PrunedValues] = None
        #: entries of ``PrunedValues.stored`` in the checkpoint, until the optimizer is bound
        self._stored_values: dict[str, Any] = {}
        if steps.pruner.keeps_values:
            entries = ["pruned_values", *(() if steps.begins else ("learned",))]
            # copied, because the run will overwrite the memory-mapped checkpoint
            self._stored_values = copy.deepcopy({n: stored[n] for n in entries if n in stored})
        self.exploration: Optional[Exploration] = None
        if not steps.pruner.only_shrinks:
            self.exploration = Exploration.restore(stored if is_same_run else {}, mask)
            if is_rewound:
                self.exploration = Exploration(mask)  # for the checkpoint written at the start

    def state(self, mask: Mask) -> dict[str, Any]:
        """Return the state for checkpoints, as plain tensors and numbers."""
        values = self._stored_values if self._values is None else self._values.stored(mask)
        return {
            **({"start_weights": self._start_weights} if self._start_weights else {}),
            **values,
            **({"explored": self.exploration.state()} if self.exploration is not None else {}),
        }

    def bind(self, optimizer: Any, tensors: MasterTensors, mask: Mask, update: int) -> None:
        """Begin to remember, after ``update`` updates and before ``mask`` is enforced.

        Args:
            optimizer: optimizer of the trainer, which is or wraps a masked one.
            tensors: its tensors.
        """
        self._optimizer, self._masked, self._tensors = optimizer, find_masked(optimizer), tensors
        if self._steps.needs_start and not self._start_weights:
            views = tensors.views
            self._start_weights = {name: views[name].float().cpu().clone() for name in mask}
        if self._steps.keeps_values(update):
            self._values = PrunedValues(self._steps.pruner, tensors, mask, self._stored_values)
        self._stored_values = {}
        self.before_update(update)

    def before_update(self, update: int) -> None:
        """Sum gradients of update ``update`` + 1, and let the pruner learn, if they need it."""
        if self._steps.sums_gradients(update):
            self._masked.accumulate_gradients("dense_gradient" in self._steps.needs)
        else:
            self._masked.stop_accumulating()
        scores = self._values.scores if self._values is not None else None
        if scores is None:
            return

        def learn(factor: float) -> None:
            with one_sentence():
                self._steps.learn(scores, update + 1, factor * divided_twice(self._optimizer))

        self._masked.before_step = learn

    def after_update(self, update: int) -> None:
        """Forget what no pruning step after ``update`` needs."""
        if not self._steps.sums_gradients(update):
            self._masked.stop_accumulating()
        if not self._steps.keeps_values(update):
            self._values = self._masked.before_step = None

    def change(self, before: Mask, after: Mask, models: Sequence[nn.Module]) -> None:
        """Adapt to a new mask, before it is enforced.

        Args:
            before: current mask.
            after: new mask.
            models: the model and its EMA, whose regrown weights get their values back.
        """
        if self._values is not None:
            self._values.change(before, after, models)
        if self.exploration is not None:
            self.exploration.include(after)
        for total in self._masked.summed_gradients or []:
            total.zero_()

    def begin_exploration(self, before: Mask, mask: Mask, is_dense_at_first: bool) -> None:
        """Start to record explored weights, at the first mask of a pruner that regrows.

        Args:
            before: mask until now, under which this run may have been trained.
            mask: first mask of the pruner.
            is_dense_at_first: whether the run had no mask when it started.
        """
        if self._steps.pruner.only_shrinks or self.exploration is not None:
            return
        self.exploration = Exploration(mask)
        if self._is_same_run:
            shapes = {name: tuple(keep.shape) for name, keep in before.items()}
            full = Mask.full(shapes, before.protected)
            self.exploration.include(full if is_dense_at_first else before)

    def pruner_input(self, update: int, mask: Mask, is_first: bool) -> PrunerInput:
        """Return the input of the pruner after ``update`` updates.

        Args:
            mask: current mask.
            is_first: whether this is before the first update, when there are no gradients.
        """
        assert self._tensors is not None
        steps, views, values = self._steps, self._tensors.views, self._values
        weights = values.weights if values is not None else views
        gradients: Optional[Mapping[str, Tensor]] = None
        dense: Optional[Mapping[str, Tensor]] = None
        sums = self._masked.summed_gradients
        if is_first and steps.needs & GRADIENTS:
            gradients = LazyTensors(partial(_refuse_gradients, update), mask)
            dense = gradients if "dense_gradient" in steps.needs else None
        elif sums is not None:
            gradients = self._tensors.by_name(sums)
            if "dense_gradient" in steps.needs:
                sums_of = dense = gradients
                gradients = LazyTensors(lambda n: sums_of[n] * mask[n].to(sums_of[n].device), mask)
        start: Optional[Mapping[str, Tensor]] = None
        if steps.needs_start:
            start_weights = self._start_weights
            start = LazyTensors(lambda n: start_weights[n].to(views[n].device, copy=True), mask)
        scores = score_all(
            find_score(steps.score)[0],
            LazyTensors(lambda name: weights[name], mask),
            start=start,
            gradients=gradients,
            seed=steps.seed,
        )
        return PrunerInput(
            update=update,
            mask=mask,
            weights=LazyTensors(lambda n: weights[n].float().clone(), mask),
            scores=scores,
            scope=steps.scope,
            seed=steps.seed,
            gradients=gradients,
            dense_gradients=dense,
            start=start,
            learned=values.scores.tensors if values is not None and values.scores else None,
        )


def _refuse_gradients(update: int, name: str) -> Tensor:
    raise LotteryError(
        f"gradients of {name} are read at update {update}, before the first backward pass; read"
        " them only in next_mask"
    )

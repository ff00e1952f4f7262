"""How the mask of a run changes: its pruner, and what the pruner reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import (
    Mask,
    Pruner,
    PrunerInput,
    find_score,
    has_sparsity,
    needed_by,
    score_all,
    store_pruner,
)
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.options import Scope
from fairseq_lottery.training.optimizers import MasterTensors

#: needs that the optimizer sums gradients for
GRADIENTS = frozenset({"gradient", "dense_gradient"})


@dataclass(frozen=True)
class PruningSteps:
    """How the mask of a run changes.

    Attributes:
        name: the value of ``--pruner``.
        pruner: what changes the mask.
        score, scope, seed: of the run's options.
        needs: what the pruner and the score read beside weights.
        begins: whether pruning begins with this start of the training.
    """

    name: str
    pruner: Pruner
    score: str
    scope: Scope
    seed: int
    needs: frozenset[str]
    begins: bool

    @property
    def needs_start(self) -> bool:
        """Whether the pruner reads the weights that the training started from."""
        return "start" in self.pruner.needs

    def stored(self) -> dict[str, Any]:
        """The pruner as a checkpoint stores it now."""
        return store_pruner(self.name, self.pruner)

    def asks(self, question: Callable[[int], bool], update: int) -> bool:
        """Return what ``question``, a method of the pruner, answers for ``update``."""
        return bool(self._call(question, update, update))

    def sums_gradients(self, update: int) -> bool:
        """Whether gradients are summed from ``update`` on, for the pruner or the score."""
        return bool(self.needs & GRADIENTS) and not self.ends_dense_sums(update)

    def ends_dense_sums(self, update: int) -> bool:
        """Whether no later change of the mask reads sums of gradients of pruned weights."""
        return "dense_gradient" in self.needs and not self.asks(self.pruner.is_active, update)

    def sparsity_due(self, update: int) -> Optional[float]:
        """Return the sparsity that the pruner says its mask has; None if it is not fixed."""
        due = self._call(self.pruner.sparsity_at, update, update)
        if due is not None and not (isinstance(due, (int, float)) and 0 <= due <= 1):
            raise LotteryError(
                f"pruner {self.name} at update {update} has the sparsity {due!r}, expected a share"
                " or None"
            )
        return due

    def refuse_start(self, mask: Mask, update: int) -> None:
        """Refuse a run that starts at ``update`` with ``mask`` where the pruner cannot begin."""
        if not hasattr(self.pruner, "initial"):
            due = self.sparsity_due(update)
            if mask.pruned and due is not None and not has_sparsity(mask, due):
                raise LotteryError(
                    f"--pruner {self.name} starts at sparsity {due:g}, and the run starts at"
                    f" {_shortest(mask)}; set --prune-to to the sparsity that this mask was drawn"
                    " or pruned to"
                )
        if self.pruner.start < update:
            raise LotteryError(
                f"--prune-start {self.pruner.start} lies before update {update}, where the run"
                " starts; start pruning there or later"
            )
        if self.needs & GRADIENTS and self.asks(self.pruner.is_due, update):
            of_score = "gradient" in needed_by(find_score(self.score)[0])
            raise LotteryError(
                f"{f'--score {self.score}' if of_score else f'--pruner {self.name}'} needs"
                f" gradients, and there are none at update {update}, where pruning starts; set"
                f" --prune-start to {update + 1} or later"
            )

    def changed_mask(self, change: Callable[[PrunerInput], Mask], given: PrunerInput) -> Mask:
        """Return what ``change``, a method of the pruner, makes of ``given.mask``.

        Raises:
            LotteryError: it fails, or breaks what the pruner says of its masks.
        """
        where = f"pruner {self.name} at update {given.update}"
        mask = self._call(change, given, given.update)
        # a mask before the first step of a schedule that rises may be uneven over matrices
        if mask is given.mask and hasattr(self.pruner, "initial"):
            return mask
        if not isinstance(mask, Mask):
            raise LotteryError(f"{where} returned a {type(mask).__name__}, expected a Mask")
        if _matrices(mask) != _matrices(given.mask):
            raise LotteryError(f"{where} returned a mask of other matrices")
        due = self.sparsity_due(given.update)
        if due is not None and not has_sparsity(mask, due):
            raise LotteryError(
                f"{where} returned a mask with {mask.pruned} of {mask.prunable} weights pruned,"
                f" expected sparsity {due:g}"
            )
        if self.pruner.only_shrinks and not mask.is_subset_of(given.mask):
            raise LotteryError(f"{where} regrew weights; set its only_shrinks to False")
        return mask

    def _call(self, method: Callable[[Any], Any], argument: Any, update: int) -> Any:
        """Call a method of the pruner; what a user's own raises becomes a sentence."""
        try:
            return method(argument)
        except LotteryError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's pruner raises whatever it likes
            raise LotteryError(
                f"pruner {self.name} at update {update} failed with {type(error).__name__}: {error}"
            ) from error

    def pruner_input(
        self,
        update: int,
        mask: Mask,
        tensors: MasterTensors,
        sums: Optional[list[Tensor]],
        start_weights: Mapping[str, Tensor],
        is_first: bool,
    ) -> PrunerInput:
        """What the pruner may read after ``update`` updates.

        Args:
            sums: gradients, laid out as ``tensors.own``; None where none are summed.
            start_weights: empty unless the pruner needs them.
            is_first: before the first update of this pruner, when there are no gradients.
        """
        views = tensors.views
        gradients: Optional[Mapping[str, Tensor]] = None
        dense: Optional[Mapping[str, Tensor]] = None
        if sums is not None:
            gradients = tensors.by_name(sums)
            if is_first:
                gradients = LazyTensors(partial(_refuse_gradients, update), mask)
            if "dense_gradient" in self.needs:
                found = dense = gradients
                gradients = LazyTensors(lambda n: found[n] * mask[n].to(found[n].device), mask)
        start: Optional[Mapping[str, Tensor]] = None
        if self.needs_start:
            start = LazyTensors(lambda n: start_weights[n].to(views[n].device, copy=True), mask)
        scores = score_all(
            find_score(self.score)[0],
            {name: views[name] for name in mask},
            start=start,
            gradients=gradients,
            seed=self.seed,
        )
        return PrunerInput(
            update=update,
            mask=mask,
            weights=LazyTensors(lambda n: views[n].float().clone(), mask),
            scores=scores,
            scope=self.scope,
            seed=self.seed,
            gradients=gradients,
            dense_gradients=dense,
            start=start,
        )


def _matrices(mask: Mask) -> tuple[dict[str, Any], dict[str, int]]:
    return {name: keep.shape for name, keep in mask.items()}, mask.protected


def _shortest(mask: Mask) -> str:
    """Return the sparsity of a mask with as few digits as say it to the weight."""
    texts = (f"{mask.sparsity:.{digits}g}" for digits in range(2, 18))
    return next(text for text in texts if has_sparsity(mask, float(text)))


def _refuse_gradients(update: int, name: str) -> Tensor:
    raise LotteryError(
        f"gradients of {name} are read at update {update}, before the first backward pass; read"
        " them in next_mask only"
    )

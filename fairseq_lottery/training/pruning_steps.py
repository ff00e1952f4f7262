"""Pruning steps of a run: its pruner, and the rules that a pruner has to obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import (
    Mask,
    Pruner,
    PrunerInput,
    find_score,
    has_sparsity,
    needed_by,
    store_pruner,
)
from fairseq_lottery.masks.pruners import DEFAULT_PRUNER, Gradual
from fairseq_lottery.options import Scope, ScoreBatches
from fairseq_lottery.saliency import SALIENCIES
from fairseq_lottery.training.learned_scores import LearnedScores

#: needs for which the optimizer sums gradients
GRADIENTS = frozenset({"gradient", "dense_gradient"})


@dataclass(frozen=True)
class PruningSteps:
    """Pruning steps of a run.

    Attributes:
        name: value of ``--pruner``.
        pruner: pruner that changes the mask.
        score, scope, seed, rounds, batches: values of the run's options.
        needs: inputs of pruner and score besides weights.
        begins: whether the pruner starts now, not resumed from a checkpoint.
    """

    name: str
    pruner: Pruner
    score: str
    scope: Scope
    seed: int
    needs: frozenset[str]
    begins: bool
    rounds: Optional[int] = None
    batches: int = ScoreBatches.score_batches

    @property
    def needs_start(self) -> bool:
        """Whether the pruner reads the weights at the start of training."""
        return "start" in self.pruner.needs

    def stored(self) -> dict[str, Any]:
        """Return the state of the pruner for a checkpoint."""
        return store_pruner(self.name, self.pruner)

    def check(self, predicate: Callable[[int], bool], update: int) -> bool:
        """Return the value of ``predicate``, a method of the pruner, at ``update``."""
        return bool(self._call(predicate, update, update))

    def sums_gradients(self, update: int) -> bool:
        """Return whether pruner or score require the gradient of the update after ``update``.

        Gradients of pruned weights, and those of scores in ``SALIENCIES``, are summed only as long
        as the mask changes. Gradients of other scores have always been summed until the end, and
        checkpoints contain the sums.
        """
        if not self.needs & GRADIENTS:
            return False
        are_dropped = "dense_gradient" in self.needs or self.score in SALIENCIES
        is_over = are_dropped and not self.check(self.pruner.is_active, update)
        return not is_over and self.check(self.pruner.sums_gradient_of, update + 1)

    def scores_start(self, update: int) -> bool:
        """Return whether a step before the first update ranks weights by a score of saliency."""
        if self.score not in SALIENCIES or not isinstance(self.pruner, Gradual):
            return False
        return self.check(self.pruner.is_due, update)

    def keeps_values(self, update: int) -> bool:
        """Return whether a pruning step after ``update`` needs the values of pruned weights."""
        return self.pruner.keeps_values and self.check(self.pruner.is_active, update)

    def sparsity_due(self, update: int) -> Optional[float]:
        """Return the sparsity that the pruner declares for ``update``; None if not fixed."""
        due = self._call(self.pruner.sparsity_at, update, update)
        if due is not None and not (isinstance(due, (int, float)) and 0 <= due <= 1):
            raise LotteryError(
                f"pruner {self.name} at update {update} has the sparsity {due!r}, expected a share"
                " or None"
            )
        return due

    def refuse_start(self, mask: Mask, update: int) -> None:
        """Refuse a pruner that cannot begin at ``update`` with ``mask``."""
        if not hasattr(self.pruner, "initial"):
            due = self.sparsity_due(update)
            if mask.pruned and due is not None and not has_sparsity(mask, due):
                raise LotteryError(
                    f"--pruner {self.name} starts at sparsity {due:g}, but the run starts at"
                    f" {_shortest(mask)}; set --prune-to to the sparsity of the run's mask"
                )
        if self.pruner.start < update:
            raise LotteryError(
                f"--prune-start {self.pruner.start} is before update {update}, where the run"
                f" starts; use at least {update}"
            )
        if self.score in SALIENCIES:
            self._refuse_late_ranks(update)
        learns = bool(self.needs & GRADIENTS or self.pruner.learned)
        is_due = self.check(self.pruner.is_due, update)
        if learns and is_due and not self.scores_start(update):
            of_score = "gradient" in needed_by(find_score(self.score)[0])
            raise LotteryError(
                f"{f'--score {self.score}' if of_score else f'--pruner {self.name}'} needs"
                f" gradients, but there are none at update {update}, where pruning starts; set"
                f" --prune-start to {update + 1} or later"
            )

    def _refuse_late_ranks(self, update: int) -> None:
        """Refuse a score that ranks weights before the first update only in later steps."""
        if SALIENCIES[self.score].ranks_later:
            return
        is_once = isinstance(self.pruner, Gradual) and self.pruner.schedule == "one-shot"
        if not is_once or self.pruner.start != update:
            raise LotteryError(
                f"--score {self.score} ranks weights only before the first update; give --pruner"
                f" {DEFAULT_PRUNER} --prune-schedule one-shot --prune-start {update}"
            )

    def change_mask(self, change: Callable[[PrunerInput], Mask], state: PrunerInput) -> Mask:
        """Return the mask that ``change``, a method of the pruner, makes of ``state.mask``.

        Raises:
            LotteryError: the method fails, or its mask breaks what the pruner declares.
        """
        where = f"pruner {self.name} at update {state.update}"
        mask = self._call(change, state, state.update)
        # before the first step of a schedule, the mask may be uneven over matrices
        if mask is state.mask and hasattr(self.pruner, "initial"):
            return mask
        if not isinstance(mask, Mask):
            raise LotteryError(f"{where} returned a {type(mask).__name__}, expected a Mask")
        if _matrices(mask) != _matrices(state.mask):
            raise LotteryError(f"{where} returned a mask of other matrices; keep names and shapes")
        due = self.sparsity_due(state.update)
        if due is not None and not has_sparsity(mask, due):
            raise LotteryError(
                f"{where} returned a mask with {mask.pruned} of {mask.prunable} weights pruned,"
                f" expected sparsity {due:g}"
            )
        if self.pruner.only_shrinks and not mask.is_subset_of(state.mask):
            raise LotteryError(f"{where} regrew weights; set its only_shrinks to False")
        return mask

    def learn(self, scores: LearnedScores, update: int, factor: float) -> None:
        """Let the pruner learn its scores before update ``update``."""
        self._call(lambda number: scores.learn(number, factor), update, update)

    def _call(self, method: Callable[[Any], Any], argument: Any, update: int) -> Any:
        """Call a method of the pruner; turn errors of a user's pruner into LotteryError."""
        try:
            return method(argument)
        except LotteryError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's pruner raises any error
            raise LotteryError(
                f"pruner {self.name} at update {update} failed with {type(error).__name__}: {error}"
            ) from error


def _matrices(mask: Mask) -> tuple[dict[str, Any], dict[str, int]]:
    return {name: keep.shape for name, keep in mask.items()}, mask.protected


def _shortest(mask: Mask) -> str:
    """Return the sparsity of a mask with the fewest digits that determine it exactly."""
    texts = (f"{mask.sparsity:.{digits}g}" for digits in range(2, 18))
    return next(text for text in texts if has_sparsity(mask, float(text)))

"""fairseq's label-smoothed cross-entropy under gates that learn which components to prune."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Optional

from fairseq.logging import metrics

from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy, refuse_inner_norm
from fairseq_lottery.heads.components.open_count import parse_open_count
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.gates.hard_concrete import LearnedGates
from fairseq_lottery.heads.gates.learned_gates import read_gates
from fairseq_lottery.training.criterions import LabelSmoothedCrossEntropyLottery
from fairseq_lottery.training.start.provenance import refuse_other_value

logger = logging.getLogger(__name__)


class LabelSmoothedCrossEntropyGates(LabelSmoothedCrossEntropyLottery):
    """The loss plus a penalty for open gates (Voita et al. 2019), in training.

    Start from a converged model (``--finetune-from-model``). The gates are parameters of this
    criterion, so a checkpoint stores them next to a model of the usual shape;
    ``fairseq-lottery heads importance --measure gates`` reads them. Validation in training applies
    the gates in their evaluation form, without the penalty. ``fairseq-validate`` does not load the
    state of a criterion, so it validates the model without gates.
    """

    #: only while training
    gates: LearnedGates

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
        open_heads: Optional[str] = None,
        open_units: Optional[str] = None,
        open_blocks: Optional[str] = None,
        gate_anneal: int = 1000,
    ) -> None:
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        counts = dict(zip(KINDS, (open_heads, open_units, open_blocks)))
        with one_sentence():
            if not hasattr(task, "run"):
                raise LotteryError(
                    "learned gates require --task translation_lottery; for other tasks choose"
                    " --criterion label_smoothed_cross_entropy"
                )
        self._run: Any = task.run
        run = self._run
        if run is None:
            logger.info("gates apply in training only: this is the loss of the model without gates")
            return
        with one_sentence():
            anatomy = Anatomy.of(run.shapes, run.architecture)
            # hydra parses a plugin's settings before it knows their types: 24 is a number there
            targets = {
                kind: parse_open_count(str(text), kind, anatomy.count(kind))
                for kind, text in counts.items()
                if text is not None
            }
            if {"units", "blocks"} & set(targets):
                refuse_inner_norm(anatomy.units, run.shapes)
            self.gates = LearnedGates(anatomy, targets, gate_anneal)
            run.call_after_updates(self.gates.advance)
            if run.restored is not None:
                _refuse_mismatch(self.gates, run.restored)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        """Compute fairseq's loss under the gates; in training add the penalty for each token."""
        if self._run is None:
            return super().forward(model, sample, reduce)
        gates = Gates(self._run.model, self.gates.anatomy)
        gates.values.update(self.gates.values())
        with gates.attached():
            loss, size, logged = super().forward(model, sample, reduce)
        for kind in self.gates.targets:
            metrics.log_scalar(f"open_{kind}", self.gates.expected(kind), priority=1000, round=2)
        if self.training:
            loss = loss + size * self.gates.penalty().to(loss.dtype)
        return loss, size, logged

    def load_state_dict(self, state_dict: Optional[Mapping[str, Any]], strict: bool = True) -> Any:
        """Load the gates; a checkpoint of a training without gates does not change them.

        The constructor has validated the state: the run resumes from that checkpoint.
        """
        if not state_dict:
            return None
        return super().load_state_dict(state_dict, strict)


def _refuse_mismatch(gates: LearnedGates, restored: Any) -> None:
    """Refuse to resume from a checkpoint without gates, or with gates of another run.

    A run that only loads the weights (``--finetune-from-model``) may have other targets, and the
    checkpoint needs no gates.
    """
    path = restored.path
    try:
        stored = read_gates(restored.criterion, gates.anatomy)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}; resume from another checkpoint of the run") from None
    if stored is None:
        if restored.keeps_counter:
            raise LotteryError(
                f"{path} has no gates, so gates cannot resume with the state of its optimizer;"
                " start from it with --finetune-from-model and another --save-dir"
            )
        return
    if set(stored.theta) != set(gates.targets):
        learned, requested = (" and ".join(kinds) for kinds in (stored.theta, gates.targets))
        raise LotteryError(
            f"{path} has gates of {learned}, but the flags request gates of {requested}; choose"
            " another --save-dir, or start from a model without gates"
        )
    if stored.targets is None or not (restored.keeps_counter or restored.is_same_run):
        return
    for kind, target in gates.targets.items():
        if stored.targets[kind] != target:
            refuse_other_value(restored, f"--open-{kind}", stored.targets[kind], target)
    if stored.anneal != gates.anneal:
        refuse_other_value(restored, "--gate-anneal", stored.anneal, gates.anneal)

"""fairseq's label-smoothed cross-entropy under gates that learn which parts to close."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Optional

from fairseq.logging import metrics

from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy, refuse_inner_norm
from fairseq_lottery.heads.components.open_targets import open_parts
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.gates.hard_concrete import LearnedGates
from fairseq_lottery.heads.gates.learned_gates import learned_in
from fairseq_lottery.training.criterions import LabelSmoothedCrossEntropyLottery

logger = logging.getLogger(__name__)


class LabelSmoothedCrossEntropyGates(LabelSmoothedCrossEntropyLottery):
    """The loss plus a penalty for gates that are open (Voita et al. 2019), while training.

    Start from a converged model (``--finetune-from-model``). The gates are parameters of this
    criterion, so checkpoints hold them beside a model of the usual shape;
    ``fairseq-lottery heads importance --measure gates`` reads them. Validation is under the gates
    as they have settled, without the penalty; that of ``fairseq-validate``, which hands no
    criterion its state, is of the whole model.
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
        asked = dict(zip(KINDS, (open_heads, open_units, open_blocks)))
        with one_sentence():
            if not hasattr(task, "run"):
                raise LotteryError(
                    "gates learn while training with --task translation_lottery; elsewhere take"
                    " --criterion label_smoothed_cross_entropy"
                )
        self._run: Any = task.run
        run = self._run
        if run is None:
            logger.info("no gates outside of a training: the loss is that of the whole model")
            return
        with one_sentence():
            anatomy = Anatomy.of(run.shapes, run.architecture)
            # hydra reads a plugin's settings before it knows their types: 24 is a number there
            targets = {
                kind: open_parts(str(text), kind, sum(anatomy.sizes[kind].values()))
                for kind, text in asked.items()
                if text is not None
            }
            if {"units", "blocks"} & set(targets):
                refuse_inner_norm(anatomy.units, run.shapes)
            self.gates = LearnedGates(anatomy, targets, gate_anneal)
            run.call_after_updates(self.gates.advance)
            if run.restored is not None:
                _refuse_other(self.gates, run.restored)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        """As fairseq's, under the gates; in training the penalty counts once for each token."""
        if self._run is None:
            return super().forward(model, sample, reduce)
        acting = Gates(self._run.model, self.gates.anatomy)
        acting.values.update(self.gates.values())
        with acting.attached():
            loss, size, logged = super().forward(model, sample, reduce)
        for kind in self.gates.targets:
            metrics.log_scalar(f"open_{kind}", self.gates.expected(kind), priority=1000, round=2)
        if self.training:
            loss = loss + size * self.gates.penalty().to(loss.dtype)
        return loss, size, logged

    def load_state_dict(self, state_dict: Optional[Mapping[str, Any]], strict: bool = True) -> Any:
        """As a module's; a checkpoint of a training without gates leaves them as they are.

        That it is right is known: it is in the checkpoint that the run was built to go on from.
        """
        if not state_dict:
            return None
        return super().load_state_dict(state_dict, strict)


def _refuse_other(gates: LearnedGates, restored: Any) -> None:
    """Refuse to go on from a checkpoint whose gates are none, or those of another run.

    A run that only takes the weights (``--finetune-from-model``) may have other targets, or none
    to go on from.
    """
    path = restored.path
    try:
        found = learned_in(restored.criterion, gates.anatomy)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}; go on from another checkpoint of the run") from None
    if found is None:
        if restored.counts_on:
            raise LotteryError(
                f"{path} has no gates, and its optimizer would go on as if they had been learned;"
                " start from it with --finetune-from-model and another --save-dir"
            )
        return
    if set(found.theta) != set(gates.targets):
        learned, asked = (" and ".join(kinds) for kinds in (found.theta, gates.targets))
        raise LotteryError(
            f"{path} has gates of {learned}, and those asked for are of {asked}; choose another"
            " --save-dir, or start from a model without gates"
        )
    if found.targets is None or not (restored.counts_on or restored.same_run):
        return
    for kind, target in gates.targets.items():
        if found.targets[kind] != target:
            restored.refuse_flag(f"--open-{kind}", found.targets[kind], target)
    if found.anneal != gates.anneal:
        restored.refuse_flag("--gate-anneal", found.anneal, gates.anneal)

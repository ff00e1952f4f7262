"""The words that techniques are told in: dense, ticket, train, prune, iterate, learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Prunable, Ranking, options, values
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import (
    ComponentChoice,
    Draw,
    PruningSchedule,
    Training,
    Weights,
)

#: what comes after pruning heads or FFN units
THEN = ("zero-shot", "fine-tune", "rewind", "scratch")


def open_share(pruned: float) -> str:
    """What gates leave open of a kind, as their criterion's flags take it: ``30%`` for 0.7."""
    return f"{100 * (1 - pruned):.6g}%"


@dataclass(frozen=True)
class Vocabulary:
    """What a technique may say, for one seed: the keys of a configuration, and the dense run.

    Attributes:
        rewind: the update t that survivors go back to.
        rewind_source: ``latest``: t of the run that was just pruned, as in Brix et al. 2020;
            ``dense``: always of the dense run, as in Frankle et al. 2019.
    """

    dense: Training
    sparsities: tuple[float, ...]
    rounds: tuple[float, ...]
    rewind: int
    rewind_source: str
    update_counter: str
    pruning: PruningSchedule

    @property
    def judged_on(self) -> str:
        """The subset that choices are made on, the first one of validation."""
        return self.dense.flags.valid_subset

    @property
    def _axes(self) -> dict[str, Any]:
        return values(self.pruning, Ranking, Prunable)

    def ticket(
        self,
        run: Training,
        sparsity: Optional[float] = None,
        back: Optional[Weights] = None,
        **axes: Any,
    ) -> Draw:
        """Draw from the last weights of ``run``; survivors go back to ``back``, or to t.

        ``takes_mask=True`` takes the mask of ``run`` itself and needs no sparsity.
        """
        source = run if self.rewind_source == "latest" else self.dense
        return Draw(
            mask_from=run,
            start=back or source.at(self.rewind),
            sparsity=run.sparsity if sparsity is None else sparsity,
            **{**self._axes, "update_counter": self.update_counter, **axes},
        )

    def train(
        self, ticket: Draw, flags: Optional[Flags] = None, updates: Optional[int] = None
    ) -> Training:
        """Train a ticket as the dense run was trained, or with other flags, or for so long."""
        run = replace(self.dense, flags=flags or self.dense.flags, ticket=ticket, adopted=None)
        if updates is None:
            return run
        return replace(run, flags=run.flags.plus("--max-update", updates), updates=updates)

    def prune(self, sparsity: float, ticket: Optional[Draw] = None) -> Training:
        """Train, from scratch or from a ticket, while the sparsity increases to ``sparsity``."""
        start = max(self.pruning.start, ticket.first_update if ticket else 0)
        if start >= self.pruning.end and self.pruning.schedule != "one-shot":
            raise LotteryError(f"pruning would start at update {start}, where it has to be over")
        pruning = replace(self.pruning, sparsity=sparsity, start=start)
        return replace(self.dense, ticket=ticket, pruning=pruning, adopted=None)

    def iterate(
        self,
        run: Training,
        rounds: Sequence[float],
        back_to: Optional[int] = None,
        **axes: Any,
    ) -> Iterator[tuple[float, Training]]:
        """Prune the latest run, reset, train, once per round."""
        for sparsity in rounds:
            source = run if self.rewind_source == "latest" else self.dense
            update = self.rewind if back_to is None else back_to
            run = self.train(self.ticket(run, sparsity, source.at(update), **axes))
            yield sparsity, run

    def prune_components(
        self,
        choice: ComponentChoice,
        then: str,
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        sparsity: float = 0.0,
    ) -> Training:
        """Prune heads or FFN units, or what a search does, and train, or not.

        Args:
            choice: what is pruned, and of which run: the dense one, or one whose gates learned.
            then: one of ``THEN``: judge that run as it is; train its survivors on at a small
                constant rate; take those of the dense run back to t; or start from new weights.
            updates: of the training, if there is one and not of the dense run's length.
            lr: the constant rate of ``fine-tune``, see ``at_constant_rate``.
            sparsity: share of the weights of what stays open that is pruned besides.
        """
        if then not in THEN:
            raise LotteryError(f"there is no then {then!r}; choose one of {', '.join(THEN)}")
        if Pattern.parse(self.pruning.scope):
            what = "heads and FFN units are pruned whole"
            if choice.kind == "weights":
                what = "m-pruning takes the smallest weights of all"
            raise LotteryError(
                f"{what}, and scope: {self.pruning.scope} keeps some weights of every row; leave"
                " scope out"
            )
        if sparsity and then == "zero-shot":
            raise LotteryError(
                "zero-shot judges a model as it is, and sparsity is of a ticket that is trained;"
                " leave it out, or let fine-tune, rewind or scratch follow"
            )
        reset = {"rewind": "rewind", "scratch": "random"}.get(then, "keep")
        axes: dict[str, Any] = {"components": choice}
        if choice.kind == "weights":  # whose mask is found, however others are drawn
            axes |= {one.name: one.default for one in options(Ranking, Prunable)}
        if reset == "keep":
            ticket = self._kept(choice.of, sparsity, **axes)
        else:
            back = self.dense.at(self.rewind)
            ticket = self.ticket(self.dense, sparsity, back, reset=reset, **axes)
        if then == "zero-shot":
            return self.train(ticket, updates=0)
        flags = self.at_constant_rate(lr) if then == "fine-tune" else None
        return self.train(ticket, flags, updates)

    def learn(self, kind: str, pruned: float, updates: Optional[int] = None) -> Training:
        """Train the dense run's last weights on under gates, until a share of them is closed.

        The number of open gates falls over the first half (Voita et al. 2019, section 5.2).
        """
        half = (self.dense.updates if updates is None else updates) // 2
        flags = self.dense.flags.plus(
            *("--criterion", "label_smoothed_cross_entropy_gates"),
            *(f"--open-{kind}", open_share(pruned), "--gate-anneal", max(1, half)),
        )
        return self.train(self._kept(self.dense), flags, updates)

    def _kept(self, run: Training, sparsity: float = 0.0, **axes: Any) -> Draw:
        """Return the last weights of a run, to continue from; t only sets the update counter."""
        back = run.at(run.updates if self.update_counter == "restart" else self.rewind)
        return self.ticket(run, sparsity, back, reset="keep", **axes)

    def at_constant_rate(self, rate: Optional[float] = None) -> Flags:
        """The flags of the dense run with a constant learning rate: its last one, or ``rate``.

        Raises:
            LotteryError: the last rate is not known for this scheduler.
        """
        flags = self.dense.flags
        if rate is not None and not isinstance(rate, (int, float)):
            raise LotteryError(f"the rate of fine-tune is a number, not {rate!r}; 1e-4 is 1.0e-4")
        if rate is None:
            warmup = flags.number("--warmup-updates", 4000)
            peak = flags.number("--lr", 0.25)
            if flags.get("--lr-scheduler") != "inverse_sqrt" or not warmup or not peak:
                raise LotteryError(
                    "fine-tune knows the last learning rate of --lr-scheduler inverse_sqrt only;"
                    " write fine-tune: {lr: RATE}"
                )
            rate = peak * math.sqrt(warmup / self.dense.updates)
        scheduled = ("--warmup-updates", "--warmup-init-lr", "--lr", "--lr-scheduler")
        return flags.without(scheduled).plus("--lr", f"{rate:.6g}", "--lr-scheduler", "fixed")

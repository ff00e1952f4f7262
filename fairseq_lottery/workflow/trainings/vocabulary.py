"""Building blocks of techniques: dense, ticket, train, prune, iterate, learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Prunable, Ranking, options, values
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import Training, Weights

#: (data set, technique) -> (sparsity, training)
PlanOf = Callable[[str, str], Iterator[tuple[float, Training]]]

#: flags of fairseq's schedulers of the learning rate; each scheduler rejects those of the others
_SCHEDULED = (
    *("--lr", "--lr-scheduler", "--warmup-updates", "--warmup-init-lr", "--total-num-update"),
    *("--end-learning-rate", "--power", "--force-anneal", "--min-lr", "--max-lr", "--t-mult"),
    *("--lr-period-updates", "--lr-shrink", "--shrink-min", "--lr-threshold", "--lr-patience"),
    *("--lr-deacy-period", "--lr-decay", "--warmup-steps", "--hold-steps", "--decay-steps"),
    *("--phase-ratio", "--init-lr-scale", "--final-lr-scale"),
)

#: training after components are pruned
THEN = ("zero-shot", "fine-tune", "rewind", "scratch")


def open_share(pruned: float) -> str:
    """Return the share of open gates as a flag of the gates' criterion: ``30%`` for 0.7."""
    return f"{100 * (1 - pruned):.6g}%"


@dataclass(frozen=True)
class Vocabulary:
    """Building blocks of the techniques for one seed of a configuration.

    Attributes:
        dense: the dense training.
        rewind: the update t that survivors are reset to.
        later_rewinds: sparsities in increasing order, each with the t of draws from there on.
        rewind_source: run whose update t is used: ``latest`` for the run that was just pruned
            (Brix et al. 2020), or ``dense`` for the dense run (Frankle et al. 2019).
        plan_of: (data set, technique) -> the trainings of that technique on that data set.
        metric: metric of the task that searches keep a share of; empty for exp(-loss).
    """

    dense: Training
    sparsities: tuple[float, ...]
    rounds: tuple[float, ...]
    rewind: int
    rewind_source: str
    update_counter: str
    pruning: PruningSchedule
    later_rewinds: tuple[tuple[float, int], ...] = ()
    plan_of: Optional[PlanOf] = None
    metric: str = ""

    @property
    def pretrained(self) -> Weights:
        """Pre-trained weights of the configuration.

        Raises:
            LotteryError: it has none.
        """
        if not self.dense.is_fine_tuning:
            raise LotteryError("requires pre-trained weights; write pretrained: FILE")
        assert self.dense.ticket is not None
        return self.dense.ticket.start

    def rewind_at(self, sparsity: float) -> int:
        """Return the update t of draws at a sparsity."""
        updates = [self.rewind, *(t for start, t in self.later_rewinds if sparsity >= start)]
        return updates[-1]

    def weights_at(self, run: Training, update: int) -> Weights:
        """Return the weights at an update of ``run``, or of the latest run before it that has them.

        A run whose update counter was rewound to a later update does not have them.
        """
        source = run if self.rewind_source == "latest" else self.dense
        while source.first_update > update and source.ticket is not None:
            source = source.ticket.mask_from
        return source.at(update)

    @property
    def selection_subset(self) -> str:
        """Subset that components are selected on: the first subset of ``--valid-subset``."""
        return self.dense.flags.valid_subset

    def ticket(
        self,
        run: Training,
        sparsity: Optional[float] = None,
        back: Optional[Weights] = None,
        **axes: Any,
    ) -> Draw:
        """Describe a ticket drawn from the last weights of ``run``.

        Args:
            sparsity: sparsity of the ticket, by default that of ``run``.
            back: weights that survivors are reset to, by default those of update t.
            axes: options of the draw; ``takes_mask=True`` reuses the mask of ``run``.
        """
        configured = values(self.pruning, Ranking, Prunable)
        sparsity = run.sparsity if sparsity is None else sparsity
        return Draw(
            mask_from=run,
            start=back or self.weights_at(run, self.rewind_at(sparsity)),
            sparsity=sparsity,
            **{**configured, "update_counter": self.update_counter, **axes},
        )

    def train(
        self, ticket: Draw, flags: Optional[Flags] = None, updates: Optional[int] = None
    ) -> Training:
        """Describe a training of a ticket, by default with the flags of the dense run."""
        run = replace(self.dense, flags=flags or self.dense.flags, ticket=ticket, adopted=None)
        if updates is None:
            return run
        return replace(run, flags=run.flags.plus("--max-update", updates), updates=updates)

    def prune(self, sparsity: float, ticket: Optional[Draw] = None, **settings: Any) -> Training:
        """Describe a training, of a ticket or from scratch, during which a pruner prunes.

        Args:
            settings: fields of ``PruningSchedule`` that differ from the configuration.
        """
        pruning = replace(self.pruning, **settings)
        start, end = max(pruning.start, ticket.first_update if ticket else 0), pruning.end
        if start >= end and pruning.schedule != "one-shot":
            raise LotteryError(f"pruning would start at update {start}, expected before {end}")
        pruning = replace(pruning, sparsity=sparsity, start=start)
        return replace(self.dense, ticket=ticket, pruning=pruning, adopted=None)

    def prune_untrained(self, sparsity: float, **axes: Any) -> Training:
        """Describe the dense run's model with a mask and without any training under it.

        Args:
            axes: options of the draw.
        """
        last = self.dense.at(self.dense.updates)
        ticket = self.ticket(self.dense, sparsity, last, **{**axes, "reset": "keep"})
        return self.train(replace(ticket, update_counter="restart"), updates=0)

    def iterate(
        self,
        run: Training,
        rounds: Sequence[float],
        back_to: Optional[int] = None,
        **axes: Any,
    ) -> Iterator[tuple[float, Training]]:
        """Yield one training per round, whose ticket is drawn from the training before it."""
        for sparsity in rounds:
            update = self.rewind_at(sparsity) if back_to is None else back_to
            run = self.train(self.ticket(run, sparsity, self.weights_at(run, update), **axes))
            yield sparsity, run

    def prune_components(
        self,
        choice: ComponentChoice,
        then: str,
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        sparsity: float = 0.0,
    ) -> Training:
        """Prune components, or the weights that a search finds, and train the rest.

        Args:
            choice: the components, and the run that they are selected in.
            then: ``zero-shot`` evaluates the pruned run without training; ``fine-tune`` continues
                it at a small constant rate; ``rewind`` resets survivors to update t of the dense
                run; ``scratch`` starts from new weights.
            updates: length of the training, by default that of the dense run.
            lr: the constant rate of ``fine-tune``, see ``at_constant_rate``.
            sparsity: share of the weights of kept components that is pruned as well.
        """
        if then not in THEN:
            raise LotteryError(f"then: {then!r} is unknown; choose one of {', '.join(THEN)}")
        if Pattern.parse(self.pruning.scope):
            pruned = "heads and FFN units are pruned completely"
            if choice.kind == "weights":
                pruned = "m-pruning ranks the weights of all matrices together"
            raise LotteryError(
                f"scope: {self.pruning.scope} keeps some weights of every row, but {pruned}; omit"
                " scope"
            )
        if sparsity and then == "zero-shot":
            raise LotteryError(
                "sparsity requires a training, and then: zero-shot has none; omit sparsity, or"
                " choose fine-tune, rewind or scratch"
            )
        reset = {"rewind": "rewind", "scratch": "random"}.get(then, "keep")
        axes: dict[str, Any] = {"components": choice}
        if choice.kind == "weights":  # the search finds the mask, so nothing is ranked
            axes |= {option.name: option.default for option in options(Ranking, Prunable)}
        if reset == "keep":
            ticket = self.continued(choice.of, sparsity, **axes)
        else:
            back = self.dense.at(self.rewind_at(sparsity))
            ticket = self.ticket(self.dense, sparsity, back, reset=reset, **axes)
        if then == "zero-shot":
            return self.train(ticket, updates=0)
        flags = self.at_constant_rate(lr) if then == "fine-tune" else None
        return self.train(ticket, flags, updates)

    def learn(self, kind: str, pruned: float, updates: Optional[int] = None) -> Training:
        """Continue the dense run under gates of a kind, until a share of them is closed.

        The number of open gates decreases in the first half (Voita et al. 2019, section 5.2).
        """
        half = (self.dense.updates if updates is None else updates) // 2
        flags = self.dense.flags.plus(
            *("--criterion", "label_smoothed_cross_entropy_gates"),
            *(f"--open-{kind}", open_share(pruned), "--gate-anneal", max(1, half)),
        )
        return self.train(self.continued(self.dense), flags, updates)

    def continued(self, run: Training, sparsity: float = 0.0, **axes: Any) -> Draw:
        """Describe a ticket of the last weights of a run; t only sets the update counter."""
        is_restarted = self.update_counter == "restart"
        back = run.at(run.updates if is_restarted else self.rewind_at(sparsity))
        return self.ticket(run, sparsity, back, reset="keep", **axes)

    def at_constant_rate(self, rate: Optional[float] = None) -> Flags:
        """Return the dense run's flags with the constant learning rate ``rate``, or its last rate.

        Raises:
            LotteryError: the last rate is not known for this scheduler.
        """
        flags = self.dense.flags
        if rate is not None and not (type(rate) in (int, float) and rate > 0):
            raise LotteryError(f"lr: {rate!r} is not a positive number; write 1e-4 as 1.0e-4")
        if rate is None:
            warmup = flags.number("--warmup-updates", 4000)
            peak = flags.number("--lr", 0.25)
            scheduler = flags.get("--lr-scheduler")
            if scheduler != "inverse_sqrt" or not warmup or not peak:
                raise LotteryError(
                    f"the last learning rate of --lr-scheduler {scheduler} is unknown; give"
                    " the technique its rate, as lr: RATE"
                )
            rate = peak * math.sqrt(warmup / self.dense.updates)
        return flags.without(_SCHEDULED).plus("--lr", f"{rate:.6g}", "--lr-scheduler", "fixed")

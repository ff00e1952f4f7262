"""Which heads or FFN units a training's ticket closes: a question to ``fairseq-lottery heads``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from fairseq_lottery.workflow.trainings.training import Training

#: how parts are found: each by a strategy, step by step with importance estimated anew, or in the
#: three phases of Prasanna et al. 2020
WAYS = ("choose", "steps", "phases")
#: what a search leaves, each of the same size
SUBNETWORKS = ("good", "random", "bad")
#: strategies of ``heads choose`` that take a share; those that rank come first
RANKING = ("lowest", "highest")
STRATEGIES = (
    *RANKING,
    *("random", "random-per-type", "top", "bottom", "middle", "spare-middle", "alternate"),
    *("apart", "types"),
)
MEASURES = ("gradient", "confidence", "gates", "l1", "l2", "adaprune")
PER = ("token", "sentence", "batch")


@dataclass(frozen=True)
class Closing:
    """The parts that are closed before a training starts.

    Attributes:
        of: the training whose last model is looked at.
        kind: ``heads``, ``units`` or ``blocks``; in phases heads and blocks are closed.
        share: of the parts of the kind that is closed; in phases the share of the full model's
            metric, exp(-loss), that has to be left.
        way: one of ``WAYS``.
        strategy: one of ``STRATEGIES``, or of ``SUBNETWORKS`` where it is a search.
        measure: what ranks parts, one of ``MEASURES``; None where nothing does.
        per: one of ``PER``, for gradients.
        normalise: divide scores by their norm over a layer.
        types: only these, as ``enc_self``, with commas.
        at_least: parts of each module that stay open.
    """

    of: Training
    kind: str
    share: float
    way: str = "choose"
    strategy: str = "lowest"
    measure: Optional[str] = None
    per: str = "sentence"
    normalise: bool = False
    types: Optional[str] = None
    at_least: int = 0

    @property
    def label(self) -> str:
        """For a reader, as ``heads-lowest-0.5``."""
        kind = "s" if self.way == "phases" else self.kind
        how = "gates" if self.measure == "gates" else self.strategy
        return f"{kind}-{how}-{self.share:g}"

    @property
    def scores(self) -> str:
        """The name of what ranks, as ``gradient-sentence``."""
        per = f"-{self.per}" if self.measure == "gradient" else ""
        return f"{self.measure}{per}{'-normalised' * self.normalise}"

    @property
    def content(self) -> dict[str, Any]:
        """All that decides what is closed."""
        own = {n: getattr(self, n) for n in self.__dataclass_fields__ if n != "of"}
        return {**own, "of": self.of.fingerprint}

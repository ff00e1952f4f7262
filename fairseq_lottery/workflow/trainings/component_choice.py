"""``ComponentChoice``: heads, FFN units or weights that are pruned before a training starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.options import Gradients

if TYPE_CHECKING:
    from fairseq_lottery.workflow.trainings.training import Training


@dataclass(frozen=True)
class ComponentChoice:
    """The components that are pruned before a training starts, or the weights that a search prunes.

    Attributes:
        of: training; the components are selected in its last model.
        kind: ``heads``, ``units`` or ``blocks`` (in phases heads and blocks); or ``weights``.
        share: share of the components of the kind that is pruned; for a search, the share of the
            full model's metric exp(-loss) at which it stops.
        way: ``choose`` by a strategy, in ``steps`` with importance estimated again in each, or
            as Prasanna et al. 2020 in three ``phases`` or by ``magnitude``.
        strategy: strategy of ``heads choose``, or the subnetwork of a search.
        types: the order of ``heads choose --types``, with commas; empty for the default order.
        measure, per, normalise: flags of ``heads importance``; a measure of None ranks nothing.
        at_least: minimum number of components that each module keeps.
        metric: metric of the task at whose share a search stops; empty for exp(-loss).
    """

    of: Training
    kind: str
    share: float
    way: str = "choose"
    strategy: str = "lowest"
    measure: Optional[str] = None
    per: str = Gradients.per
    normalise: bool = False
    at_least: int = 0
    subset: str = "valid"
    types: str = ""
    metric: str = ""

    @property
    def label(self) -> str:
        """Name in folders, such as ``heads-lowest-0.5``."""
        strategy = "gates" if self.measure == "gates" else self.strategy
        first_type = f"-{self.types.partition(',')[0]}" if self.types else ""
        return f"{self.family}-{strategy}{first_type}-{self.share:g}"

    @property
    def family(self) -> str:
        """Kind of the components, or ``s`` and ``m`` as Prasanna et al. call their searches."""
        return {"phases": "s", "magnitude": "m"}.get(self.way, self.kind)

    @property
    def share_pruned(self) -> Optional[float]:
        """Share of the kind that is pruned; None if a search finds it."""
        return self.share if self.way in ("choose", "steps") else None

    @property
    def scores(self) -> str:
        """Name of the ranking, such as ``gradient-sentence``."""
        per = f"-{self.per}" if self.measure == "gradient" else ""
        subset = f"-{self.subset}" if self.subset != "valid" else ""
        return f"{self.measure}{per}{'-normalised' * self.normalise}{subset}"

    @property
    def content(self) -> dict[str, Any]:
        """Everything that decides which components are pruned, under stored names."""
        later = ("types", "metric")  # fields since version 1 have no entry if they are empty
        own = {n: getattr(self, n) for n in self.__dataclass_fields__ if n not in ("of", *later)}
        added = {name: getattr(self, name) for name in later if getattr(self, name)}
        # version 1 drew it from the random stream of a random mask
        drawn = {"drawn": 2} if (self.way, self.strategy) == ("magnitude", "random") else {}
        return {**own, **added, **drawn, "of": self.of.fingerprint}

"""The plan: which runs the table needs, and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass

PARTS = {"test": 500, "valid": 200, "train": 20000}
SPARSITIES = (80, 90)

# A ticket method is how weights are ranked and what the survivors start from.
TICKETS = {
    "SLT": ("--score", "magnitude", "--reset", "rewind"),
    "sign-only": ("--score", "magnitude", "--reset", "sign"),
    "random mask": ("--score", "random", "--reset", "rewind"),
}
PRUNING = "magnitude pruning"
METHODS = ("SLT", "sign-only", PRUNING, "random mask")


@dataclass(frozen=True)
class Recipe:
    """What every training of the demo shares."""

    seed: int = 1
    vocabulary: int = 1000
    layers: int = 2
    width: int = 64
    ffn: int = 128
    heads: int = 4
    rate: float = 0.007
    warmup: int = 150
    tokens: int = 600
    updates: int = 1400
    beam: int = 4

    @property
    def rewind(self) -> int:
        """Update t that survivors go back to: a tenth of the training."""
        return self.updates // 10


@dataclass(frozen=True)
class Run:
    """One training: a method at a sparsity in percent, and the run it is drawn from."""

    method: str = "dense"
    sparsity: int = 0
    parent: str = ""

    @property
    def name(self) -> str:
        """The name of its files."""
        method = self.method.lower().replace(" ", "-")
        return f"{method}-{self.sparsity}" if self.sparsity else method


def runs() -> tuple[Run, ...]:
    """Every run, parents first.

    Tickets are drawn in rounds, as in Brix et al. (2020): the second mask ranks the weights
    of the first sparse run, and its survivors go back to that run's update t. The random
    mask gets the same rounds; pruning while training needs one training per sparsity.
    """
    found = [Run()]
    parents = dict.fromkeys(TICKETS, "dense")
    for sparsity in SPARSITIES:
        for method in METHODS:
            run = Run(method, sparsity, parents.get(method, ""))
            found.append(run)
            if method in parents:
                parents[method] = run.name
    return tuple(found)

"""The graph of pending stages: who waits for whom, and whose way is longest."""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_lottery.workflow.planning.stage import Stage


def after(stage: Stage, pending: Sequence[Stage]) -> list[str]:
    """Names of the pending stages whose files a stage reads."""
    needs = set(stage.needs)
    return [other.name for other in pending if needs & set(other.leaves)]


def updates_ahead(pending: Sequence[Stage]) -> dict[str, int]:
    """Stage -> updates on the longest way from its start to the end: the first to be started."""
    ahead: dict[str, int] = {}
    for stage in reversed(pending):
        leaves = set(stage.leaves)
        behind = [ahead[other.name] for other in pending
                  if other.name in ahead and leaves & set(other.needs)]  # fmt: skip
        own = stage.facts["updates"] if stage.kind == "train" else 1
        ahead[stage.name] = own + max(behind, default=0)
    return ahead

"""The graph of pending stages: their dependencies and the longest chains."""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_lottery.records.plan import Stage


def find_dependencies(pending: Sequence[Stage]) -> dict[str, list[str]]:
    """Map each stage to the pending stages whose files it reads, in order."""
    writers: dict[str, list[int]] = {}
    for number, stage in enumerate(pending):
        for file in set(stage.leaves):
            writers.setdefault(file, []).append(number)
    return {
        stage.name: [
            pending[number].name
            for number in sorted({n for file in stage.needs for n in writers.get(file, ())})
        ]
        for stage in pending
    }


def updates_ahead(pending: Sequence[Stage]) -> dict[str, int]:
    """Map each stage to the updates of the longest chain that it starts, its priority."""
    before = find_dependencies(pending)
    ahead = {
        stage.name: stage.facts["updates"] if stage.kind == "train" else 1 for stage in pending
    }
    own = dict(ahead)
    for stage in reversed(pending):
        for name in before[stage.name]:
            ahead[name] = max(ahead[name], own[name] + ahead[stage.name])
    return ahead

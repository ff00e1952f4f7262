"""The graph of pending stages: who waits for whom, and whose way is longest."""

from __future__ import annotations

from collections.abc import Sequence

from fairseq_lottery.records.plan import Stage


def waits(pending: Sequence[Stage]) -> dict[str, list[str]]:
    """Stage -> names of the pending stages whose files it reads, in their order."""
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
    """Stage -> updates on the longest way from its start to the end: the first to be started."""
    before = waits(pending)
    ahead = {
        stage.name: stage.facts["updates"] if stage.kind == "train" else 1 for stage in pending
    }
    own = dict(ahead)
    for stage in reversed(pending):
        for name in before[stage.name]:
            ahead[name] = max(ahead[name], own[name] + ahead[stage.name])
    return ahead

"""The number of training updates behind each cell, from the stages of ``plan.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fairseq_lottery.records.plan import Stage
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell

_SNAPSHOT = re.compile(r"snapshot_(\d{1,15})\.safetensors")


def updates_behind(group: Group) -> dict[Cell, int]:
    """Return cell -> updates of all trainings that it depends on, including its own.

    A training of which only a snapshot is used counts up to the snapshot. Cells are omitted if
    their plan has no stages, as in early versions.
    """
    counts = {
        cell: _updates(group.stages[folder], training)
        for cell, (folder, training) in group.trainings.items()
    }
    return {cell: updates for cell, updates in counts.items() if updates}


def _updates(stages: Sequence[Stage], training: str) -> int:
    makers = {file: stage for stage in stages for file in stage.leaves}
    wanted = [f for stage in stages if stage.folder == training for f in stage.leaves]
    used: dict[str, int] = {}
    done: set[str] = set()
    while wanted:
        file = wanted.pop()
        if file in done or file not in makers:
            continue
        done.add(file)
        stage = makers[file]
        wanted += stage.needs
        snapshot = _SNAPSHOT.fullmatch(file.rpartition("/")[2])
        facts = stage.facts
        last = int(snapshot[1]) if snapshot else facts.get("updates", 0)
        updates = last - facts.get("first_update", 0)
        used[stage.name] = max(updates, used.get(stage.name, 0))
    return sum(used.values())

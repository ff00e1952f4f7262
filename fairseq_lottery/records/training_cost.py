"""Trainings behind a model: its own, and those that its ticket is drawn from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fairseq_lottery.records.plan import Stage

_SNAPSHOT = re.compile(r"snapshot_(\d{1,15})\.safetensors")


def updates_behind(stages: Sequence[Stage], training: str) -> dict[str, int]:
    """Return the name of each stage behind a training -> the updates of it that were used.

    A training of which only a snapshot is used counts up to the snapshot.

    Args:
        stages: all stages of a plan.
        training: folder of a training.
    """
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
        last = int(snapshot[1]) if snapshot else stage.facts.get("updates", 0)
        updates = last - stage.facts.get("first_update", 0)
        used[stage.name] = max(updates, used.get(stage.name, 0))
    return used

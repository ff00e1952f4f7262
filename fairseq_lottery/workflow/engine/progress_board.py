"""Progress of a running workflow: bars on a terminal, else a line per finished stage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.planning.logs import tail


class Board:
    """A progress display that reads the files of stages, on whatever machine they run.

    Attributes:
        progress: the bars, as a context manager that shows them.
    """

    def __init__(self, console: Console) -> None:
        """Create the display on a console."""
        self.console = console
        self.done: set[str] = set()
        self.lines: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            refresh_per_second=2,
            disable=not console.is_terminal,
        )

    def update(self, out: Path, stages: Sequence[Stage]) -> None:
        """Show the changes since the last update."""
        for stage in stages:
            if stage.name in self.done:
                continue
            if (out / stage.record).exists():
                self._finish(stage, len(stages))
            elif stage.kind == "train" and self.console.is_terminal:
                self._advance(stage, out / stage.log)

    def _finish(self, stage: Stage, total: int) -> None:
        self.done.add(stage.name)
        line = self.lines.pop(stage.name, None)
        if line is not None:
            self.progress.remove_task(line)
        self.console.print(
            f"[{len(self.done)}/{max(total, len(self.done))}] {stage.title}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def _advance(self, stage: Stage, log: Path) -> None:
        updates = _updates_so_far(log)
        if updates is None:
            return
        if stage.name not in self.lines:
            total = stage.facts["updates"]
            self.lines[stage.name] = self.progress.add_task(stage.title, total=total, state="")
        state = f"{updates}/{stage.facts['updates']} updates"
        self.progress.update(self.lines[stage.name], completed=updates, state=state)


def _updates_so_far(log: Path) -> int | None:
    """Return the last update in a training's log; None if there is no log."""
    if not log.exists():
        return None
    updates = re.findall(r"num_updates\"?[=:] ?\"?(\d+)", tail(log))
    return int(updates[-1]) if updates else 0

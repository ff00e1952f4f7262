"""What is seen of a running demo: one line a stage, on a terminal or in a log."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fairseq_lottery.demo.stages import Stage


class Board:
    """Lines that move on a terminal; elsewhere a plain line for every finished stage."""

    def __init__(self, console: Console, total: int) -> None:
        """Make a board for ``total`` stages."""
        self.console = console
        self.total = total
        self.shown = 0
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

    def __enter__(self) -> Board:
        """Begin to draw."""
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the lines as they are."""
        self.progress.stop()

    def start(self, stage: Stage) -> None:
        """Show a stage that was started."""
        total = stage.updates or None
        self.lines[stage.name] = self.progress.add_task(stage.title, total=total, state="")

    def advance(self, stage: Stage, updates: int) -> None:
        """Show how many updates a training has behind it."""
        if stage.updates:
            state = f"{updates}/{stage.updates} updates"
            self.progress.update(self.lines[stage.name], completed=updates, state=state)

    def finish(self, stage: Stage, seconds: float) -> None:
        """Show a finished stage."""
        done = stage.updates or 1
        self.progress.update(self.lines[stage.name], total=done, completed=done, state="done")
        self._plain(stage, f"{seconds:.0f} s")

    def skip(self, stage: Stage) -> None:
        """Show a stage that was finished before."""
        line = self.progress.add_task(stage.title, total=1, state="finished before")
        self.progress.update(line, completed=1)  # stops its clock
        self._plain(stage, "finished before")

    def _plain(self, stage: Stage, state: str) -> None:
        self.shown += 1
        if not self.console.is_terminal:
            line = f"[{self.shown}/{self.total}] {stage.title}: {state}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

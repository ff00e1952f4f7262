"""``Results``: the tidy rows of measures, with a record of what they were computed from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from fairseq_lottery import __version__
from fairseq_lottery.analysis.registry import COLUMNS, Row
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.folders import replacing_folder

#: file of a folder of results that has its record
RECORD = "analysis.json"


def as_csv(rows: Sequence[Row], columns: Iterable[str]) -> str:
    """Return rows as comma-separated values, with those of the columns that a row has."""
    used = {name for row in rows for name in row}
    text = io.StringIO()
    names = [name for name in columns if name in used]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@dataclass(frozen=True)
class Results:
    """Rows of one command.

    Attributes:
        command: its name.
        inputs: the files that it read, and the digests of their weights.
        rows: rows with the columns of ``COLUMNS``.
    """

    command: str
    inputs: Mapping[str, Any]
    rows: Sequence[Row]

    def as_csv(self) -> str:
        """Return the rows as comma-separated values."""
        return as_csv(self.rows, COLUMNS)

    def as_json(self) -> str:
        """Return record and rows as JSON."""
        return json.dumps({**self.record, "rows": list(self.rows)})

    @property
    def record(self) -> dict[str, Any]:
        """Return what ``analysis.json`` holds."""
        return {"command": self.command, "inputs": dict(self.inputs), "version": __version__}

    def save(
        self, folder: Union[str, Path], overwrite: bool = False, figures: bool = False
    ) -> None:
        """Write ``COMMAND.csv`` and ``analysis.json`` into a new folder, atomically.

        Args:
            folder: the folder.
            overwrite: replace a folder of results.
            figures: also write ``figures/``: a plot of each measure as PDF, SVG, PNG and CSV.

        Raises:
            LotteryError: the folder exists or cannot be written, or there are no rows.
        """
        if not self.rows:
            raise LotteryError(f"{self.command} has no result; no measure applies to its inputs")
        with replacing_folder(folder, RECORD, overwrite) as (new, _):
            (new / f"{self.command}.csv").write_text(self.as_csv(), encoding="utf-8")
            if figures:
                from fairseq_lottery.analysis.report.figure_files import write_plots

                write_plots(self.rows, new / "figures")
            (new / RECORD).write_text(json.dumps(self.record, indent=2) + "\n", encoding="utf-8")

"""Tables of text cells, written as Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

MISSING = "–"
#: maximum number of columns in normal type
WIDE = 9
_BREAK = ",\\\\"
_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    MISSING: "--",
}


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        slug: file name without suffix.
        caption: one or two sentences.
        header, rows: texts to print.
        notes: notes below the table.
        data: header and rows in full precision for CSV; None if the texts are the data.
        prose: whether the cells are words, which are left-aligned and may wrap.
    """

    slug: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    data: Optional[tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default=None, repr=False)
    prose: bool = False

    @property
    def wide(self) -> bool:
        """Whether the table requires smaller type to fit a page."""
        return len(self.header) > WIDE


def markdown_text(text: str) -> str:
    """Escape a text for Markdown, except code in backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*<\[\]])", r"\\\1", part) for part in parts
    )


def markdown(table: Table) -> str:
    """Return a table as Markdown, without caption and notes; numbers are right-aligned."""
    rule = "---" if table.prose else "---:"
    lines = [table.header, ["---", *(rule for _ in table.header[1:])], *table.rows]
    escaped = [[markdown_text(cell).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


def comma_separated(table: Table) -> str:
    """Return a table as CSV, in full precision if it has ``data``."""
    header, rows = table.data if table.data is not None else (table.header, table.rows)
    return csv_text(header, [["" if cell == MISSING else cell for cell in row] for row in rows])


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a header and rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def latex_text(text: str) -> str:
    """Escape a text for LaTeX, with code in backticks as typewriter text."""
    parts = re.split(r"`([^`]*)`", text)
    escaped = ["".join(_LATEX.get(sign, sign) for sign in part) for part in parts]
    return "".join(rf"\texttt{{{p}}}" if n % 2 else p for n, p in enumerate(escaped))


def latex(table: Table) -> str:
    """Return a ``table`` environment for booktabs, over both columns of a page if it is wide."""
    columns = len(table.header) - 1
    kind = rf"p{{{0.75 / columns:.2f}\linewidth}}" if table.prose else "r"
    place = "table*" if table.wide else "table"
    header = [latex_text(cell) for cell in table.header]
    if table.wide:
        header = [rf"\shortstack[r]{{{_BREAK.join(cell.split(', '))}}}" for cell in header]
    lines = [
        rf"\begin{{{place}}}",
        r"  \centering",
        rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \label{{tab:{table.slug}}}",
        *([r"  \scriptsize\setlength{\tabcolsep}{2.5pt}"] if table.wide else []),
        rf"  \begin{{tabular}}{{l{kind * columns}}}",
        r"    \toprule",
        f"    {' & '.join(header)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(map(latex_text, row))} \\\\" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \par\smallskip\raggedright\footnotesize",
        *(f"  {latex_text(note)}" for note in table.notes),
        rf"\end{{{place}}}",
    ]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(lines) + "\n"

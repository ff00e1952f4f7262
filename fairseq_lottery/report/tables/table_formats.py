"""A table as Markdown, CSV and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import re

from fairseq_lottery.report.tables.score_tables import MISSING, Table

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


def markdown_text(text: str) -> str:
    """Text for a Markdown page; what is in backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*<\[\]])", r"\\\1", part) for part in parts
    )


def markdown(table: Table) -> str:
    """The table alone, without its caption and notes; numbers stand at the right."""
    rule = "---" if table.prose else "---:"
    lines = [table.header, ["---", *(rule for _ in table.header[1:])], *table.rows]
    escaped = [[markdown_text(cell).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


def comma_separated(table: Table) -> str:
    """CSV in full precision where the table has numbers behind its text."""
    header, rows = table.data if table.data is not None else (table.header, table.rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell == MISSING else cell for cell in row] for row in rows])
    return out.getvalue()


def latex_text(text: str) -> str:
    """Text with every special sign of LaTeX escaped; backticks become typewriter."""
    parts = re.split(r"`([^`]*)`", text)
    escaped = ["".join(_LATEX.get(sign, sign) for sign in part) for part in parts]
    return "".join(rf"\texttt{{{p}}}" if n % 2 else p for n, p in enumerate(escaped))


def latex(table: Table) -> str:
    """A ``table`` environment for booktabs, over both columns of a page where it is wide."""
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

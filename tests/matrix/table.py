"""Print the matrix as Markdown: ``python tests/matrix/table.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from matrix.cells import KINDS, ROWS, By, Refused, outcome_of

HEAD = ("precision", "processes", "batches", "EMA", "start", "command", "also", *KINDS)
#: before and after the table in docs/reliability.md
BEGIN, END = "<!-- matrix: python tests/matrix/table.py -->", "<!-- end of the matrix -->"


def _flag(text: str) -> str:
    return f"`{text}`" if text.startswith(("--", "fairseq")) else text


def _texts(row, sentences) -> tuple:
    """A row but for its precision, as the table has it."""
    found = []
    for kind in KINDS:
        outcome = outcome_of(getattr(row, kind))
        if isinstance(outcome, Refused):
            if outcome.sentence not in sentences:
                sentences.append(outcome.sentence)
            outcome = f"refused ({sentences.index(outcome.sentence) + 1})"
        found.append(outcome or "")
    ema = {"no": "", "yes": "yes", "fp32": "fp32"}[row.ema]
    processes = "1" if row.processes == "1" else f"2, `{row.processes}`"
    return (
        processes, str(row.frequency), ema, _flag(row.start), _flag(row.command),
        _flag(row.also), *found,
    )  # fmt: skip


def markdown() -> str:
    """The table, with rows that differ in their precision alone as one, its notes and figures."""
    sentences: list = []
    lines: dict = {}
    for row in ROWS:
        lines.setdefault(_texts(row, sentences), []).append(row.precision)
    outcomes = [outcome_of(getattr(row, kind)) for row in ROWS for kind in KINDS]
    refused = sum(isinstance(outcome, Refused) for outcome in outcomes)
    tested = sum(isinstance(outcome, str) for outcome in outcomes)
    elsewhere = sum(isinstance(getattr(row, kind), By) for row in ROWS for kind in KINDS)
    notes = [f"{number}. `{sentence}`" for number, sentence in enumerate(sentences, 1)]
    figures = (
        f"{refused + tested} cells: {tested} train and are checked after every update, {refused}"
        f" are refused; {elsewhere} of them are run by tests of other folders."
    )
    return "\n".join(
        [
            "| " + " | ".join(HEAD) + " |",
            "|" + "---|" * len(HEAD),
            *("| " + " | ".join((", ".join(p), *texts)) + " |" for texts, p in lines.items()),
            "",
            "Refused, in a sentence with these words:",
            "",
            *notes,
            "",
            figures,
        ]
    )


if __name__ == "__main__":
    print(BEGIN, markdown(), END, sep="\n\n")

"""``languages similarity``: compare masks or importance of languages."""

import argparse
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.languages.association import COLUMNS as TESTS
from fairseq_lottery.languages.association import association, summary
from fairseq_lottery.languages.commands.inputs import deliver, named
from fairseq_lottery.languages.metadata import read_metadata
from fairseq_lottery.languages.similarities import COLUMNS, similarities, square
from fairseq_lottery.languages.square_table import read_square

#: similarity -> its description
_TITLES = {
    "above_chance": "overlap of masks: 0 is chance, 1 is the same mask",
    "spearman": "rank correlation of importance",
    "table": "similarity",
}


def run(args: argparse.Namespace) -> None:
    """Compare the languages, and test the similarities against the metadata."""
    files = named(args.files, "LANGUAGE=FILE")
    if bool(files) == (args.table is not None):
        raise LotteryError("give either LANGUAGE=FILE for each language, or --table")
    metadata = read_metadata(args.metadata) if args.metadata else None
    rows: list[dict[str, Any]] = []
    measure = "table"
    if args.table is not None:
        table = read_square(args.table)
    else:
        if metadata is not None:
            metadata.languages_of(list(files))
        measure, rows = similarities(files, args.kind)
        table = square(list(files), rows, measure)
    tests = association(table, metadata, args.seed) if metadata else []
    lines = [_TITLES[measure], *table.lines()]
    if tests:
        lines += ["", f"against {metadata.path if metadata else ''}", *summary(tests)]
    deliver(args, {"similarity": (COLUMNS, rows), "tests": (TESTS, tests)}, lines)

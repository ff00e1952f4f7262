"""``languages changes``: measure how much a fine-tuning has changed each group of layers."""

import argparse
from typing import Any

from fairseq_lottery.analysis.tables import grid
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_source
from fairseq_lottery.languages.commands.inputs import deliver
from fairseq_lottery.languages.layer_changes import (
    COLUMNS,
    CORRELATIONS,
    add_cka,
    drop_correlations,
    layer_changes,
)
from fairseq_lottery.languages.result_folder import read_table


def run(args: argparse.Namespace) -> None:
    """Measure the changes, and correlate them with the drops of each language."""
    drops: list[dict[str, Any]] = []
    if args.drops is not None:
        table = args.drops / "drops.csv" if args.drops.is_dir() else args.drops
        columns = ("language", "group", "kind")
        drops = read_table(table, columns, "drop", "fairseq-lottery languages drops")
        if not drops:
            raise LotteryError(f"{table} has no rows; make it with fairseq-lottery languages drops")
    before, after = (read_source(path) for path in (args.before, args.after))
    rows = layer_changes(before.weights, after.weights, args.layers)
    if args.recordings is not None:
        add_cka(rows, args.recordings, args.layers)
    correlations = drop_correlations(rows, drops, args.seed) if drops else []
    languages = list(dict.fromkeys(row["language"] for row in drops))
    by_place = {(row["language"], row["group"], row["kind"]): row["drop"] for row in drops}
    for row in rows:
        for language in languages:
            drop = by_place.get((language, row["group"], row["kind"]))
            if drop is not None:
                row[f"drop {language}"] = drop
    header = [*COLUMNS, *(f"drop {language}" for language in languages)]
    lines = grid(header, [[row.get(name, "-") for name in header] for row in rows])
    if correlations:
        lines += [
            "",
            "rank correlation of change and drop over groups: positive if the groups that",
        ]
        lines[-1] += " changed most matter most"
        shown = [name for name in CORRELATIONS if name not in ("permutations", "note")]
        lines += grid(shown, [[row.get(name, "-") for name in shown] for row in correlations])
    tables = {"changes": (header, rows), "correlations": (CORRELATIONS, correlations)}
    deliver(args, tables, lines, digests={"before": before.digest(), "after": after.digest()})

"""``languages drops``: measure languages with each group of layers pruned."""

import argparse
from collections.abc import Sequence
from typing import Any

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.tables import grid, pivot
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.measures.loaded_heads import Sample, load_heads
from fairseq_lottery.languages.commands.inputs import deliver, named
from fairseq_lottery.languages.drop_tests import COLUMNS as TESTS
from fairseq_lottery.languages.drop_tests import drop_tests, summary
from fairseq_lottery.languages.drops import COLUMNS, choices_by_group, measure_drops, with_facts
from fairseq_lottery.languages.metadata import read_metadata


def run(args: argparse.Namespace) -> None:
    """Measure each language with each choice pruned, and test the drops against the metadata."""
    subsets = named(args.subsets, "LANGUAGE=SUBSET")
    files = named(args.choices, "NAME=FILE")
    metadata = read_metadata(args.metadata) if args.metadata else None
    if metadata is not None:
        metadata.languages_of(list(subsets))
    own = {(name, "choice"): load_choice(path)[0] for name, path in files.items()}
    samples = {
        name: Sample(subset, args.sentences, args.max_tokens) for name, subset in subsets.items()
    }
    loaded = load_heads(args.file, args.data, args.cpu)
    choices = own or choices_by_group(loaded.anatomy, args.layers)
    rows = measure_drops(loaded, choices, samples, args.metric, args.remove_bpe)
    columns: Sequence[str] = COLUMNS
    tests: list[dict[str, Any]] = []
    if metadata is not None:
        tests = drop_tests(rows, metadata, args.seed)
        columns, rows = with_facts(rows, metadata)
    full = {row["language"]: row["full"] for row in rows}
    cells = [{**row, "value": row["relative_drop"]} for row in rows if "relative_drop" in row]
    lines = [f"{args.metric} of the full model", *grid(["language", args.metric], full.items())]
    lines += ["", "how much worse it gets, as a share of it"]
    lines += pivot("pruned heads", cells, _place, lambda row: row["language"])
    if metadata is not None:
        lines += ["", f"against {metadata.path}", *summary(tests)]
    tables = {"drops": (columns, rows), "tests": (TESTS, tests)}
    deliver(args, tables, lines, weights={"digest": loaded.source.digest()})


def _place(row: Row) -> str:
    return f"{row['group']} {row['kind']}"

"""Whether drops of languages follow families, word orders and sizes of data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fairseq_lottery.languages.association import confounded_with
from fairseq_lottery.languages.layer_groups import THIRDS
from fairseq_lottery.languages.metadata import Metadata
from fairseq_lottery.languages.permutations import (
    correlation_test,
    holm,
    kruskal_test,
)
from fairseq_lottery.languages.square_table import FEWEST

#: columns of a table of tests
COLUMNS = (
    *("group", "kind", "column", "measure", "languages", "means", "value", "p", "p_holm"),
    *("smallest_p", "permutations", "note"),
)
#: group whose value is the drop of the top third minus that of the bottom third
CONTRAST = "top - bottom"

Drops = dict[tuple[str, str], dict[str, float]]


def drop_tests(
    rows: Sequence[Mapping[str, Any]], metadata: Metadata, seed: int = 1
) -> list[dict[str, Any]]:
    """Return a row for each group, kind of attention and column of the metadata.

    Relative drops are tested, so that languages compare. A column of numbers is tested by
    Spearman's correlation, two-sided; one of words by Kruskal and Wallis' H. Both permute the
    languages.

    Raises:
        LotteryError: a language has no row in the metadata.
    """
    drops = _by_group(rows)
    names = list(dict.fromkeys(row["language"] for row in rows))
    languages = dict(zip(names, metadata.languages_of(names)))
    notes = {c: confounded_with(metadata, list(languages.values()), c) for c in metadata.columns}
    tests = []
    for (group, kind), by_language in drops.items():
        for column in metadata.columns:
            row: dict[str, Any] = {"group": group, "kind": kind, "column": column}
            facts = {n: metadata.columns[column][languages[n]] for n in by_language}
            known = {name: fact for name, fact in facts.items() if fact is not None}
            values = np.array([by_language[name] for name in known])
            row.update(_test(values, list(known.values()), seed))
            if notes[column] and "value" in row:
                row["note"] = f"{column} is confounded with {', '.join(notes[column])}"
            tests.append(row)
    for row, p in zip(tests, holm([row.get("p", math.nan) for row in tests])):
        if not math.isnan(p):
            row["p_holm"] = p
    return tests


def _by_group(rows: Sequence[Mapping[str, Any]]) -> Drops:
    """Return group and kind -> language -> relative drop, with contrasts of top and bottom."""
    drops: Drops = {}
    for row in rows:
        if "relative_drop" in row:
            cell = drops.setdefault((row["group"], row["kind"]), {})
            cell[row["language"]] = row["relative_drop"]
    bottom, _, top = THIRDS
    for kind in dict.fromkeys(kind for _, kind in drops):
        first, last = drops.get((bottom, kind)), drops.get((top, kind))
        if first is not None and last is not None:
            drops[CONTRAST, kind] = {name: last[name] - first[name] for name in last}
    return drops


def _test(values: np.ndarray, facts: Sequence[Any], seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"languages": len(values)}
    if len(values) < FEWEST:
        return {**row, "note": f"fewer than {FEWEST} languages"}
    if isinstance(facts[0], str):
        row["measure"], tested = "kruskal-wallis", kruskal_test(values, facts, seed)
        row["means"] = ", ".join(f"{word} {mean:.3g}" for word, mean in _means(values, facts))
    else:
        row["measure"] = "spearman"
        tested = correlation_test(values, np.array(facts, dtype=np.float64), seed)
    if math.isnan(tested.value):
        return {**row, "note": "all drops or all facts are equal"}
    return {
        **row,
        "value": tested.value,
        "p": tested.p,
        "smallest_p": tested.smallest,
        "permutations": tested.count,
    }


def _means(values: np.ndarray, words: Sequence[str]) -> Iterator[tuple[str, float]]:
    for word in dict.fromkeys(words):
        own = [value for value, one in zip(values, words) if one == word]
        yield word, float(np.mean(own))


def summary(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each column, with the smallest p of its tests."""
    lines = []
    for column in dict.fromkeys(row["column"] for row in tests):
        all_rows = [row for row in tests if row["column"] == column]
        own = [row for row in all_rows if "p_holm" in row]
        if not own:
            lines.append(f"{column}: not tested: {all_rows[0]['note']}")
            continue
        best = min(own, key=lambda row: (row["p_holm"], row["p"], -abs(row["value"])))
        note = f"; {best['note']}" if "note" in best else ""
        means = f" ({best['means']})" if "means" in best else ""
        lines.append(
            f"{column}: smallest p of {len(own)} tests is {best['p']:.3g}, corrected"
            f" {best['p_holm']:.3g}: {best['group']} {best['kind']}, {best['measure']}"
            f" {best['value']:.3f}{means}{note}"
        )
    return lines

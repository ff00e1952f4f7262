"""How far similarities between languages follow families, word orders and sizes of data.

A similarity of two languages is not independent of those of the same languages to others. So all
tests permute the languages of the whole table (Mantel 1967), and keep the table as it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.languages.metadata import Metadata
from fairseq_lottery.languages.permutations import (
    Permuted,
    correlation,
    holm,
    permutation_test,
    ranks,
)
from fairseq_lottery.languages.square_table import FEWEST, SquareTable

#: columns of a table of tests
COLUMNS = (
    *("column", "given", "measure", "languages", "mean_within", "mean_between", "value", "p"),
    *("p_holm", "smallest_p", "permutations", "shared", "note"),
)
#: correlation of two columns from which they are called confounded
_CONFOUNDED = 0.7
#: correlation from which two columns say the same
_SAME = 1 - 1e-9


def association(table: SquareTable, metadata: Metadata, seed: int = 1) -> list[dict[str, Any]]:
    """Return a row for each column of the metadata, and for each column given each other.

    Languages with an unknown fact are left out of the tests that require it.

    A column of words is tested by the mean similarity within groups minus that between groups, one
    of numbers by Spearman's correlation of the similarity and the distance of the numbers. All
    tests are one-sided: languages are more similar if they have one word, or close numbers.

    Given another column, it is the partial correlation of ranks of similarity and closeness (Smouse
    et al. 1986). If the other column has words, languages with the same word are permuted. So the
    test is exact if similarity follows the other column alone. Given numbers, all languages are
    permuted, which is approximate.

    Raises:
        LotteryError: a name has no row in the metadata.
    """
    facts = metadata.languages_of(table.names)
    rows = [_test(table, metadata, facts, name, seed) for name in metadata.columns]
    partial = [
        _partial(table, metadata, facts, *pair, seed)
        for pair in itertools.permutations(metadata.columns, 2)
    ]
    for part in (rows, partial):
        for row, p in zip(part, holm([row.get("p", math.nan) for row in part])):
            if not math.isnan(p):
                row["p_holm"] = p
    return rows + partial


def distances(values: Sequence[Any]) -> tuple[str, Array]:
    """Return the name of a distance, and the distances of all pairs of facts.

    Words have the distance 0 or 1. Numbers have the absolute difference of their logarithms, or of
    themselves if one is not positive.
    """
    if isinstance(values[0], str):
        return "group", np.array([[float(a != b) for b in values] for a in values])
    numbers = np.array(values, dtype=np.float64)
    name = "difference"
    if (numbers > 0).all():
        name, numbers = "log-difference", np.log(numbers)
    return name, np.abs(numbers[:, None] - numbers[None])


def confounded_with(metadata: Metadata, languages: Sequence[str], column: str) -> list[str]:
    """Return the other columns that nearly say the same about some languages."""
    found = []
    for other in metadata.columns:
        numbers, values = _known(metadata, languages, [column, other])
        if other == column or len(numbers) < FEWEST:
            continue
        pairs = np.triu_indices(len(numbers), 1)
        shared = correlation(*(ranks(distances(one)[1][pairs]) for one in values))
        if abs(shared) >= _CONFOUNDED:
            found.append(other)
    return found


def _known(
    metadata: Metadata, languages: Sequence[str], columns: Sequence[str]
) -> tuple[list[int], list[list[Any]]]:
    """Return the numbers of the languages whose facts are known, and the facts by column."""
    facts = [[metadata.columns[name][language] for language in languages] for name in columns]
    numbers = [n for n, row in enumerate(zip(*facts)) if None not in row]
    return numbers, [[column[n] for n in numbers] for column in facts]


def _test(
    table: SquareTable, metadata: Metadata, languages: Sequence[str], column: str, seed: int
) -> dict[str, Any]:
    numbers, (values,) = _known(metadata, languages, [column])
    row: dict[str, Any] = {"column": column, "languages": len(numbers)}
    if len(numbers) < FEWEST:
        return {**row, "note": f"fewer than {FEWEST} languages"}
    kind, distance = distances(values)
    size = len(numbers)
    firsts, seconds = np.triu_indices(size, 1)
    similarity, far = table.values[np.ix_(numbers, numbers)], distance[firsts, seconds]
    row["measure"] = "within-between" if kind == "group" else f"spearman-{kind}"
    if np.ptp(far) == 0:
        return {**row, "note": "all pairs are alike"}
    if kind == "group":
        within = far == 0
        own = similarity[firsts, seconds]
        row["mean_within"], row["mean_between"] = own[within].mean(), own[~within].mean()

        def statistic(orders: Array) -> Array:
            pairs = similarity[orders[:, firsts], orders[:, seconds]]
            result: Array = pairs[:, within].mean(axis=1) - pairs[:, ~within].mean(axis=1)
            return result
    else:
        ranked, close = _pair_ranks(similarity), -ranks(far)

        def statistic(orders: Array) -> Array:
            return correlation(ranked[orders[:, firsts], orders[:, seconds]], close)

    sign = 1 if kind == "group" else -1
    tested = permutation_test(statistic, [0] * size, seed)
    return {**row, **_result(tested, sign)}


def _partial(
    table: SquareTable,
    metadata: Metadata,
    languages: Sequence[str],
    column: str,
    given: str,
    seed: int,
) -> dict[str, Any]:
    numbers, values = _known(metadata, languages, [column, given])
    row: dict[str, Any] = {
        "column": column,
        "given": given,
        "measure": "partial-spearman",
        "languages": len(numbers),
    }
    if len(numbers) < FEWEST + 1:
        return {**row, "note": f"fewer than {FEWEST + 1} languages"}
    tables = [distances(one)[1] for one in values]
    firsts, seconds = np.triu_indices(len(numbers), 1)
    close, control = (-ranks(one[firsts, seconds]) for one in tables)
    shared = float(correlation(close, control))
    if math.isnan(shared):
        return {**row, "note": "all pairs are alike"}
    row["shared"] = shared
    if abs(shared) >= _SAME:
        return {**row, "note": f"{column} and {given} cannot be told apart"}
    ranked = _pair_ranks(table.values[np.ix_(numbers, numbers)])

    def statistic(orders: Array) -> Array:
        pairs = ranked[orders[:, firsts], orders[:, seconds]]
        own, other = correlation(pairs, close), correlation(pairs, control)
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Array = (own - other * shared) / np.sqrt((1 - other**2) * (1 - shared**2))
        return np.where(np.isfinite(result), result, np.nan if np.isnan(own).any() else 0.0)

    # only languages of one group of the other column are exchangeable
    are_words = isinstance(values[1][0], str)
    labels = values[1] if are_words else [0] * len(numbers)
    strata = [list(dict.fromkeys(labels)).index(label) for label in labels]
    tested = permutation_test(statistic, strata, seed)
    if tested.smallest == 1:
        return {**row, "note": f"{given} decides {column}, so they cannot be told apart"}
    row = {**row, **_result(tested)}
    notes = [] if are_words else ["approximate"]
    if abs(shared) >= _CONFOUNDED:
        notes.append(f"{column} and {given} are confounded")
    if notes and "value" in row:
        row["note"] = ", ".join(notes)
    return row


def _pair_ranks(similarity: Array) -> Array:
    """Return the symmetric table of the ranks of all pairs."""
    firsts, seconds = np.triu_indices(len(similarity), 1)
    table = np.zeros(similarity.shape)
    table[firsts, seconds] = table[seconds, firsts] = ranks(similarity[firsts, seconds])
    return table


def _result(tested: Permuted, sign: int = 1) -> dict[str, Any]:
    if math.isnan(tested.value):
        return {"note": "all similarities are equal"}
    return {
        "value": sign * tested.value,
        "p": tested.p,
        "smallest_p": tested.smallest,
        "permutations": tested.count,
    }


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each test, in plain words."""
    return [line for row in rows if (line := _line(row)) is not None]


def _line(row: dict[str, Any]) -> Optional[str]:
    name = row["column"] + (f" given {row['given']}" if "given" in row else "")
    note = row.get("note")
    if "value" not in row:
        return f"{name}: not tested: {note}"
    value = f"{row['value']:+.3f}"
    if row["measure"] == "within-between":
        value = f"{row['mean_within']:.3f} within, {row['mean_between']:.3f} between: {value}"
    else:
        value = f"{row['measure'].replace('-', ' ', 1)} {value}"
    smallest = f", smallest possible {row['smallest_p']:.3g}" if row["smallest_p"] > 0.01 else ""
    more = f"; {note}" if note else ""
    return f"{name}: {value} (p = {row['p']:.3g}{smallest}, {row['languages']} languages){more}"

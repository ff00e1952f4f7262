"""Roles of heads as text: a grid of heads for each kind of attention, and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fairseq_lottery.analysis.recording.recording import KINDS
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.roles.patterns import PATTERNS
from fairseq_lottery.analysis.roles.role_labels import Head, RoleLabels, is_detail, is_pattern

#: role -> its sign in grids; a single relation has no sign
SIGNS = {
    "local": "L", "delimiter": "E", "cls": "C", "sep": "Z", "diagonal": "D", "block": "B",
    "alignment": "A",
    "syntactic": "S", "syntactic-reverse": "R", "positional": "P", "rare-word": "W",
    "argmax-syntactic": "s", "argmax-syntactic-reverse": "r", "argmax-alignment": "a",
}  # fmt: skip
#: pattern -> its sign
PATTERN_SIGNS = dict(zip(PATTERNS, ("v", "d", "m", "b", "h")))


def role_signs(roles: Iterable[str]) -> dict[str, str]:
    """Return role -> its sign in grids; patterns and single relations have none."""
    roles = list(roles)
    signs = {role: sign for role, sign in SIGNS.items() if role in roles}
    own = (role for role in roles if role not in SIGNS and not is_detail(role))
    signs.update({role: str(number) for number, role in enumerate(own, 1)})
    return signs


def role_grids(labels: RoleLabels, heads: Iterable[Head]) -> Iterator[str]:
    """Yield a grid for each kind of attention: a row for each layer, and the roles of each head.

    Args:
        heads: all heads of the model, also those that are pruned, which have a dash.
    """
    shown = role_signs(labels.roles)
    signs: dict[Head, str] = {head: "" for head in labels.heads}
    for role, sign in shown.items():
        for head in labels.roles[role][1]:
            signs[head] += sign
    yield "; ".join(f"{sign} {role}" for role, sign in shown.items())
    yield from _grids({head: text or "." for head, text in signs.items()}, heads)
    yield f"{len(labels.several())} of {len(labels.heads)} heads have several roles"


def pattern_grids(labels: RoleLabels, heads: Iterable[Head], prefix: str) -> Iterator[str]:
    """Yield a grid of patterns for each kind of attention.

    Args:
        heads: all heads of the model.
        prefix: ``pattern`` for raw attention, ``weighted`` for attention weighted by norms.
    """
    yield "; ".join(f"{sign} {pattern}" for pattern, sign in PATTERN_SIGNS.items())
    signs = {
        head: sign
        for pattern, sign in PATTERN_SIGNS.items()
        for head in labels.roles.get(f"{prefix}-{pattern}", (frozenset(), frozenset()))[1]
    }
    yield from _grids(signs, heads)


def _grids(cells: Mapping[Head, str], heads: Iterable[Head]) -> Iterator[str]:
    """Yield the grids; a head without a cell has a dash."""
    width = max(2, max(map(len, cells.values()), default=0))
    rows: dict[tuple[str, int], list[str]] = {}
    for head in sorted(heads, key=lambda one: (list(KINDS).index(one[0]), *one[1:])):
        rows.setdefault(head[:2], []).append(f"{cells.get(head, '-'):>{width}}")
    for (kind, layer), texts in rows.items():
        if layer == 1:
            numbers = (f"{number:>{width}}" for number in range(1, len(texts) + 1))
            yield f"{kind:<10} " + " ".join(numbers)
        yield f"  layer {layer:<2} " + " ".join(texts)


def role_counts(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each role and kind: heads with it, their scores, bound and baseline."""
    labels = RoleLabels.of(rows)
    statistics = "score", "reachable", "baseline"
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row.get("statistic") in statistics:
            key = str(row["statistic"]), str(row["role"]), str(row["part"])
            values.setdefault(key, []).append(float(row["value"]))
    yield (
        f"{'role':<31} {'attention':<9} {'heads':>9} {'mean':>7} {'max':>7} {'reachable':>9}"
        f" {'baseline':>8}"
    )
    for role in labels.roles:
        if is_pattern(role):
            continue
        for kind in labels.kinds_of(role):
            tested, having = labels.of_kind(role, kind)
            scores, bounds, bases = (values.get((one, role, kind), []) for one in statistics)
            bound = f"{max(bounds):.2f}" if bounds else ""
            base = f"{max(bases):.2f}" if bases else ""
            line = (
                f"{role:<31} {kind:<9} {len(having):>4} of {len(tested):<3}"
                f"{sum(scores) / len(scores):>7.2f} {max(scores):>7.2f} {bound:>9} {base:>8}"
            )
            yield line.rstrip()


def unreachable(rows: Iterable[Row], threshold: float) -> Iterator[str]:
    """Yield a line for each sieve and kind whose reachable score does not exceed the threshold."""
    for row in rows:
        is_bound = row.get("statistic") == "reachable" and "head" not in row
        if is_bound and float(row["value"]) <= threshold:
            yield (
                f"no head can be {row['role']} in {row['part']}: at most {row['value']:.2f} is"
                f" reachable in these sentences, and the threshold is {threshold:g}; give a lower"
                " --threshold"
            )


def change_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield how many heads gained, kept and lost each role."""
    yield from _lines(rows, ("gained", "kept", "lost"), whole=True)


def comparison_lines(rows: Sequence[Row], statistics: Sequence[str]) -> Iterator[str]:
    """Yield a line for each role and kind that a head has, with a column for each statistic."""
    yield from _lines(rows, statistics, whole=False)


def _lines(rows: Sequence[Row], statistics: Sequence[str], whole: bool) -> Iterator[str]:
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        name = str(row.get("statistic"))
        if name in statistics:
            cell = values.setdefault((str(row["role"]), str(row["part"])), {})
            cell[name] = cell.get(name, 0) + float(row["value"])
    width = max(9, *(len(name) for name in statistics))
    yield f"{'role':<31} {'attention':<9} " + " ".join(f"{one:>{width}}" for one in statistics)
    for (role, kind), cell in values.items():
        if not any(value for name, value in cell.items() if name != "p"):
            continue
        number = "{:.0f}" if whole else "{:.3f}"
        texts = [number.format(cell.get(name, 0)) for name in statistics]
        shown = [text if whole or name in cell else "" for name, text in zip(statistics, texts)]
        yield f"{role:<31} {kind:<9} " + " ".join(f"{text:>{width}}" for text in shown)

"""Roles of heads, read from the table of ``fairseq-lottery roles``, for the strategy ``role``."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.component_mask import Component

#: largest table in bytes
_MAX_BYTES = 1 << 26
_COLUMNS = ("part", "layer", "head", "role", "statistic", "value")


@dataclass(frozen=True)
class HeadRole:
    """The heads with a role.

    Attributes:
        having: heads that have the role.
        scores: score of each head for the role; a head for which it was not tested has none.
        prune_having: whether the heads that have the role are pruned first, or the others.
    """

    having: frozenset[Component]
    scores: Mapping[Component, float]
    prune_having: bool = True

    def is_first(self, component: Component) -> bool:
        """Return whether a head is on the side that is pruned first."""
        return (component in self.having) == self.prune_having

    def order(self, component: Component, score: Optional[float] = None) -> tuple[bool, float]:
        """Return the position of a head; the smallest is pruned first.

        Heads on the side that is pruned are before the others. Within both, the heads that fit the
        role best are first if those having it are pruned, and last otherwise. A head that was not
        tested fits least.

        Args:
            score: an importance, by which the least important head is first instead.
        """
        is_late = not self.is_first(component)
        if score is not None:
            return is_late, score
        fit = self.scores.get(component, -math.inf)
        return is_late, -fit if self.prune_having else fit


def load_role(
    path: Union[str, Path], role: str, anatomy: Anatomy, prune_having: bool = True
) -> HeadRole:
    """Read a role from a folder of ``fairseq-lottery roles``, or from its ``roles.csv``.

    Raises:
        LotteryError: the table cannot be read or is malformed, has no such role, or has heads that
            the model does not have.
    """
    table = Path(path) / "roles.csv" if Path(path).is_dir() else Path(path)
    modules = {(type_of(name), layer_of(name) + 1): name for name in anatomy.heads}
    having, scores, known = set[Component](), dict[Component, float](), set[str]()
    for number, row in _rows(table):
        known.add(row["role"])
        if row["role"] != role:
            continue
        try:
            place, head = (row["part"], int(row["layer"])), int(row["head"]) - 1
            value = float(row["value"])
            if not math.isfinite(value):
                raise ValueError
        except ValueError:
            raise LotteryError(f"{table}: line {number} has no head and number") from None
        if place not in modules or not 0 <= head < anatomy.heads[modules[place]]:
            raise LotteryError(
                f"{table} has head {head + 1} of layer {place[1]} of {place[0][:40]!r}, which the"
                " model does not have; give roles of a model with the same heads"
            )
        component = modules[place], head
        if row["statistic"] == "score":
            scores[component] = value
        elif value:
            having.add(component)
    if role not in known:
        raise LotteryError(
            f"{table} has no role {role!r}; choose from {', '.join(sorted(known)[:40]) or 'none'}"
        )
    return HeadRole(frozenset(having), scores, prune_having)


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the number of the line and the columns of each row with a score or role."""
    rows = []
    try:
        reader = csv.DictReader(read_lines(table, _MAX_BYTES), strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} has another number of columns")
            if row.get("statistic") in ("score", "has-role"):
                rows.append((reader.line_num, row))
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{table} cannot be read: {reason}") from error
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        raise LotteryError(f"{table} is not a table of roles; make one with fairseq-lottery roles")
    return rows

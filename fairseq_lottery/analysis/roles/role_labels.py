"""``RoleLabels``: which heads of a model have which roles; and which heads survive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.adapters import group_of
from fairseq_lottery.analysis.recording.recording import KINDS, Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.files.untrusted_json import read_json

#: kind of attention, layer and head, both from 1
Head = tuple[str, int, int]

#: most bytes of a file of a choice
_LARGEST = 1 << 24
_LAYER = re.compile(r"\blayers\.(\d{1,6})\.(self_attn|encoder_attn)$")


@dataclass(frozen=True)
class RoleLabels:
    """Roles of the heads of a model.

    Attributes:
        heads: the heads that can have a role; pruned ones cannot.
        roles: role -> the heads for which it was tested, and those that have it.
    """

    heads: frozenset[Head]
    roles: Mapping[str, tuple[frozenset[Head], frozenset[Head]]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> RoleLabels:
        """Read the rows ``has-role`` of a table."""
        tested: dict[str, set[Head]] = {}
        having: dict[str, set[Head]] = {}
        for row in rows:
            if row.get("statistic") == "has-role":
                head = str(row["part"]), int(row["layer"]), int(row["head"])
                role = str(row["role"])
                tested.setdefault(role, set()).add(head)
                having.setdefault(role, set()).update([head] if row["value"] else [])
        roles = {role: (frozenset(tested[role]), frozenset(having[role])) for role in tested}
        return cls(frozenset().union(*tested.values()), roles)

    def of_kind(self, role: str, kind: str) -> tuple[frozenset[Head], frozenset[Head]]:
        """Return the heads of a kind for which a role was tested, and those that have it."""
        tested, having = self.roles.get(role, (frozenset(), frozenset()))
        return (
            frozenset(one for one in tested if one[0] == kind),
            frozenset(one for one in having if one[0] == kind),
        )

    def kinds_of(self, role: str) -> list[str]:
        """Return the kinds of attention for which a role was tested."""
        return [kind for kind in KINDS if self.of_kind(role, kind)[0]]

    def several(self) -> frozenset[Head]:
        """Return the heads with two roles or more; patterns and single relations do not count."""
        counted: dict[Head, int] = {}
        for role, (_, having) in self.roles.items():
            if not is_detail(role):
                counted.update({head: counted.get(head, 0) + 1 for head in having})
        return frozenset(head for head, count in counted.items() if count > 1)


def is_pattern(role: str) -> bool:
    """Return whether a role is a pattern of attention maps."""
    return role.startswith(("pattern-", "weighted-"))


def is_detail(role: str) -> bool:
    """Return whether a role is a pattern or a single relation."""
    return ":" in role or is_pattern(role)


def count_rows(labels: RoleLabels) -> Iterator[Row]:
    """Yield how many heads have each role, by layer and by kind: the statistic ``heads``.

    The statistic ``several-roles`` of a kind is the number of heads with two roles or more.
    """
    for kind in [kind for kind in KINDS if any(head[0] == kind for head in labels.heads)]:
        count = sum(head[0] == kind for head in labels.several())
        yield {"part": kind, "statistic": "several-roles", "value": count}
    for role in labels.roles:
        for kind in labels.kinds_of(role):
            tested, having = labels.of_kind(role, kind)
            row: Row = {"part": kind, "role": role, "statistic": "heads"}
            for layer in sorted({one[1] for one in tested}):
                yield {**row, "layer": layer, "value": sum(one[1] == layer for one in having)}
            yield {**row, "value": len(having)}


def heads_of_recording(recording: Recording) -> frozenset[Head]:
    """Return all heads of a recorded model."""
    return frozenset(
        (kind, layer, head)
        for kind in recording.record.kinds
        for layer in recording.layers(kind)
        for head in range(1, recording.record.heads[kind] + 1)
    )


def survivors_of_recording(recording: Recording) -> frozenset[Head]:
    """Return the heads of a recorded model that are not pruned."""
    return frozenset(one for one in heads_of_recording(recording) if not recording.is_pruned(*one))


def survivors_of_choice(path: Union[str, Path], recording: Recording) -> frozenset[Head]:
    """Return the heads that a choice of ``fairseq-lottery heads choose`` keeps.

    Raises:
        LotteryError: the file is not a choice, or has other heads than the recorded model.
    """
    try:
        content: Any = read_json(read_text(path, _LARGEST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{path} cannot be read: {reason}") from error
    try:
        counts, pruned = content["heads"], content["closed"]["heads"]
        kept = {
            (*_place(name), number + 1)
            for name, count in counts.items()
            for number in range(count)
            if number not in pruned.get(name, [])
        }
        sizes = {_place(name): count for name, count in counts.items()}
    except (TypeError, KeyError, AttributeError, ValueError):
        raise LotteryError(
            f"{path} is not a choice of heads; make one with fairseq-lottery heads choose"
        ) from None
    expected = {
        (kind, layer): recording.record.heads[kind]
        for kind in recording.record.kinds
        for layer in recording.layers(kind)
    }
    if sizes != expected:
        raise LotteryError(
            f"{path} is for another model than {recording.folder}, whose numbers of heads differ"
        )
    return frozenset(kept)


def _place(name: str) -> tuple[str, int]:
    """Return the kind and the layer, from 1, of an attention module."""
    match = _LAYER.search(name)
    if match is None:
        raise ValueError(name)
    return group_of(f"{name}.out_proj.weight"), int(match.group(1)) + 1

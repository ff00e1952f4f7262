"""Columns of the rows of heads.

Each role has a row ``score`` and a row ``has-role`` (1 or 0) for each head; further statistics say
what they rest on. Heads that the model does not use, because they are pruned, have no roles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from fairseq_lottery.analysis.recording.recording import KINDS, Recording
from fairseq_lottery.analysis.registry import Row

#: statistics of every role
SCORE, HAS_ROLE = "score", "has-role"


def head_rows(recording: Recording, kind: str, layer: int) -> list[tuple[int, Row]]:
    """Return number from 0, and the columns, of each head that is not pruned."""
    return [
        (head - 1, {"part": kind, "layer": layer, "head": head})
        for head in range(1, recording.record.heads[kind] + 1)
        if not recording.is_pruned(kind, layer, head)
    ]


def sentence_sizes(recording: Recording, kind: str) -> Iterator[tuple[int, int]]:
    """Yield the numbers of query tokens and of key tokens of each sentence."""
    own, other = KINDS[kind]
    yield from zip(recording.token_counts(own).tolist(), recording.token_counts(other).tolist())


def has_role(row: Row, has_it: bool, threshold: Optional[float] = None) -> Row:
    """Return the row that says whether a head has a role."""
    extra = {} if threshold is None else {"threshold": threshold}
    return {**row, **extra, "statistic": HAS_ROLE, "value": int(has_it)}

"""Patterns of the attention maps of a recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.roles import patterns
from fairseq_lottery.analysis.roles.rows.head_rows import SCORE, has_role, head_rows, sentence_sizes
from fairseq_lottery.analysis.roles.sieve_keys import diagonal_keys, local_keys
from fairseq_lottery.analysis.roles.sieve_scores import visible_keys
from fairseq_lottery.analysis.roles.sieve_settings import Sieve


def pattern_rows(
    recording: Recording, blocks: Optional[Sieve] = None, weighted: bool = False
) -> Iterator[Row]:
    """Yield the pattern of every head, as the role ``pattern-P`` or ``weighted-P``.

    Every head has ``has-role`` 1 for one pattern and 0 for the others. Their ``score`` is the mean
    mass over sentences; heterogeneous heads have 1 minus the largest mass, mixtures the sum of both
    masses.

    Args:
        blocks: the block sieve; None for single sentences.
        weighted: take weights multiplied by the norms of their values.
    """
    for kind in recording.record.kinds:
        sizes = list(sentence_sizes(recording, kind))
        for layer in recording.layers(kind):
            total = np.zeros((3, recording.record.heads[kind]))
            maps = recording.attention(kind, layer, weighted)
            for place, (queries, keys) in enumerate(sizes):
                block = None
                if blocks is not None and kind in blocks.kinds:
                    block = blocks.keys_of(kind, place, queries, keys)
                total += patterns.pattern_masses(
                    maps[place],
                    visible_keys(kind, queries, keys, recording.ends),
                    band_of(kind, queries, keys, recording.ends),
                    block,
                )
            masses = total / len(sizes)
            for head, row in head_rows(recording, kind, layer):
                yield from _pattern_rows(row, masses[:, head].tolist(), weighted)


def _pattern_rows(row: Row, masses: Sequence[float], weighted: bool) -> Iterator[Row]:
    vertical, diagonal, block = masses
    scores = (vertical, diagonal, vertical + diagonal, block, 1 - max(masses))
    own = patterns.pattern_of(vertical, diagonal, block)
    for name, score in zip(patterns.PATTERNS, scores):
        role = {**row, "role": f"{'weighted' if weighted else 'pattern'}-{name}"}
        yield {**role, "statistic": SCORE, "value": score}
        yield has_role(role, name == own)


def band_of(kind: str, queries: int, keys: int, ends: int = 1) -> Array:
    """Return the cells of the diagonal: at most one token away, (queries, keys + ends)."""
    if kind == "enc_dec":
        return diagonal_keys(queries, keys, 1 / keys)
    return local_keys(queries, keys, 1, ends)

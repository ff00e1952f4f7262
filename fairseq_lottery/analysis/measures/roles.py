"""Roles of heads, as measures of one recording with the settings of the papers.

``fairseq-lottery roles`` gives sieves other windows, parses and alignments.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.roles.rows.argmax_rows import argmax_rows
from fairseq_lottery.analysis.roles.rows.pattern_rows import pattern_rows
from fairseq_lottery.analysis.roles.rows.sieve_rows import sieve_rows
from fairseq_lottery.analysis.roles.sieves import SieveSettings, build_sieves


@measure(
    "sieve-bias",
    command="roles",
    over="attention",
    title="Sieve bias score",
    limits=(None, None),  # t and d may be negative
)
def sieve_bias(recording: Recording) -> Iterator[Row]:
    """Yield the local, delimiter and diagonal scores of Pande et al. 2021 and their tests."""
    settings = SieveSettings()
    yield from sieve_rows(recording, build_sieves(recording, settings.sieves, settings))


@measure(
    "argmax-roles",
    command="roles",
    over="attention",
    title="Roles by the largest weight",
    limits=(None, None),  # relative positions may be negative
)
def largest_weights(recording: Recording) -> Iterator[Row]:
    """Yield positional and rare-word heads, and confidence, of Voita et al. 2019."""
    yield from argmax_rows(recording)


@measure("attention-patterns", command="roles", over="attention", title="Patterns of attention")
def attention_patterns(recording: Recording) -> Iterator[Row]:
    """Yield the pattern of each head, from raw attention and weighted by norms of values."""
    yield from pattern_rows(recording)
    yield from pattern_rows(recording, weighted=True)

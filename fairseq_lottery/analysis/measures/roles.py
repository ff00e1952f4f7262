"""Roles of heads, as measures of recordings with the settings of the papers.

``fairseq-lottery roles`` gives sieves other windows, parses and alignments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from fairseq_lottery.analysis.recording.recording import Recording, refuse_other_words
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.roles.comparisons import agreement_rows
from fairseq_lottery.analysis.roles.role_labels import RoleLabels
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


@measure(
    "role-agreement",
    command="roles",
    over="attention",
    models=2,
    title="Agreement on the roles of heads",
    limits=(-1.0, 1.0),  # kappa may be negative
)
def role_agreement(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield how far two models agree on the roles of their heads; see ``agreement_rows``."""
    refuse_other_words(first, second)
    own = (sieve_bias, largest_weights, attention_patterns)
    labels = [
        RoleLabels.of(chain.from_iterable(rows(recording) for rows in own))
        for recording in (first, second)
    ]
    yield from agreement_rows(labels)

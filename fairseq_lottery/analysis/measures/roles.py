"""Roles of heads, as measures of recordings with the settings of the papers.

``fairseq-lottery roles`` gives sieves other windows, parses and alignments. A sweep passes
``sieves``, with its labels.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairseq_lottery.analysis.recording.recording import Recording, refuse_other_words
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.roles import comparisons
from fairseq_lottery.analysis.roles.role_labels import count_rows, survivors_of_recording
from fairseq_lottery.analysis.roles.rows.role_rows import RoleSieves

_DEFAULT = RoleSieves()


@measure(
    "sieve-bias",
    command="roles",
    over="attention",
    title="Sieve bias score",
    limits=(None, None),  # t and d may be negative
    in_report=("has-role",),
)
def sieve_bias(recording: Recording, sieves: RoleSieves = _DEFAULT) -> Iterator[Row]:
    """Yield the scores of sieves of Pande et al. 2021 and their tests."""
    yield from sieves.rows(recording, "sieve-bias")


@measure(
    "argmax-roles",
    command="roles",
    over="attention",
    title="Roles by the largest weight",
    limits=(None, None),  # relative positions may be negative
    in_report=("has-role",),
)
def largest_weights(recording: Recording, sieves: RoleSieves = _DEFAULT) -> Iterator[Row]:
    """Yield positional and rare-word heads, and confidence, of Voita et al. 2019."""
    yield from sieves.rows(recording, "argmax-roles")


@measure(
    "attention-patterns",
    command="roles",
    over="attention",
    title="Patterns of attention",
    in_report=("has-role",),
)
def attention_patterns(recording: Recording, sieves: RoleSieves = _DEFAULT) -> Iterator[Row]:
    """Yield the pattern of each head, from raw attention and weighted by norms of values."""
    yield from sieves.rows(recording, "attention-patterns")


@measure(
    "role-counts",
    command="roles",
    over="attention",
    title="Number of heads",
    limits=(0.0, None),
)
def role_counts(recording: Recording, sieves: RoleSieves = _DEFAULT) -> Iterator[Row]:
    """Yield how many heads have each role, by layer and kind of attention."""
    yield from count_rows(sieves.labels(recording))


@measure(
    "role-changes",
    command="roles",
    over="attention",
    models=2,
    title="Roles gained, kept and lost",
    same_seed=True,
    in_report=True,
)
def role_changes(
    after: Recording, before: Recording, sieves: RoleSieves = _DEFAULT
) -> Iterator[Row]:
    """Yield which heads gained, kept and lost each role; see ``change_rows``."""
    refuse_other_words(after, before)
    yield from comparisons.change_rows(sieves.labels(before), sieves.labels(after))


@measure(
    "role-survivors",
    command="roles",
    over="attention",
    models=2,
    title="Share of heads with a role",
    same_seed=True,
    in_report=True,
)
def role_survivors(
    after: Recording, before: Recording, sieves: RoleSieves = _DEFAULT
) -> Iterator[Row]:
    """Yield the roles that the surviving heads had before, and those of all heads.

    There are no rows if no head was pruned between the models.
    """
    refuse_other_words(after, before)
    labels = sieves.labels(before)
    survivors = survivors_of_recording(before) & survivors_of_recording(after)
    if survivors < labels.heads:
        yield from comparisons.survivor_rows(labels, survivors)


@measure(
    "role-agreement",
    command="roles",
    over="attention",
    models=2,
    title="Agreement on the roles of heads",
    limits=(-1.0, 1.0),  # kappa may be negative
)
def role_agreement(
    first: Recording, second: Recording, sieves: RoleSieves = _DEFAULT
) -> Iterator[Row]:
    """Yield how far two models agree on the roles of their heads; see ``agreement_rows``."""
    refuse_other_words(first, second)
    yield from comparisons.agreement_rows([sieves.labels(one) for one in (first, second)])

"""All rows of roles of a recording, by measure, and the sieves that they test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Optional

from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.roles.role_labels import RoleLabels
from fairseq_lottery.analysis.roles.rows.argmax_rows import argmax_rows
from fairseq_lottery.analysis.roles.rows.pattern_rows import pattern_rows
from fairseq_lottery.analysis.roles.rows.sieve_rows import RoleRule, sieve_rows
from fairseq_lottery.analysis.roles.sieve_settings import Sieve, SieveSettings
from fairseq_lottery.analysis.roles.sieves import build_sieves


def role_rows(
    recording: Recording,
    sieves: Sequence[Sieve],
    rule: RoleRule = RoleRule(),  # noqa: B008 - it is frozen
    weighted: bool = False,
    frequencies: Optional[Mapping[str, int]] = None,
) -> dict[str, Iterator[Row]]:
    """Return measure -> its rows, which are computed when they are read.

    Args:
        rule: how sieve scores become roles.
        weighted: score sieves on attention that is weighted by norms of values.
        frequencies: word -> how often it occurs; by default in the words of the recording.
    """
    blocks = next((sieve for sieve in sieves if sieve.role == "block"), None)
    return {
        "sieve-bias": sieve_rows(recording, sieves, rule, weighted),
        "argmax-roles": argmax_rows(recording, sieves, frequencies),
        "attention-patterns": chain(
            pattern_rows(recording, blocks), pattern_rows(recording, blocks, weighted=True)
        ),
    }


@dataclass(frozen=True)
class RoleSieves:
    """The sieves of measures of roles; by default those that require no labels.

    Attributes:
        settings: what sieves are built from.
        names: names of the sieves; empty for all that have settings.
    """

    settings: SieveSettings = field(default_factory=SieveSettings)
    names: tuple[str, ...] = ()

    def rows(self, recording: Recording, measure: str) -> Sequence[Row]:
        """Return the rows of a measure of ``role_rows``, which measures share."""
        key = "roles", repr(self), measure
        if key not in recording.shared:
            sieves = build_sieves(recording, self.names, self.settings)
            recording.shared[key] = list(role_rows(recording, sieves)[measure])
        rows: Sequence[Row] = recording.shared[key]
        return rows

    def labels(self, recording: Recording) -> RoleLabels:
        """Return the roles of all heads."""
        measures = ("sieve-bias", "argmax-roles", "attention-patterns")
        return RoleLabels.of(row for name in measures for row in self.rows(recording, name))

"""Sieve scores of a recording, their tests, and the roles that follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.roles.role_tests import THRESHOLDS, corrected, threshold_tests
from fairseq_lottery.analysis.roles.rows.head_rows import SCORE, has_role, sentence_sizes
from fairseq_lottery.analysis.roles.sieve_scores import (
    reachable_score,
    sentence_scores,
    visible_keys,
)
from fairseq_lottery.analysis.roles.sieve_settings import Sieve
from fairseq_lottery.errors import LotteryError


@dataclass(frozen=True)
class RoleRule:
    """How sieve scores become roles.

    Attributes:
        threshold: score that the mean of a head must exceed.
        thresholds: scores that are tested; ``threshold`` is added.
        level: largest p-value of a role.
        as_published: decide by the published p-value, without correction.
    """

    threshold: float = 2.0
    thresholds: tuple[float, ...] = THRESHOLDS
    level: float = 0.05
    as_published: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise LotteryError(f"--level {self.level:g} is outside (0, 1); 0.05 is usual")
        if not np.isfinite(self.tested).all():
            raise LotteryError("a threshold is not a finite number; 2 is twice even attention")

    @property
    def tested(self) -> tuple[float, ...]:
        """Return all thresholds in increasing order."""
        return tuple(sorted({*self.thresholds, self.threshold}))


@dataclass(frozen=True)
class SieveScores:
    """Sentence scores of the heads of a kind of attention for one sieve.

    Attributes:
        role, kind: role of the sieve, and kind of attention.
        scores: layer -> (sentences with a sieve, heads).
        reachable: largest possible score of each of these sentences.
    """

    role: str
    kind: str
    scores: Mapping[int, Array]
    reachable: Array


def sieve_scores_of(
    recording: Recording, sieves: Sequence[Sieve], weighted: bool = False
) -> list[SieveScores]:
    """Return the sentence scores of all heads for all sieves.

    Args:
        weighted: take weights multiplied by the norms of their values.

    Raises:
        LotteryError: a sieve is empty in all sentences.
    """
    results = []
    for kind in recording.record.kinds:
        own = [sieve for sieve in sieves if kind in sieve.kinds]
        if not own:
            continue
        layers = {n: recording.attention(kind, n, weighted) for n in recording.layers(kind)}
        scores: list[dict[int, list[Array]]] = [{n: [] for n in layers} for _ in own]
        reachable: list[list[float]] = [[] for _ in own]
        for place, (queries, keys) in enumerate(sentence_sizes(recording, kind)):
            visible = visible_keys(kind, queries, keys, recording.ends)
            for number, sieve in enumerate(own):
                cells = sieve.keys_of(kind, place, queries, keys)
                bound = reachable_score(cells, visible, sieve.entropy)
                if bound != bound:
                    continue
                reachable[number].append(bound)
                for layer, maps in layers.items():
                    one = sentence_scores(maps[place], cells, visible, sieve.entropy)
                    scores[number][layer].append(one)
        for number, sieve in enumerate(own):
            if not reachable[number]:
                continue
            stacked = {layer: np.stack(rows) for layer, rows in scores[number].items()}
            results.append(SieveScores(sieve.role, kind, stacked, np.array(reachable[number])))
    for sieve in sieves:
        is_relation = ":" in sieve.role  # may be invisible to the decoder; the pooled sieve counts
        if not is_relation and all(one.role != sieve.role for one in results):
            raise LotteryError(
                f"the sieve {sieve.role} is empty: no word of {recording.folder} has a key in it;"
                " leave it out, or give labels of this text"
            )
    return results


def sieve_rows(
    recording: Recording,
    sieves: Sequence[Sieve],
    rule: RoleRule = RoleRule(),  # noqa: B008 - frozen
    weighted: bool = False,
) -> Iterator[Row]:
    """Yield scores, tests and roles of all heads by sieves.

    Statistics of a head: ``score``, the mean over sentences; ``share`` of the reachable score; at
    each threshold ``t``, ``p``, ``p-corrected`` over all heads and roles, ``p-published`` and
    ``d``; and at the threshold of the rule ``has-role``. Statistics of a role: ``reachable`` and
    ``sentences``. ``t`` and ``d`` of a head are missing if its scores do not vary.

    Raises:
        LotteryError: a sieve is empty, or has words in one sentence only.
    """
    columns = []
    for one in sieve_scores_of(recording, sieves, weighted):
        if len(one.reachable) < 2:
            if ":" in one.role:  # a single relation, which is rare
                continue
            raise LotteryError(
                f"the sieve {one.role} of {one.kind} has words in one sentence only, but a test"
                " needs at least two; record more sentences"
            )
        labels: Row = {"part": one.kind, "role": one.role}
        yield {**labels, "statistic": "reachable", "value": float(one.reachable.mean())}
        yield {**labels, "statistic": "sentences", "value": len(one.reachable)}
        for layer, scores in one.scores.items():
            for head in range(scores.shape[1]):
                used = scores[:, head]
                used = used[np.isfinite(used)]
                if len(used) > 1 and not recording.is_pruned(one.kind, layer, head + 1):
                    row: Row = {"part": one.kind, "layer": layer, "head": head + 1}
                    row = {**row, "role": one.role}
                    columns.append((row, used, float(one.reachable.mean())))
    tests = [threshold_tests(scores[:, None], rule.tested) for _, scores, _ in columns]
    adjusted = [corrected(np.array(row)) for row in zip(*([t.p[:, 0] for t in tests]))]
    for number, ((row, scores, reachable), test) in enumerate(zip(columns, tests)):
        mean = float(scores.mean())
        yield {**row, "statistic": SCORE, "value": mean}
        yield {**row, "statistic": "share", "value": mean / reachable}
        for place, threshold in enumerate(rule.tested):
            p = {
                "p": float(test.p[place, 0]),
                "p-corrected": float(adjusted[place][number]),
                "p-published": float(test.p_published[place, 0]),
            }
            finite = {"t": float(test.t[place, 0]), "d": float(test.d[place, 0])}
            values = {**{n: v for n, v in finite.items() if np.isfinite(v)}, **p}
            for name, value in values.items():
                yield {**row, "threshold": threshold, "statistic": name, "value": value}
            if threshold == rule.threshold:
                decisive = p["p-published" if rule.as_published else "p-corrected"]
                yield has_role(row, decisive < rule.level, threshold)

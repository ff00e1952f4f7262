"""Roles by the largest weight of each word in a recording, and confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import KINDS, Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.roles import argmax_roles
from fairseq_lottery.analysis.roles.rows.head_rows import SCORE, has_role, head_rows, sentence_sizes
from fairseq_lottery.analysis.roles.sieve_scores import visible_keys
from fairseq_lottery.analysis.roles.sieve_settings import Sieve


def argmax_rows(
    recording: Recording,
    sieves: Sequence[Sieve] = (),
    frequencies: Optional[Mapping[str, int]] = None,
) -> Iterator[Row]:
    """Yield the roles of Voita et al. 2019 of all heads, and their confidence.

    Roles: ``positional`` (self-attention), ``rare-word``, and ``argmax-R`` for each sieve R that
    links single words. Other statistics: ``offset`` and ``reachable`` of positional heads,
    ``top-2`` and ``baseline`` of rare-word heads, ``baseline`` and ``words`` of linked ones.

    Args:
        frequencies: word -> how often it occurs; by default in the words of the recording.
    """
    for kind in recording.record.kinds:
        own, other = KINDS[kind]
        causal = kind == "dec_self"
        words = recording.words(other)
        counts = argmax_roles.word_frequencies(words) if frequencies is None else frequencies
        lengths = recording.lengths(own).tolist()
        rare = argmax_roles.rare_keys(words, lengths, counts, causal)
        two_rarest = argmax_roles.rare_keys(words, lengths, counts, causal, rank=2)
        chance = argmax_roles.even_share(rare, causal)
        linked = {
            sieve.role: _links(recording, kind, sieve)
            for sieve in sieves
            if sieve.is_linked and kind in sieve.kinds
        }
        for layer in recording.layers(kind):
            maps = _word_maps(recording, kind, layer)
            best = [argmax_roles.largest_keys(one) for one in maps]
            heads = head_rows(recording, kind, layer)
            values = argmax_roles.confidence(maps)
            for head, row in heads:
                yield {**row, "statistic": "confidence", "value": float(values[head])}
            if own == other:
                yield from _positional_rows(best, heads, causal)
            shares = argmax_roles.linked_share(best, rare)
            twice = argmax_roles.linked_share(best, two_rarest)
            for head, row in heads:
                row = {**row, "role": "rare-word"}
                share = float(shares[head])
                yield {**row, "statistic": SCORE, "value": share}
                yield {**row, "statistic": "top-2", "value": float(twice[head])}
                yield {**row, "statistic": "baseline", "value": chance}
                least = max(argmax_roles.RARE, chance + argmax_roles.RARE_EXCESS)
                yield has_role(row, share >= least)
            for role, links in linked.items():
                yield from _linked_rows(f"argmax-{role}", best, links, heads)


def _positional_rows(
    best: Sequence[Array], heads: Sequence[tuple[int, Row]], causal: bool
) -> Iterator[Row]:
    offsets, shares, possible = argmax_roles.positional(best, causal)
    for head, row in heads:
        row = {**row, "role": "positional"}
        yield {**row, "statistic": SCORE, "value": float(shares[head])}
        yield {**row, "statistic": "offset", "value": int(offsets[head])}
        yield {**row, "statistic": "reachable", "value": float(possible[head])}
        yield has_role(row, bool(shares[head] >= argmax_roles.POSITIONAL))


def _linked_rows(
    role: str, best: Sequence[Array], links: Sequence[Array], heads: Sequence[tuple[int, Row]]
) -> Iterator[Row]:
    shares, words = argmax_roles.linked_share(best, links), argmax_roles.linked_words(links)
    baseline = argmax_roles.position_baseline(links)
    if not words:
        return
    for head, row in heads:
        row = {**row, "role": role}
        yield {**row, "statistic": SCORE, "value": float(shares[head])}
        yield {**row, "statistic": "baseline", "value": baseline}
        yield {**row, "statistic": "words", "value": words}
        yield has_role(row, bool(shares[head] >= baseline + argmax_roles.LINKED))


def _word_maps(recording: Recording, kind: str, layer: int) -> Sequence[Array]:
    """Return the attention of each sentence, (heads, query words, key words + 1).

    The last key is ``</s>``; in a model without a decoder, all delimiters together.
    """
    maps = recording.attention(kind, layer)
    if not recording.record.is_encoder:
        return maps
    own, other = map(recording.are_words, KINDS[kind])
    return [
        np.concatenate(
            [one[:, rows][:, :, columns], one[:, rows][:, :, ~columns].sum(axis=2, keepdims=True)],
            axis=2,
        )
        for one, rows, columns in zip(maps, own, other)
    ]


def _links(recording: Recording, kind: str, sieve: Sieve) -> list[Array]:
    links = []
    sides = [recording.are_words(side) for side in KINDS[kind]]
    for place, (queries, keys) in enumerate(sentence_sizes(recording, kind)):
        cells = sieve.keys_of(kind, place, queries, keys)
        cells = cells & visible_keys(kind, queries, keys, recording.ends)
        rows, columns = (one[place] for one in sides)
        links.append(cells[:, :keys][rows][:, columns])
    return links

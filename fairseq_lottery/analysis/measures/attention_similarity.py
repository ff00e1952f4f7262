"""Similarity of attention: HeadSim by correlation and by divergence, CKA of maps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.similarity.alignment import alignment
from fairseq_lottery.analysis.similarity.heads import best_heads
from fairseq_lottery.analysis.similarity.recorded import head_similarities, kept_heads, map_sums

_similarity = partial(measure, command="similarity", over="attention", models=2)


def _blocks(
    first: Recording, second: Recording, method: str
) -> Iterator[tuple[Row, Array, list[int], list[int]]]:
    """Yield the similarities of two layers' heads, and the heads that are not pruned."""
    for kind in first.record.kinds:
        stacked = head_similarities(first, second, kind, method)
        for place, rows, columns, kept, others in _layers(first, second, kind):
            yield place, stacked[rows, columns], kept, others


def _layers(
    first: Recording, second: Recording, kind: str
) -> Iterator[tuple[Row, slice, slice, list[int], list[int]]]:
    """Yield each pair of layers, the places of its heads, and the heads that are not pruned."""
    heads, others = first.record.heads[kind], second.record.heads[kind]
    for layer in first.layers(kind):
        for other in second.layers(kind):
            yield (
                {"part": kind, "layer": layer, "other_layer": other},
                slice((layer - 1) * heads, layer * heads),
                slice((other - 1) * others, other * others),
                kept_heads(first, kind, layer),
                kept_heads(second, kind, other),
            )


def _means(first: Recording, second: Recording, method: str) -> Iterator[Row]:
    for place, block, kept, others in _blocks(first, second, method):
        matches = best_heads(block, kept, others)
        if matches:
            yield {**place, "value": float(np.mean([value for _, _, value in matches]))}


@_similarity("head-sim", title="HeadSim", limits=(-1.0, 1.0), in_report=True)
def head_sim(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the mean over heads of the best match's row-wise correlation."""
    return _means(first, second, "pearson")


@_similarity("head-sim-js", title="HeadSim (1 - Jensen-Shannon)")
def head_sim_js(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the mean over heads of 1 minus the smallest Jensen-Shannon divergence."""
    return _means(first, second, "jensen-shannon")


@_similarity("same-head-sim", title="similarity to the head of the same number", limits=(-1.0, 1.0))
def same_head_sim(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the mean row-wise correlation of heads of the same number."""
    for place, block, kept, others in _blocks(first, second, "pearson"):
        pairs = [(head, head) for head in kept if head in others]
        values = [block[pair] for pair in pairs if np.isfinite(block[pair])]
        if values:
            yield {**place, "value": float(np.mean(values))}


@_similarity("head-matches", title="heads whose best match has their number")
def head_matches(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the share of heads whose best match has the same number."""
    for place, block, kept, others in _blocks(first, second, "pearson"):
        matches = best_heads(block, kept, others)
        if matches:
            yield {**place, "value": float(np.mean([a == b for a, b, _ in matches]))}


@_similarity("best-head", title="best match of each head", limits=(-1.0, 1.0))
def best_head(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield each head's best match and their row-wise correlation."""
    for place, block, kept, others in _blocks(first, second, "pearson"):
        for head, other, value in best_heads(block, kept, others):
            yield {**place, "head": head + 1, "other_head": other + 1, "value": value}


@_similarity("map-cka", title="linear CKA of attention maps")
def map_cka(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield linear CKA of the maps of a layer's heads."""
    for kind in first.record.kinds:
        for place, value in _map_alignments(first, second, kind):
            yield {**place, "value": value}


@_similarity("attention-localization", title="localization of attention", limits=(-2.0, 1.0))
def attention_localization(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield HeadSim minus the linear CKA of the maps, as Movva & Zhao's notebook."""
    wholes = {
        tuple(place.values()): value
        for kind in first.record.kinds
        for place, value in _map_alignments(first, second, kind)
    }
    for row in _means(first, second, "pearson"):
        place = tuple(row.values())[:3]
        if place in wholes:
            yield {**row, "statistic": "minus-cka", "value": float(row["value"]) - wholes[place]}


def _map_alignments(first: Recording, second: Recording, kind: str) -> Iterator[tuple[Row, float]]:
    """Yield the linear CKA of each pair of layers with maps that vary."""
    cross, own, other_own = map_sums(first, second, kind)
    for place, rows, columns, kept, others in _layers(first, second, kind):
        a = own[rows, rows][np.ix_(kept, kept)]
        b = other_own[columns, columns][np.ix_(others, others)]
        if np.linalg.norm(a) and np.linalg.norm(b):
            yield place, alignment(cross[rows, columns][np.ix_(kept, others)], a, b)

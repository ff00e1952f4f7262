"""The sums of two recordings, which are computed once for all measures that need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, TypeVar

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import (
    KINDS,
    SIDES,
    Recording,
    refuse_other_words,
)
from fairseq_lottery.analysis.similarity import heads
from fairseq_lottery.analysis.similarity.canonical import Canonical, canonical
from fairseq_lottery.analysis.similarity.moments import LayerPair, Moments, cross_products

T = TypeVar("T")

#: method of comparing heads -> its function
_METHODS: dict[str, Callable[..., Array]] = {
    "pearson": heads.row_correlations,
    "jensen-shannon": heads.row_divergences,
}


def moments(recording: Recording, part: str) -> list[Moments]:
    """Return the moments of all layers of ``encoder`` or ``decoder``."""

    def compute() -> list[Moments]:
        return [
            Moments.of(recording.activations(part, layer), f"{part} {layer} of {recording.folder}")
            for layer in recording.layers(part)
        ]

    key = "moments", part
    if key not in recording.shared:
        recording.shared[key] = compute()
    stored: list[Moments] = recording.shared[key]
    return stored


def layer_pairs(first: Recording, second: Recording, part: str) -> dict[tuple[int, int], LayerPair]:
    """Return the moments of all pairs of layers; layers count from 1.

    Raises:
        LotteryError: the recordings have different words, or activations are not finite.
    """
    refuse_other_words(first, second, SIDES[part])

    def compute() -> dict[tuple[int, int], LayerPair]:
        own, others = moments(first, part), moments(second, part)
        layers = [
            [one.activations(part, layer) for layer in one.layers(part)] for one in (first, second)
        ]
        cross = cross_products(layers[0], layers[1], own, others)
        widths = first.record.width[part], second.record.width[part]
        return {
            (layer + 1, other + 1): LayerPair(
                a, b, cross[layer * widths[0] :, other * widths[1] :][: widths[0], : widths[1]]
            )
            for layer, a in enumerate(own)
            for other, b in enumerate(others)
        }

    return _once(first, second, ("pairs", part), compute)


def canonical_pairs(
    first: Recording, second: Recording, part: str
) -> dict[tuple[int, int], Canonical]:
    """Return the canonical correlations of all pairs of layers that are not constant."""

    def compute() -> dict[tuple[int, int], Canonical]:
        pairs = layer_pairs(first, second, part)
        return {layers: canonical(pair) for layers, pair in pairs.items() if pair.varies}

    return _once(first, second, ("canonical", part), compute)


def head_similarities(first: Recording, second: Recording, kind: str, method: str) -> Array:
    """Return the similarities of all heads of all layers, stacked by layer.

    Args:
        kind: kind of attention.
        method: ``pearson`` or ``jensen-shannon``.

    Returns:
        (layers x heads, other layers x other heads)
    """
    causal = _prepare(first, second, kind)

    def compute() -> Array:
        return _METHODS[method](_sentences(first, second, kind), causal)

    return _once(first, second, (method, kind), compute)


def map_sums(first: Recording, second: Recording, kind: str) -> tuple[Array, Array, Array]:
    """Return ``heads.map_products`` of all heads of all layers, stacked by layer."""
    causal = _prepare(first, second, kind)
    return _once(
        first,
        second,
        ("maps", kind),
        lambda: heads.map_products(_sentences(first, second, kind), causal),
    )


def _prepare(first: Recording, second: Recording, kind: str) -> bool:
    """Refuse other words, and return whether the attention is causal."""
    for side in KINDS[kind]:
        refuse_other_words(first, second, side)
    return kind == "dec_self"


def kept_heads(recording: Recording, kind: str, layer: int) -> list[int]:
    """Return the numbers, from 0, of a layer's heads that are not pruned."""
    heads_of_layer = range(recording.record.heads[kind])
    return [head for head in heads_of_layer if not recording.is_pruned(kind, layer, head + 1)]


def _sentences(first: Recording, second: Recording, kind: str) -> Iterator[tuple[Array, Array]]:
    """Yield both recordings' attention of each sentence, the heads of all layers stacked."""
    modules = [
        [one.attention(kind, layer) for layer in one.layers(kind)] for one in (first, second)
    ]
    for number in range(len(modules[0][0])):
        a, b = (np.concatenate([layer[number] for layer in layers]) for layers in modules)
        yield a, b


def _once(first: Recording, second: Recording, key: tuple[str, str], compute: Callable[[], T]) -> T:
    """Return what is computed for two recordings; only the sums of the last pair are kept."""
    last, sums = first.shared.get("pair", (None, {}))
    if last is not second:
        sums = {}
        first.shared["pair"] = second, sums
    if key not in sums:
        sums[key] = compute()
    value: T = sums[key]
    return value

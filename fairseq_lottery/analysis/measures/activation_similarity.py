"""Similarity of activations: NeuronSim, MixedSim, CKA, SVCCA, PWCCA, localization."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Callable

from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.similarity import alignment, neurons
from fairseq_lottery.analysis.similarity.moments import LayerPair
from fairseq_lottery.analysis.similarity.recorded import canonical_pairs, layer_pairs

_similarity = partial(measure, command="similarity", over="activations", models=2)


def _rows(
    first: Recording, second: Recording, value: Callable[[LayerPair], float]
) -> Iterator[Row]:
    """Yield a row for each pair of layers; a layer whose neurons are all constant has none."""
    for part in first.record.parts:
        for (layer, other), pair in layer_pairs(first, second, part).items():
            if pair.varies:
                yield {"part": part, "layer": layer, "other_layer": other, "value": value(pair)}


@_similarity("neuron-sim", title="NeuronSim", in_report=True)
def neuron_sim(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the mean of each neuron's best absolute correlation (MaxCorr)."""
    return _rows(first, second, neurons.neuron_sim)


@_similarity("neuron-matches", title="neurons whose best match has their number")
def neuron_matches(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the share of neurons whose best match has the same number, for equal widths."""
    for part in first.record.parts:
        if first.record.width[part] != second.record.width[part]:
            continue
        for (layer, other), pair in layer_pairs(first, second, part).items():
            if pair.varies:
                value = neurons.neuron_matches(pair)
                yield {"part": part, "layer": layer, "other_layer": other, "value": value}


@_similarity("mixed-sim", title="MixedSim")
def mixed_sim(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the mean correlation of each neuron with its regression on the other layer."""
    return _rows(first, second, neurons.mixed_sim)


@_similarity("linear-cka", title="LayerSim (linear CKA)", in_report=True)
def linear_cka(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield linear CKA."""
    return _rows(first, second, alignment.linear_cka)


@_similarity("debiased-cka", title="LayerSim (debiased CKA)", limits=(-1.0, 1.0))
def debiased_cka(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield linear CKA with the unbiased estimator of HSIC."""
    return _rows(first, second, alignment.debiased_cka)


@_similarity("svcca", title="LayerSim (SVCCA)")
def svcca(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the mean canonical correlation of the directions that hold 99 % of the variance."""
    for part in first.record.parts:
        for (layer, other), one in canonical_pairs(first, second, part).items():
            yield {"part": part, "layer": layer, "other_layer": other, "value": one.svcca}


@_similarity("pwcca", title="LayerSim (PWCCA)")
def pwcca(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield the projection-weighted canonical correlation, by weights of the first layer."""
    for part in first.record.parts:
        for (layer, other), one in canonical_pairs(first, second, part).items():
            yield {"part": part, "layer": layer, "other_layer": other, "value": one.pwcca}


@_similarity("localization", title="localization", limits=(-1.0, 1.0))
def localization(first: Recording, second: Recording) -> Iterator[Row]:
    """Yield NeuronSim minus SVCCA, as Movva & Zhao's notebook, and minus linear CKA."""
    for part in first.record.parts:
        pairs = layer_pairs(first, second, part)
        for layers, one in canonical_pairs(first, second, part).items():
            place: Row = {"part": part, "layer": layers[0], "other_layer": layers[1]}
            single = neurons.neuron_sim(pairs[layers])
            yield {**place, "statistic": "minus-svcca", "value": single - one.svcca}
            whole = alignment.linear_cka(pairs[layers])
            yield {**place, "statistic": "minus-cka", "value": single - whole}

"""NeuronSim and MixedSim: how well single neurons of one layer are found in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.similarity.moments import LayerPair
from fairseq_lottery.errors import LotteryError


@dataclass(frozen=True)
class Matches:
    """The best match of each neuron of the first layer that is not constant.

    Attributes:
        neurons: numbers of these neurons, from 0.
        matches: number of the neuron of the second layer with the largest absolute correlation.
        correlations: this absolute correlation.
    """

    neurons: Array
    matches: Array
    correlations: Array


def best_matches(pair: LayerPair) -> Matches:
    """Return the best match of each neuron: MaxCorr of Bau et al. 2019, section 3.

    Raises:
        LotteryError: every neuron of a layer is constant.
    """
    _refuse_constant(pair)
    strengths = np.abs(pair.correlations)
    neurons = np.flatnonzero(pair.first.varies)
    matches = strengths[neurons].argmax(axis=1)
    return Matches(neurons, matches, np.minimum(strengths[neurons, matches], 1.0))


def neuron_sim(pair: LayerPair) -> float:
    """Return the mean over neurons of the best match's absolute correlation.

    It is "neuronsim" of Wu et al. 2020, section 3.1, and of Movva & Zhao 2020. It is not symmetric.
    Constant neurons of the first layer are left out, and those of the second match nothing.
    """
    return float(best_matches(pair).correlations.mean())


def neuron_matches(pair: LayerPair) -> float:
    """Return the share of neurons whose best match has the same number."""
    found = best_matches(pair)
    return float((found.neurons == found.matches).mean())


def mixed_sim(pair: LayerPair) -> float:
    """Return the mean correlation of each neuron with its linear regression on the other layer.

    It is "mixedsim" of Wu et al. 2020, section 3.1: least squares with an intercept on all neurons
    of the second layer. Independent layers reach about sqrt(neurons / words).

    Raises:
        LotteryError: every neuron of a layer is constant, or words do not outnumber the neurons of
            the second layer, so that every fit would be perfect.
    """
    _refuse_constant(pair)
    neurons = int(pair.second.varies.sum())
    if pair.words <= neurons + 1:
        raise LotteryError(
            f"a regression on {neurons} neurons fits {pair.words} words without error; record more"
            f" than {neurons + 1} words"
        )
    values, vectors = pair.second.principal
    fits = (pair.correlations[pair.first.varies] @ vectors) / np.sqrt(values)
    return float(np.minimum(np.linalg.norm(fits, axis=1), 1.0).mean())


def _refuse_constant(pair: LayerPair) -> None:
    if not pair.varies:
        raise LotteryError("every neuron of a layer is constant; it has no similarity")

"""Complexity of activations and of weight matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from fairseq_lottery.adapters import group_of
from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.complexity.spectrum import (
    effective_rank,
    explained_variance,
    singular_values,
    variances_of,
)
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.similarity.canonical import directions_for
from fairseq_lottery.analysis.similarity.recorded import moments
from fairseq_lottery.errors import LotteryError

_complexity = partial(measure, command="complexity", over="activations")
_matrix_complexity = partial(measure, command="complexity", over="weights")
_LAYER = re.compile(r"\blayers\.(\d{1,6})\b")
#: statistic -> whether the mean of each neuron is subtracted
_CENTRED = {"centred": True, "not-centred": False}


def _spectra(recording: Recording) -> Iterator[tuple[Row, dict[str, Array]]]:
    """Yield each layer, and its variances by statistic."""
    for part in recording.record.parts:
        for layer, one in enumerate(moments(recording, part), 1):
            key = "variances", part, layer
            if key not in recording.shared:
                recording.shared[key] = {
                    name: variances_of(one, centred) for name, centred in _CENTRED.items()
                }
            yield {"part": part, "layer": layer}, recording.shared[key]


@_complexity("variance", title="cumulative variance", in_report=("centred",))
def variance(recording: Recording) -> Iterator[Row]:
    """Yield the share of variance that the first k directions hold; ``component`` is k."""
    for place, spectra in _spectra(recording):
        for statistic, variances in spectra.items():
            for k, share in enumerate(explained_variance(variances), 1):
                yield {**place, "statistic": statistic, "component": k, "value": float(share)}


@_complexity("effective-rank", title="effective rank", limits=(0.0, None),
             in_report=("centred",))  # fmt: skip
def activation_rank(recording: Recording) -> Iterator[Row]:
    """Yield the effective rank by Roy & Vetterli."""
    for place, spectra in _spectra(recording):
        for statistic, variances in spectra.items():
            value = effective_rank(np.sqrt(variances))
            yield {**place, "statistic": statistic, "value": value}


@_complexity("rank-99", title="directions with 99 % of the variance",
             limits=(0.0, None))  # fmt: skip
def activation_directions(recording: Recording) -> Iterator[Row]:
    """Yield the fewest directions with 99 % of the variance, also of standardised neurons."""
    for place, spectra in _spectra(recording):
        layer = moments(recording, str(place["part"]))[int(str(place["layer"])) - 1]
        standardised = layer.principal[0] if layer.varies.any() else np.zeros(0)
        for statistic, variances in {**spectra, "standardised": standardised}.items():
            value = float(directions_for(variances))
            yield {**place, "statistic": statistic, "value": value}


def _matrices(model: ModelFile) -> Iterator[tuple[Row, Array]]:
    """Yield each weight matrix, and its singular values."""
    for name, tensor in model.weights.items():
        if tensor.dim() != 2 or not tensor.is_floating_point():
            continue
        key = "singular values", name
        if key not in model.shared:
            weights = tensor.detach().double().numpy()
            if not np.isfinite(weights).all():
                raise LotteryError(f"{name} of {model.name} has NaN or infinity; it did not train")
            model.shared[key] = singular_values(weights)
        layer = _LAYER.search(name)
        numbered = {"layer": int(layer[1]) + 1} if layer else {}
        yield {"part": group_of(name), **numbered, "matrix": name}, model.shared[key]


@_matrix_complexity("matrix-variance", title="cumulative variance of matrices")
def matrix_variance(model: ModelFile) -> Iterator[Row]:
    """Yield the share of the squared norm that the first k directions hold."""
    for place, values in _matrices(model):
        for k, share in enumerate(explained_variance(values**2), 1):
            yield {**place, "component": k, "value": float(share)}


@_matrix_complexity("matrix-effective-rank", title="effective rank of matrices",
                    limits=(0.0, None))  # fmt: skip
def matrix_rank(model: ModelFile) -> Iterator[Row]:
    """Yield the effective rank by Roy & Vetterli; 0 for a zero matrix."""
    for place, values in _matrices(model):
        yield {**place, "value": effective_rank(values)}


@_matrix_complexity("matrix-rank-99", title="directions of matrices with 99 % of the variance",
                    limits=(0.0, None))  # fmt: skip
def matrix_directions(model: ModelFile) -> Iterator[Row]:
    """Yield the fewest directions with 99 % of the squared norm; 0 for a zero matrix."""
    for place, values in _matrices(model):
        yield {**place, "value": float(directions_for(values**2))}

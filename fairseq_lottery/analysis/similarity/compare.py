"""``compare_models``: the similarities of a model to others, or of its layers to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.compute import (
    Input,
    compute,
    describe,
    open_inputs,
    reads,
    select_measures,
)
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.results import Results
from fairseq_lottery.analysis.similarity.neurons import best_matches
from fairseq_lottery.analysis.similarity.recorded import layer_pairs
from fairseq_lottery.errors import LotteryError

#: (part, layer) -> each neuron's best correlation in the same layer of each other model
Bests = dict[tuple[str, int], list[Array]]


def compare_models(
    first: Union[str, Path, Recording, ModelFile],
    *others: Union[str, Path, Recording, ModelFile],
    measures: Optional[Sequence[str]] = None,
) -> Results:
    """Compute the similarities of a model to others.

    Args:
        first: recording (a folder), for measures of activations and attention, or file of a model,
            for measures of weights and masks.
        others: models of the same kind; none to compare a recording's layers to each other. Where
            there are several, such as a pruned model and its random controls, the column ``other``
            names them. NeuronSim then also has the statistics ``max-corr`` and ``min-corr``: the
            largest and the smallest over the models of each neuron's best correlation in the same
            layer (Bau et al. 2019).
        measures: names of measures; by default all that apply.

    Returns:
        rows of all pairs of layers. ``inputs["left_out"]`` has the measures that do not apply, with
        the reason.

    Raises:
        LotteryError: an input cannot be read, recordings have different words, a named measure does
            not apply, or none does.
    """
    inputs = open_inputs([first, *others])
    model, compared = inputs[0], inputs[1:]
    if not compared:
        if not isinstance(model, Recording):
            raise LotteryError("a file of a model is compared to another one; give two files")
        compared = [model]
    names = _labels(compared)
    selected = select_measures("similarity", reads(model), 2, measures)
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    bests: Bests = {}
    over_models = len(compared) > 1 and any(one.name == "neuron-sim" for one in selected)
    for name, other in zip(names, compared):
        several = {"other": name} if len(compared) > 1 else {}
        found, refused = compute(selected, (model, other), measures is not None)
        rows += [{**row, **several} for row in found]
        left_out.update(refused)
        if over_models:
            _collect_bests(model, other, bests)
    if over_models:
        rows += _over_models(bests, len(compared))
    described: Mapping[str, Any] = {
        "first": describe(model),
        "others": {name: describe(one) for name, one in zip(names, compared)},
        "left_out": left_out,
    }
    return Results("similarity", described, rows)


def _labels(models: Sequence[Input]) -> list[str]:
    names = [str(one.folder) if isinstance(one, Recording) else one.name for one in models]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise LotteryError(f"{sorted(repeated)[0]} is given twice; compare different models")
    return names


def _collect_bests(model: Input, other: Input, bests: Bests) -> None:
    assert isinstance(model, Recording) and isinstance(other, Recording)
    for part in model.record.parts:
        for (layer, other_layer), pair in layer_pairs(model, other, part).items():
            if layer == other_layer and pair.varies:
                bests.setdefault((part, layer), []).append(best_matches(pair).correlations)


def _over_models(bests: Bests, models: int) -> list[Row]:
    rows: list[Row] = []
    for (part, layer), correlations in bests.items():
        if len(correlations) == models:
            place: Row = {"part": part, "layer": layer, "other_layer": layer}
            table = np.stack(correlations)
            for name, best in (("max-corr", table.max(axis=0)), ("min-corr", table.min(axis=0))):
                value: Row = {"statistic": name, "value": float(best.mean())}
                rows.append({"measure": "neuron-sim", "other": "all", **place, **value})
    return rows

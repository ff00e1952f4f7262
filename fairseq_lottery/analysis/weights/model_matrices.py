"""The prunable matrices of files of models, as arrays, with their columns in tidy rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional, Union

import numpy as np
from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, prunable_matrices, shapes_of

_LAYER = re.compile(r"\blayers\.(\d{1,6})\b")


def place_of(name: str) -> dict[str, Union[str, int]]:
    """Return the columns ``part``, ``layer`` (from 1, of a layer) and ``matrix`` of a parameter."""
    match = _LAYER.search(name)
    layer = {"layer": int(match.group(1)) + 1} if match else {}
    return {"part": group_of(name), **layer, "matrix": name}


def mask_of(model: ModelFile) -> Mask:
    """Return the mask of a model.

    Raises:
        LotteryError: the model is dense.
    """
    if model.mask is None:
        raise LotteryError(f"{model.name} is dense and has no mask; give a pruned model")
    return model.mask


def paired_masks(a: ModelFile, b: ModelFile) -> Iterator[tuple[str, Array, Array]]:
    """Yield name and kept weights of each matrix of two masks, without protected rows.

    Raises:
        LotteryError: a model has no mask, or their prunable sets differ.
    """
    first, second = mask_of(a), mask_of(b)
    try:
        first.intersection(second)
    except LotteryError as error:
        raise LotteryError(f"{a.name} and {b.name}: {error}") from error
    for name in first:
        row = first.protected.get(name)
        yield name, _without(first[name], row), _without(second[name], row)


def survivors(model: ModelFile) -> Iterator[tuple[str, Array, Array]]:
    """Yield name, weights and kept weights of each prunable matrix, without protected rows.

    A model without a mask may have been pruned by another program, so its nonzero weights are kept.
    """
    for name, row in _prunable(model).items():
        weights = _without(model.weights[name], row)
        kept = weights != 0 if model.mask is None else _without(model.mask[name], row)
        yield name, weights, kept


def paired_weights(start: ModelFile, end: ModelFile) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield name, weights of both models, and what both keep, of each prunable matrix.

    Matrices are those that are prunable in both models.

    Raises:
        LotteryError: the models have different matrices, or no prunable one in common.
    """
    rows, others = _prunable(start), _prunable(end)
    for name, tensor in start.weights.items():
        shape = tuple(end.weights[name].shape) if name in end.weights else None
        if name in rows and shape != tuple(tensor.shape):
            raise LotteryError(
                f"{name} has shape {tuple(tensor.shape)} in {start.name}, but"
                f" {shape or 'does not exist'} in {end.name}; give two models of one architecture"
            )
    common = [name for name in rows if name in others]
    if not common:
        raise LotteryError(f"{start.name} and {end.name} have no prunable matrix in common")
    for name in common:
        row = rows[name]
        both = np.ones(start.weights[name].shape, dtype=bool)
        for model in (start, end):
            if model.mask is not None:
                both &= model.mask[name].cpu().numpy()
        first, last = _without(start.weights[name], row), _without(end.weights[name], row)
        yield name, first, last, both if row is None else np.delete(both, row, axis=0)


def _prunable(model: ModelFile) -> dict[str, Optional[int]]:
    """Return name -> protected row of the mask's matrices, or of all matrices of a dense model."""
    if model.mask is None:
        return prunable_matrices(shapes_of(model.weights))
    return {name: model.mask.protected.get(name) for name in model.mask}


def _without(tensor: Tensor, row: Optional[int]) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array if row is None else np.delete(array, row, axis=0)

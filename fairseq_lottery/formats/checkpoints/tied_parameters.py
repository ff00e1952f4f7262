"""Parameters of a fairseq state dict, each tied tensor once."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.compat import PHANTOM_PARAMETER

_BUFFER = re.compile(r"(^|\.)(version|_float_tensor)$")
_PHANTOM = re.compile(PHANTOM_PARAMETER)


def is_parameter(name: str) -> bool:
    """Return whether an entry of a state dict is a parameter, not a buffer or a copy of 0.12.2."""
    return not _BUFFER.search(name) and not _PHANTOM.match(name)


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return name -> trainable parameter, each tied tensor once, as in tickets and masks."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad and is_parameter(n)}


def untie(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return name -> parameter with tied tensors under their first name, and alias -> name.

    Checkpoints of a GPU store tied embeddings once per name without shared memory, so vocabulary
    matrices with equal bits count as tied.
    """
    weights: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    vocabulary: list[str] = []
    for name, tensor in state.items():
        if not is_parameter(name):
            continue
        if group_of(name) in ("embedding", "output") and tensor.dim() == 2:
            for first in vocabulary:
                is_same_shape = weights[first].shape == tensor.shape
                if is_same_shape and torch.equal(weights[first], tensor) and bool(tensor.any()):
                    ties[name] = first
                    break
            else:
                vocabulary.append(name)
        if name not in ties:
            weights[name] = tensor
    return weights, ties

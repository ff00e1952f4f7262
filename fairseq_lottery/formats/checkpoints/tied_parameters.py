"""From a fairseq state dict to its parameters, a tied tensor once."""

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
    """Whether a state dict's entry is a parameter: no buffer, none of 0.12.2's copies."""
    return not _BUFFER.search(name) and not _PHANTOM.match(name)


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter of a model, as tickets and masks know them; a tied tensor once."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad and is_parameter(n)}


def untie(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return name -> parameter with a tied tensor under its first name, and alias -> name.

    Tied embeddings that were moved from a GPU are stored once per name, so sharing of
    memory does not tell: vocabulary matrices that are equal to the bit are one tensor.
    """
    weights: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    vocabulary: list[str] = []
    for name, tensor in state.items():
        if not is_parameter(name):
            continue
        if group_of(name) in ("embedding", "output") and tensor.dim() == 2:
            for first in vocabulary:
                same = weights[first].shape == tensor.shape
                if same and torch.equal(weights[first], tensor) and bool(tensor.any()):
                    ties[name] = first
                    break
            else:
                vocabulary.append(name)
        if name not in ties:
            weights[name] = tensor
    return weights, ties

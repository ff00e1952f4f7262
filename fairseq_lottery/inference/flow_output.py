"""Outputs of a fairseq model for one position, through which its synaptic flow is computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def flow_output(model: Any) -> Tensor:
    """Return the outputs of a model for a source, and a target, of one token.

    In a positive flow the token does not matter, because an embedding returns the sum of its rows.
    A classifier returns the outputs of its head.
    """
    device = next(model.parameters()).device
    # the symbols up to 3 are padding and delimiters
    tokens, lengths = torch.tensor([[4]], device=device), torch.tensor([1], device=device)
    if hasattr(model, "decoder"):
        outputs = model(src_tokens=tokens, src_lengths=lengths, prev_output_tokens=tokens)
    else:
        heads = list(getattr(model, "classification_heads", {}))
        settings = {"features_only": True, "classification_head_name": heads[-1]} if heads else {}
        outputs = model(src_tokens=tokens, **settings)
    output: Tensor = outputs[0]
    return output

"""A mask as the plain tensors and numbers that go into checkpoints and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask


def mask_to_state(mask: Mask) -> dict[str, Any]:
    """Return ``bits`` (packed uint8), ``shapes`` and ``protected``, each by name."""
    return {
        "bits": {name: torch.from_numpy(bits) for name, bits in mask.pack().items()},
        "shapes": {name: list(keep.shape) for name, keep in mask.items()},
        "protected": dict(mask.protected),
    }


def mask_from_state(state: Mapping[str, Any]) -> Mask:
    """The inverse of ``mask_to_state``; refuses what is malformed."""
    try:
        bits = {name: tensor.numpy() for name, tensor in state["bits"].items()}
        return Mask.unpack(bits, state["shapes"], state["protected"])
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise LotteryError(f"the stored mask is malformed: {error}") from error

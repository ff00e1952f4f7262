"""Write snapshots: the weights of a run at one update."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq_lottery.formats import container
from fairseq_lottery.formats.dictionaries import Dictionaries
from fairseq_lottery.formats.mask_state import mask_to_file
from fairseq_lottery.masks import Mask


def save_snapshot(
    path: Union[str, Path],
    weights: Mapping[str, Tensor],
    mask: Optional[Mask],
    dictionaries: Optional[Dictionaries],
    record: Mapping[str, Any],
) -> None:
    """Write weights with the mask, dictionaries and record of their run."""
    tensors = {f"weights/{name}": tensor for name, tensor in weights.items()}
    full = dict(record)
    if mask is not None:
        bits, full["mask"] = mask_to_file(mask)
        tensors.update(bits)
    if dictionaries is not None:
        tensors.update({f"dictionary/{k}": t for k, t in dictionaries.to_tensors().items()})
    container.save(path, "snapshot", tensors, full)

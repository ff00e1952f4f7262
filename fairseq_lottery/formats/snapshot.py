"""Snapshots: the weights of a run at one update."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq_lottery.adapters import stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.dictionaries import Dictionaries
from fairseq_lottery.formats.mask_state import mask_from_state, mask_to_state
from fairseq_lottery.formats.ticket import refuse_other_types
from fairseq_lottery.formats.ticket_record import refuse_malformed
from fairseq_lottery.masks import Mask


def save_snapshot(
    path: Union[str, Path],
    weights: Mapping[str, Tensor],
    mask: Optional[Mask],
    dictionaries: Optional[Dictionaries],
    record: Mapping[str, Any],
) -> None:
    """Write name -> weight, the mask they were trained under, and where they come from."""
    tensors = {f"weights/{name}": tensor for name, tensor in weights.items()}
    full = dict(record)
    if mask is not None:
        state = mask_to_state(mask)
        tensors.update({f"mask/{name}": bits for name, bits in state["bits"].items()})
        full["mask"] = {"shapes": state["shapes"], "protected": state["protected"]}
    if dictionaries is not None:
        tensors.update({f"dictionary/{k}": t for k, t in dictionaries.to_tensors().items()})
    container.save(path, "snapshot", tensors, full)


def load_snapshot(path: Union[str, Path]) -> dict[str, Any]:
    """Return ``adapter``, ``weights``, ``mask``, ``dictionaries`` and ``record`` of a snapshot."""
    tensors, record = container.load(path, "snapshot")
    parts = container.split(path, tensors, ("weights", "mask", "dictionary"))
    mask = record.pop("mask", None)
    if not isinstance(mask, (dict, type(None))) or (mask is None and parts["mask"]):
        raise LotteryError(f"{path} is damaged (its mask has no shapes)")
    refuse_malformed(record, path)
    refuse_other_types(parts["weights"], path)
    adapter = stored_adapter(record, path)
    return {
        "adapter": adapter,
        "weights": parts["weights"],
        "mask": mask_from_state({**mask, "bits": parts["mask"]}) if mask is not None else None,
        "dictionaries": (
            Dictionaries.from_tensors(parts["dictionary"], adapter.vocabularies)
            if parts["dictionary"]
            else None
        ),
        "record": record,
    }

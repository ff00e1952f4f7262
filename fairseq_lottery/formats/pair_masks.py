"""Masks of pairs of languages as files, and in the state of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import refuse_other_than_json
from fairseq_lottery.formats import container
from fairseq_lottery.formats.entry_checks import count, entries, every, tensors
from fairseq_lottery.formats.mask_state import mask_from_state, mask_to_state
from fairseq_lottery.masks import PairMasks

KIND = "pair-masks"


def pair_masks_to_state(masks: PairMasks) -> dict[str, Any]:
    """Return ``pairs`` (pair -> number of its mask), ``bits`` (number -> packed mask) and layout.

    A mask that several pairs share is stored once.
    """
    states = [mask_to_state(mask) for mask, _ in masks.groups]
    numbers = {pair: n for n, (_, pairs) in enumerate(masks.groups) for pair in pairs}
    return {
        "pairs": {pair: numbers[pair] for pair in masks},
        "bits": {str(number): state["bits"] for number, state in enumerate(states)},
        "shapes": states[0]["shapes"],
        "protected": states[0]["protected"],
    }


def pair_masks_from_state(state: Mapping[str, Any]) -> PairMasks:
    """Return the masks of a state; ``pair_masks_to_state`` is the inverse."""
    layout = {"shapes": state.get("shapes"), "protected": state.get("protected")}
    bits, pairs = state.get("bits") or {}, state.get("pairs") or {}
    masks = {number: mask_from_state({**layout, "bits": one}) for number, one in bits.items()}
    if {str(number) for number in pairs.values()} != set(masks):
        raise LotteryError("the stored masks of pairs are malformed: a pair has no mask")
    return PairMasks({pair: masks[str(number)] for pair, number in pairs.items()})


def stored_pair_masks(run: Mapping[str, Any]) -> Optional[PairMasks]:
    """Return the masks of pairs in the entries of a run in a checkpoint, or None."""
    stored = run.get("pair_masks")
    return pair_masks_from_state(stored) if stored else None


def refuse_malformed_pair_masks(value: Any, name: str, size: int) -> None:
    """Refuse a malformed state of masks, as it is read from a file."""
    entries({"bits": every(tensors), "pairs": every(count)}, ("bits", "pairs"))(value, name, size)
    refuse_other_than_json({k: v for k, v in value.items() if k != "bits"}, f"its {name}")


def save_pair_masks(path: Union[str, Path], masks: PairMasks, overwrite: bool = True) -> None:
    """Write masks as a file with one bit per weight and distinct mask."""
    state = pair_masks_to_state(masks)
    bits: dict[str, Tensor] = {
        f"mask/{number}/{name}": tensor
        for number, one in state.pop("bits").items()
        for name, tensor in one.items()
    }
    container.save(path, KIND, bits, state, overwrite)


def load_pair_masks(path: Union[str, Path]) -> PairMasks:
    """Read masks that ``save_pair_masks`` wrote.

    Raises:
        LotteryError: the file is missing, malformed or of another kind.
    """
    tensors_by_name, record = container.load(path, KIND)
    bits: dict[str, dict[str, Tensor]] = {}
    for name, tensor in container.split(path, tensors_by_name, ("mask",))["mask"].items():
        number, _, matrix = name.partition("/")
        bits.setdefault(number, {})[matrix] = tensor
    state = {**record, "bits": bits}
    try:
        refuse_malformed_pair_masks(state, "record", Path(path).stat().st_size)
        return pair_masks_from_state(state)
    except LotteryError as error:
        raise LotteryError(f"{path} is malformed: {error}") from error


def is_pair_masks(path: Union[str, Path]) -> bool:
    """Return whether a file has masks of pairs."""
    return Path(path).suffix == ".safetensors" and container.kind_of(path) == KIND

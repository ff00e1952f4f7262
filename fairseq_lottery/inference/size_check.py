"""Check that an architecture matches the size of its weights, before it is built.

A file of a kilobyte can claim that its model has ten million layers. Building takes memory and time
for all of them before any shapes are compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError

#: settings of fairseq's models that are sizes, counts or rates; settings of a user's own
#: architecture are not checked
_NUMBERS = re.compile(
    r"(encoder|decoder)_.*|max_(source_|target_)?positions|tokens_per_sample|adaptive_.*|.*dropout"
    r"|(base|quant_noise)_.*"
)
#: maximum rows of a computed (not learned) table of positions; fairseq's largest is 10 ** 5
_MOST_POSITIONS = 1 << 17
#: maximum length of a list, such as kernel sizes with one value per layer
_LONGEST_LIST = 1000
#: maximum layers of a stack if its weights are not compared
_MOST_LAYERS = 1000
#: parameters that a model may have beyond twice those of its file
_SPARE = 1 << 26


def refuse_other_sizes(
    weights: Mapping[str, Tensor], settings: Mapping[str, Any], adapter: TaskAdapter, path: object
) -> None:
    """Refuse settings that make a model larger than its weights.

    Args:
        weights: name -> parameter, a tied tensor once.
        settings: settings of the architecture: names, numbers, and texts of numbers.
        path: file of weights and settings, for messages.
    """
    limits, settings = _limits(weights, adapter), dict(settings)
    for side in adapter.stacks:
        kept = settings.pop(f"{side}_layers_to_keep", None)
        if kept:  # a list with one number per layer
            settings[f"{side}_layers"] = len(str(kept).split(","))
    for key, value in settings.items():
        if not (key in limits or _NUMBERS.fullmatch(key)):
            continue
        _refuse(key, value, limits.get(key, limits["other"]), path)
    stacks = adapter.stacks.items()
    size = sum(_parameters(settings, side, stack.positions) for side, stack in stacks)
    if size > 2 * sum(weight.numel() for weight in weights.values()) + _SPARE:
        raise LotteryError(
            f"the architecture of {path} has {size} weights, far more than the file stores; use"
            " the file as it was written"
        )


def refuse_many_layers(settings: Mapping[str, Any], adapter: TaskAdapter, path: object) -> None:
    """Refuse more than 1000 layers, for which lists of values would take much memory."""
    for side in adapter.stacks:
        key = f"{side}_layers"
        _refuse(key, settings.get(key), _MOST_LAYERS, path)


def _refuse(key: str, value: Any, most: int, path: object) -> None:
    least = 1 if key.endswith(("_heads", "_factor")) else 0  # dimensions are divided by these
    texts = value.split(",") if isinstance(value, str) and re.fullmatch("[0-9,]+", value) else []
    values = value if isinstance(value, list) else [value]
    numbers = [n for n in values if isinstance(n, (int, float))] + [float(t) for t in texts if t]
    is_fitting = all(least <= number <= most for number in numbers)
    if not is_fitting or len(numbers) > _LONGEST_LIST:
        raise LotteryError(
            f"the architecture of {path} has {key} {str(value)[:50]}, which does not match its"
            " weights; use the file as it was written"
        )


def _limits(weights: Mapping[str, Tensor], adapter: TaskAdapter) -> dict[str, int]:
    """Return setting -> largest value that the weights allow; ``other`` for other settings."""
    limits = {"other": max((max(w.shape) for w in weights.values() if w.dim()), default=0)}
    shared = weights.get(next(iter(adapter.vocabularies.values())).embedding)
    for side, stack in adapter.stacks.items():
        prefix = f"{stack.prefix}."
        own = {name: weight for name, weight in weights.items() if name.startswith(prefix)}
        numbers = [re.match(rf"{re.escape(prefix)}layers\.(\d+)\.", name) for name in own]
        layers = {match.group(1) for match in numbers if match}
        inner = [len(w) for name, w in own.items() if name.endswith(".fc1.weight") and w.dim()]
        positions = own.get(f"{prefix}embed_positions.weight")
        limits[f"{side}_layers"] = len(layers) or len(own)
        limits[f"{side}_ffn_embed_dim"] = max(inner, default=limits["other"])
        # a decoder may share the encoder's embedding
        table = own.get(f"{prefix}embed_tokens.weight", shared)
        limits[f"{side}_embed_dim"] = _size(table, 1, limits["other"])
        limits[stack.positions] = _size(positions, 0, _MOST_POSITIONS)
    output = weights.get("decoder.output_projection.weight")
    if "decoder" in adapter.stacks:
        limits["decoder_output_dim"] = _size(output, 1, limits["decoder_embed_dim"])
    return limits


def _size(table: Optional[Tensor], dimension: int, otherwise: int) -> int:
    """Return the rows (0) or columns (1) of a matrix; ``otherwise`` if it is not one."""
    return table.shape[dimension] if table is not None and table.dim() == 2 else otherwise


def _parameters(settings: Mapping[str, Any], side: str, positions: str) -> int:
    """Return a lower bound of a stack's weights: self-attention, inner layers and positions."""

    def size(key: str) -> int:
        value = settings.get(key)
        return value if isinstance(value, int) else 0

    embed, inner = size(f"{side}_embed_dim"), size(f"{side}_ffn_embed_dim")
    layers = size(f"{side}_layers") * (4 * embed * embed + 2 * embed * inner)
    return layers + size(positions) * embed

"""Floating-point operations of a training, counted from the shapes of its batches.

A matrix with n weights that multiplies p positions takes 2np operations, as does each of the two
products of its backward pass. An attention module of width d with q queries and k keys takes 4qkd
for its two products. Other operations (norms, activations, softmax, the optimizer) are not counted,
as in Evci et al. (2020, appendix).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import nn

from fairseq_lottery.adapters import TaskAdapter, group_of
from fairseq_lottery.formats.checkpoints.tied_parameters import trainable
from fairseq_lottery.masks import Mask, shapes_of
from fairseq_lottery.masks.prunable import is_weight_matrix

#: parts of a batch that matrices multiply
PARTS = ("source", "target", "predicted", "sentences")


@dataclass(frozen=True)
class Flops:
    """Operations of forward and backward passes.

    Attributes:
        dense: operations without a mask.
        sparse: operations if pruned weights took none.
    """

    dense: float = 0.0
    sparse: float = 0.0

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.dense + other.dense, self.sparse + other.sparse)


@dataclass(frozen=True)
class BatchShape:
    """Number of positions in a batch, with padding: padding is computed as well.

    Attributes:
        sentences: number of sentences.
        source, target: positions of the encoder and of the decoder.
        predicted: positions whose tokens are predicted.
    """

    sentences: int
    source: int
    target: int
    predicted: int

    @classmethod
    def of(cls, batch: Mapping[str, Any], adapter: TaskAdapter, pad: int) -> BatchShape:
        """Return the shape of a batch of fairseq.

        Args:
            adapter: adapter of the model's task.
            pad: index of padding.
        """
        inputs = batch["net_input"]
        source = inputs["src_tokens"]
        target = inputs.get("prev_output_tokens", source)
        predicted = target.numel()
        if adapter.masks_tokens:
            predicted = int(torch.count_nonzero(batch["target"] != pad))
        elif adapter.has_head:
            predicted = 0
        return cls(len(source), source.numel(), target.numel(), predicted)


def batches_of(sample: Optional[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the batches of a sample: itself, or the parts of a sample that is divided by pairs."""
    if sample and "net_input" in sample:
        yield sample
    else:
        yield from (sample or {}).values()


class FlopCounter:
    """Counts the operations that training a model on a batch takes.

    Args:
        model: the model without wrappers.
        adapter: adapter of its task.
        pad: index of padding.

    Attributes:
        parts: matrix -> the part of a batch that it multiplies.
        attention: (part of the queries, part of the keys, width) of each attention module.
    """

    def __init__(self, model: nn.Module, adapter: TaskAdapter, pad: int = 1) -> None:
        self._adapter, self._pad = adapter, pad
        self._sizes = {name: p.numel() for name, p in trainable(model).items()}
        outputs = _tied_outputs(model)
        shapes = shapes_of(trainable(model))
        parts = {
            name: "predicted" if name in outputs else _part(name)
            for name, shape in shapes.items()
            if is_weight_matrix(name, shape)
        }
        self.parts = {name: part for name, part in parts.items() if part is not None}
        self.attention = [
            (self.parts[name], _part_of_keys(name), shapes[name][1])
            for name in self.parts
            if name.endswith("attn.out_proj.weight")
        ]
        self._mask: Optional[Mask] = None
        self._all = self._kept = self._count(None)

    def count(
        self, batch: Mapping[str, Any], mask: Optional[Mask], dense_gradients: bool = False
    ) -> Flops:
        """Return the operations of the forward and backward pass of one batch.

        Args:
            mask: mask of the model; None without one.
            dense_gradients: whether gradients of pruned weights are computed as well.
        """
        if mask is not self._mask:
            self._mask, self._kept = mask, self._count(mask)
        shape = BatchShape.of(batch, self._adapter, self._pad)
        positions = {part: getattr(shape, part) for part in PARTS}
        dense = sum(2.0 * self._all[part] * positions[part] for part in PARTS)
        kept = sum(2.0 * self._kept[part] * positions[part] for part in PARTS)
        attention = sum(
            4.0 * positions[queries] * positions[keys] / shape.sentences * width
            for queries, keys, width in self.attention
        )
        # forward, gradient of the inputs, gradient of the weights
        of_weights = dense if dense_gradients else kept
        return Flops(3 * (dense + attention), 2 * kept + of_weights + 3 * attention)

    def _count(self, mask: Optional[Mask]) -> dict[str, int]:
        """Return the kept weights of the matrices that multiply each part of a batch."""
        counts = dict.fromkeys(PARTS, 0)
        for name, part in self.parts.items():
            pruned = mask.pruned_in(name) if mask is not None and name in mask else 0
            counts[part] += self._sizes[name] - pruned
        return counts


def _tied_outputs(model: nn.Module) -> set[str]:
    """Return the output projections under their first names: they may be tied to embeddings."""
    names: dict[int, str] = {}
    outputs = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        first = names.setdefault(id(tensor), name)
        if group_of(name) == "output":
            outputs.add(first)
    return outputs


def _part(name: str) -> Optional[str]:
    """Return the part of a batch that a matrix multiplies; None if its rows are looked up."""
    group = group_of(name)
    if group == "embedding":
        return None
    if group == "classifier":
        return "sentences" if name.startswith("classification_heads.") else "predicted"
    if group == "enc_dec" and (".k_proj." in name or ".v_proj." in name):
        return "source"
    return "target" if name.startswith("decoder.") else "source"


def _part_of_keys(name: str) -> str:
    is_from_encoder = group_of(name) in ("enc_self", "enc_dec")
    return "source" if is_from_encoder else "target"

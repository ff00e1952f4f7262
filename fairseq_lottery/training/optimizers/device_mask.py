"""Setting pruned weights and their gradients to zero, on the device where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from torch import Tensor, nn
from torch._utils import _unflatten_dense_tensors

from fairseq_lottery.masks import Mask

_INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}

#: types of devices on which tensors are masked in groups, because starting a kernel there takes
#: longer than masking a matrix; on a CPU, groups are slower than single matrices
GROUPED_DEVICES = ("cuda",)

#: Largest number of weights in a group of several tensors. A call of torch's fused kernel takes
#: 64 pairs of tensors and 320 blocks of 65,536 numbers, or more since CUDA 12.1.
GROUP_SIZE = 2**24


def _bits(tensor: Tensor) -> Tensor:
    """Return a view of a tensor of floating-point numbers as integers of the same size."""
    return tensor.view(_INTEGER[tensor.element_size()])


def zero_pruned_(tensor: Tensor, keep: Tensor) -> None:
    """Set ``tensor`` to +0.0 where ``keep`` is 0; preserve every bit where it is 1.

    Args:
        tensor: floating-point tensor of any layout.
        keep: uint8 tensor of 0 and 1, of the same shape.

    The bits are multiplied as integers. A float product would turn negative numbers into -0.0
    and infinite gradients into NaN; ``masked_fill_`` takes five times as long on a CPU.
    """
    _bits(tensor.detach()).mul_(keep)


def zero_pruned_parameters(model: nn.Module, mask: Mask) -> None:
    """Set pruned weights of a model, such as the averaged one, to zero."""
    for name, parameter in model.named_parameters():
        if name in mask:
            zero_pruned_(parameter.data, mask[name].to(parameter.device, torch.uint8))


class DeviceMask:
    """Mask of a list of tensors, on their devices, at one byte a weight.

    ``zero_pruned_`` does what the function of this name does to each tensor. On a GPU it takes a
    few kernels for all of them: torch's fused product requires factors of one type, so the mask
    of a group is converted to integers of the size of its weights, and deleted afterwards.
    Conversions take at most 4 bytes x ``GROUP_SIZE`` (64 MiB) in fp32, one group at a time.

    Args:
        rows: (tensor, uint8 keep of its shape) for each tensor.

    Attributes:
        keeps: uint8 keep of each tensor.
    """

    def __init__(self, rows: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.keeps = [keep for _, keep in rows]
        #: (positions in the list, masks of these tensors one after the other)
        self._groups: list[tuple[list[int], Tensor]] = []
        for positions in _group(rows):
            if len(positions) == 1:
                self._groups.append((positions, self.keeps[positions[0]]))
                continue
            keeps = [self.keeps[position] for position in positions]
            joined = torch.cat([keep.reshape(-1) for keep in keeps])
            for position, view in zip(positions, _unflatten_dense_tensors(joined, keeps)):
                self.keeps[position] = view
            self._groups.append((positions, joined))

    @torch.no_grad()
    def zero_pruned_(self, tensors: Sequence[Optional[Tensor]]) -> None:
        """Set pruned entries of ``tensors`` to +0.0; preserve every other bit.

        Args:
            tensors: a tensor like each one of the list, such as its gradient; None to leave it out.
        """
        for positions, joined in self._groups:
            used = {p: t for p, t in ((p, tensors[p]) for p in positions) if t is not None}
            if len(used) > 1:
                self._multiply(positions, joined, used)
                continue
            for position, tensor in used.items():
                zero_pruned_(tensor, self.keeps[position])

    def _multiply(
        self, positions: Sequence[int], joined: Tensor, used: Mapping[int, Tensor]
    ) -> None:
        """Multiply the tensors of a group that are used, by position, by their masks."""
        bits = [_bits(tensor) for tensor in used.values()]
        factors = _unflatten_dense_tensors(
            joined.to(bits[0].dtype), [self.keeps[position] for position in positions]
        )
        torch._foreach_mul_(bits, [f for p, f in zip(positions, factors) if p in used])


def _group(rows: Sequence[tuple[Tensor, Tensor]]) -> list[list[int]]:
    """Return the positions of tensors that are masked together.

    The tensors of a group have one device and one size of numbers. Empty tensors are in no group:
    the fused kernel of torch 1.12 ignores what precedes an empty tensor at the end of a list.
    """
    groups: list[list[int]] = []
    open_groups: dict[tuple[torch.device, int], tuple[list[int], int]] = {}
    for position, (tensor, keep) in enumerate(rows):
        if not keep.numel():
            continue
        key = (tensor.device, tensor.element_size())
        group, size = open_groups.get(key, ([], 0))
        is_fused = tensor.device.type in GROUPED_DEVICES
        if not is_fused or not group or size + keep.numel() > GROUP_SIZE:
            group, size = [], 0
            groups.append(group)
        group.append(position)
        open_groups[key] = (group, size + keep.numel())
    return groups

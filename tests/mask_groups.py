"""Masking in groups, as on a GPU, on a CPU too; and what torch's fused kernel requires of them."""

import torch

from fairseq_lottery.training.optimizers import device_mask


def check(tensors, factors):
    """torch's conditions for its fused kernel (``ATen/native/ForeachUtils.h``), and our own."""
    assert len(tensors) == len(factors) > 1
    assert sum(tensor.numel() for tensor in tensors) <= device_mask.GROUP_SIZE
    for tensor, factor in zip(tensors, factors):
        assert tensor.dtype == factor.dtype == tensors[0].dtype
        assert not tensor.dtype.is_floating_point
        assert tensor.device == factor.device == tensors[0].device
        assert tensor.shape == factor.shape and tensor.stride() == factor.stride()
        assert tensor.is_contiguous() and factor.is_contiguous()
        assert tensor.numel()  # torch 1.12 starts no kernel if the last tensor is empty


def group_masks(size=10_000, patch=setattr):
    """Mask in groups on a CPU; print and check each fused product."""
    fused = torch._foreach_mul_

    def watched(tensors, factors):
        if isinstance(factors, (list, tuple)):  # fairseq clips gradients by one factor for all
            check(tensors, factors)
            print("fused product of", len(tensors), flush=True)
        fused(tensors, factors)

    patch(device_mask, "GROUPED_DEVICES", ("cuda", "cpu"))
    patch(device_mask, "GROUP_SIZE", size)
    patch(torch, "_foreach_mul_", watched)

"""Sums of gradients and of Hessian-gradient products over batches.

Each batch is differentiated in the type of the weights, and batches are added in float64. So sums
of the same batches over one or several processes differ by a few units of 2^-53, and seldom after
they are rounded to fp32.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.saliency.private_copy import PrivateCopy

#: (module, batch) -> loss, summed over the examples of the batch
Loss = Callable[[nn.Module, Any], Tensor]
#: adds up a tensor over all processes, in place
Total = Callable[[Tensor], None]


def sum_gradients(
    model: PrivateCopy, batches: Iterable[Any], loss: Loss, total: Optional[Total] = None
) -> dict[str, Tensor]:
    """Return name -> gradient of the loss, summed over all batches, in fp32.

    Args:
        batches: batches of this process.
        total: adds up a tensor over the processes; None for one process.

    Raises:
        LotteryError: there is no batch, a sum is not finite, or all sums are zero.
    """
    return _rounded(_sum(model, batches, lambda batch: loss(model.module, batch), total))


def sum_hessian_products(
    model: PrivateCopy, batches: Iterable[Any], loss: Loss, total: Optional[Total] = None
) -> dict[str, Tensor]:
    """Return name -> product of the Hessian with the gradient of the loss over all batches.

    Both are those of the summed loss, with respect to the parameters of ``model`` only. Arguments
    and errors are those of ``sum_gradients``; the batches are iterated twice.
    """
    gradients = _sum(model, batches, lambda batch: loss(model.module, batch), total)
    # without their scale, which is a power of two, products do not exceed the range of the weights
    largest = 2.0 ** math.frexp(max(float(g.abs().max()) for g in gradients.values()))[1]
    directions = [(gradients[n] / largest).to(p.dtype) for n, p in model.parameters.items()]

    def slope(batch: Any) -> Tensor:
        """Return the derivative of a batch's loss in the direction of all gradients."""
        parts = torch.autograd.grad(
            loss(model.module, batch), list(model.parameters.values()),
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        return sum(
            ((part * direction).sum() for part, direction in zip(parts, directions)
             if part is not None),
            torch.zeros((), device=directions[0].device),
        )  # fmt: skip

    products = _sum(model, batches, slope, total)
    return _rounded({name: product * largest for name, product in products.items()})


def _sum(
    model: PrivateCopy,
    batches: Iterable[Any],
    function: Callable[[Any], Tensor],
    total: Optional[Total],
) -> dict[str, Tensor]:
    """Return name -> derivative of ``function``, summed over the batches of all processes."""
    parameters = list(model.parameters.values())
    sums = [torch.zeros_like(p, dtype=torch.float64).detach() for p in parameters]
    count = torch.zeros((), dtype=torch.float64, device=sums[0].device)
    with torch.enable_grad(), _math_attention():
        for batch in batches:
            value = function(batch)
            if value.requires_grad:
                derivatives = torch.autograd.grad(value, parameters, allow_unused=True)
                for one, derivative in zip(sums, derivatives):
                    if derivative is not None:
                        one += derivative
            count += 1
    for tensor in (*sums, count) if total is not None else ():
        total(tensor)  # type: ignore[misc]
    # after all processes have added up, so that all of them refuse
    if not int(count):
        raise LotteryError("there are no batches to compute gradients of; give examples")
    by_name = dict(zip(model.parameters, sums))
    for name, tensor in by_name.items():
        if not bool(torch.isfinite(tensor).all()):
            raise LotteryError(
                f"the summed gradient of {name} is not finite; start from weights with a"
                " finite loss"
            )
    return by_name


def _rounded(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    rounded = {name: tensor.float() for name, tensor in sums.items()}
    for name, tensor in rounded.items():
        if not bool(torch.isfinite(tensor).all()):
            raise LotteryError(f"the summed gradient of {name} exceeds the range of fp32")
    if not any(bool(tensor.any()) for tensor in rounded.values()):
        raise LotteryError("all summed gradients are 0, so they rank nothing; choose another score")
    return rounded


def _math_attention() -> contextlib.AbstractContextManager[Any]:
    """Let torch's attention use differentiable operations; its kernels have no second derivative.

    Before torch 2.3 it has no such switch, and fairseq's modules do not need it.
    """
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:
        return contextlib.nullcontext()
    return sdpa_kernel(SDPBackend.MATH)

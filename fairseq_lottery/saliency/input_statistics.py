"""Statistics of the inputs of linear layers over calibration examples, for Wanda and SparseGPT."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.saliency.gradient_sums import Loss, Total
from fairseq_lottery.saliency.private_copy import PrivateCopy

#: share of the mean diagonal that is added to it: Frantar & Alistarh (2023)
_DAMPING = 0.01


def input_norms(
    model: PrivateCopy, batches: Iterable[Any], loss: Loss, total: Optional[Total] = None
) -> dict[str, Tensor]:
    """Return matrix -> norm over all positions of the input that each weight multiplies, in fp32.

    The tensors have the shapes of the matrices, and equal rows. Batches of one example have no
    padding, which would count as a position.

    Args:
        loss: calls the module; its value is not used.
        total: adds up a tensor over the processes; None for one process.

    Raises:
        LotteryError: a matrix is not the weight of a linear layer, or an input is not finite.
    """
    sums = _sum_over_inputs(model, batches, loss, total, lambda inputs: (inputs**2).sum(dim=0))
    return {name: _expanded(squares.sqrt(), model, name) for name, squares in sums.items()}


def inverse_hessians(
    model: PrivateCopy, batches: Iterable[Any], loss: Loss, total: Optional[Total] = None
) -> dict[str, Tensor]:
    """Return matrix -> diagonal of the inverse of X'X for the inputs X of its layer, in fp32.

    1 % of the mean diagonal is added to the diagonal. Arguments, shapes and errors are those of
    ``input_norms``.
    """
    sums = _sum_over_inputs(model, batches, loss, total, lambda inputs: inputs.t() @ inputs)
    inverses = {}
    for name, product in sums.items():
        damping = _DAMPING * product.diagonal().mean()
        product.diagonal().add_(damping if damping > 0 else 1.0)  # a layer that was not called
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(product))
        inverses[name] = _expanded(inverse.diagonal(), model, name)
    return inverses


def _expanded(by_input: Tensor, model: PrivateCopy, name: str) -> Tensor:
    return by_input.float().expand_as(model.parameters[name]).contiguous()


def _sum_over_inputs(
    model: PrivateCopy,
    batches: Iterable[Any],
    loss: Loss,
    total: Optional[Total],
    statistic: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return matrix -> sum of a statistic of its layer's inputs, (positions, features) in fp64."""
    names = {id(parameter): name for name, parameter in model.parameters.items()}
    layers = {
        module: names[id(module.weight)]
        for module in model.module.modules()
        if isinstance(module, nn.Linear) and id(module.weight) in names
    }
    tables = {id(m.weight) for m in model.module.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in model.parameters.items():
        if name not in layers.values() or id(parameter) in tables:
            raise LotteryError(
                f"{name} is not the weight of a linear layer, whose inputs the score reads; give"
                " --prunable no-embeddings"
            )
    sums: dict[str, Tensor] = {}
    for module, name in layers.items():
        empty = torch.zeros(1, module.in_features, dtype=torch.float64, device=module.weight.device)
        sums[name] = statistic(empty)

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        positions = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
        sums[layers[module]] += statistic(positions)  # type: ignore[index]

    handles = [module.register_forward_pre_hook(add) for module in layers]
    count = torch.zeros((), dtype=torch.float64, device=next(iter(sums.values())).device)
    try:
        with torch.no_grad():
            for batch in batches:
                loss(model.module, batch)
                count += 1
    finally:
        for handle in handles:
            handle.remove()
    for tensor in (*sums.values(), count) if total is not None else ():
        total(tensor)  # type: ignore[misc]
    if not int(count):
        raise LotteryError("there are no batches to record inputs of; give examples")
    for name, tensor in sums.items():
        if not bool(torch.isfinite(tensor).all()):
            raise LotteryError(f"the inputs of {name} are not finite; start from other weights")
    return sums

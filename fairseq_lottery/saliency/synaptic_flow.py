"""SynFlow: the flow through a model of positive weights, without data (Tanaka et al. 2020).

The flow R is the sum of all outputs for an input of ones, after every parameter was replaced by its
magnitude, also biases and the weights of norms, as in the authors' code. The score of a weight is
|w| * dR/d|w|. The scores of all weights and the bias into a hidden unit then have the same sum as
those out of it, because all operations are linear in the positive numbers that pass through them.

A Transformer has other operations, which are replaced in a copy of the model:

* an embedding returns the sum of all its rows: an input of ones, through which every type flows;
* positions are zero;
* a layer norm divides by the mean of its input, as a constant, and subtracts nothing;
* a softmax divides its positive input by the sum, as a constant, and takes no exponentials. So
  queries and keys have a flow, and values keep their range;
* queries, keys and values, which are multiplied, pass back a third of the flow each;
* both terms of a residual connection are divided by their means, as constants. So both terms have
  the same mean, and each carries about half of the flow, however much of the branch is pruned.
  Otherwise a branch that loses weights also loses flow to its shortcut, and global ranks empty
  whole layers;
* GELU, SiLU and tanh pass positive numbers unchanged, as ReLU does.

Common other operations that are not linear in positive numbers, such as gates, are refused. All of
it is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import ScoreInput
from fairseq_lottery.masks.gradient_scores import synflow
from fairseq_lottery.masks.prunable import is_position
from fairseq_lottery.saliency.private_copy import PrivateCopy, chunks

#: modules whose outputs are multiplied with each other
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
#: the largest score is scaled to between half of 2 to this power and all of it
_LARGEST = 126


def flow_scores(model: PrivateCopy, forward: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """Return name -> scores in fp32, scaled by a power of two that is common to all matrices.

    Scores are compared in fp32. After scaling, the largest is between 2^125 and 2^126. So scores
    down to 2^-251 of the largest keep the precision of fp32; smaller ones lose it.

    Args:
        model: copy in float64 that has taken magnitudes.
        forward: computes the outputs for any input without padding.

    Raises:
        LotteryError: the model has batch norm or an unknown attention, or the flow is negative,
            zero or not finite.
    """
    with torch.enable_grad(), PositiveFlow():
        flow = forward(model.module).sum()
    gradients = torch.autograd.grad(flow, list(model.parameters.values()), allow_unused=True)
    if not bool(torch.isfinite(flow)):
        raise LotteryError("the synaptic flow exceeds the range of float64; choose another score")
    scores = {}
    for (name, parameter), gradient in zip(model.parameters.items(), gradients):
        gradient = torch.zeros_like(parameter) if gradient is None else gradient.contiguous()
        for part, weights in zip(chunks(gradient), chunks(parameter.detach())):
            part.copy_(synflow(ScoreInput(name, weights, gradient=part)))
        scores[name] = gradient
    return _scaled(scores)


def _scaled(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    largest = 0.0
    for name, values in scores.items():
        if not float(values.min()) >= 0:
            raise LotteryError(
                f"the synaptic flow of {name} is negative or undefined, because the model has an"
                " operation that does not keep numbers positive; choose another score"
            )
        largest = max(largest, float(values.max()))
    if not 0 < largest < math.inf:
        raise LotteryError(
            f"the largest synaptic flow is {largest}, so it ranks nothing; choose another score"
        )
    factor = 2.0 ** min(_LARGEST - math.frexp(largest)[1], 1000)  # a float64 ends at 2^1024
    return {name: values.mul_(factor).float() for name, values in scores.items()}


def make_positive(module: nn.Module) -> None:
    """Replace what modules compute, not functions: positions, projections and residuals.

    Raises:
        LotteryError: the module has batch norm.
    """
    for name, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            raise LotteryError(
                f"{name or 'the model'} is a batch norm, which makes positive numbers negative, so"
                " score synflow cannot rank weights; choose another score"
            )
        if is_position(name):
            child.register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
        if name.endswith(_PROJECTIONS):
            child.register_forward_hook(lambda _module, _inputs, output: _third(output))
        if getattr(getattr(child, "activation_fn", None), "__name__", "") == "gelu_accurate":
            child.activation_fn = functional.gelu  # fairseq's formula has powers
        if hasattr(child, "residual_connection"):  # a method of fairseq's layers
            child.residual_connection = _residual


def _third(values: Tensor) -> Tensor:
    """Return the same values, of whose flow a third is passed back."""
    return values / 3 + (values * 2 / 3).detach()


def _residual(branch: Tensor, shortcut: Tensor) -> Tensor:
    return branch / _guarded(branch.mean()) + shortcut / _guarded(shortcut.mean())


def _guarded(divisor: Tensor) -> Tensor:
    """Return a constant divisor, 1 instead of 0 where nothing flows."""
    constant = divisor.detach()
    return torch.where(constant > 0, constant, torch.ones_like(constant))


def _embedding(_indices: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return weight.sum(dim=0).expand(*_indices.shape, -1)


def _layer_norm(
    values: Tensor, shape: Any, weight: Any = None, bias: Any = None, *_: Any, **__: Any
) -> Tensor:
    dims = tuple(range(-len(tuple(shape)), 0))
    values = values / _guarded(values.mean(dim=dims, keepdim=True))
    values = values if weight is None else values * weight
    return values if bias is None else values + bias


def _softmax(values: Tensor, dim: Any = None, *_: Any, **__: Any) -> Tensor:
    values = values.masked_fill(values == -math.inf, 0)  # positions that attention hides
    return values / _guarded(values.sum(dim=-1 if dim is None else dim, keepdim=True))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *_: Any, **__: Any
) -> Tensor:
    scores = query @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return _softmax(scores) @ value


def _same(values: Tensor, *_: Any, **__: Any) -> Tensor:
    return values


def _refuse_attention(*_: Any, **__: Any) -> Tensor:
    raise LotteryError(
        "score synflow cannot pass through torch's nn.MultiheadAttention, which computes all steps"
        " in one call; use fairseq's, or choose another score"
    )


def _refusing(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the function, which refuses tensors that flow."""

    def call(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        tensors = [t for v in values for t in (v if isinstance(v, (list, tuple)) else (v,))]
        if any(isinstance(t, Tensor) and t.requires_grad for t in tensors):
            raise LotteryError(
                f"score synflow cannot pass through {name}, which is not linear in positive"
                " numbers; choose another score"
            )
        return function(*args, **kwargs)

    return call


#: operations that no replacement makes linear
_NOT_LINEAR = (
    *("sigmoid", "logsigmoid", "hardsigmoid", "hardswish", "hardtanh", "softsign", "softplus"),
    *("elu", "selu", "celu", "mish", "glu", "log_softmax", "exp", "log", "sqrt", "rsqrt"),
    *("pow", "__pow__", "float_power", "square", "erf", "sigmoid_", "tanh_"),
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"),
    "rnn_relu_cell",
)
_REPLACEMENTS: dict[Any, Callable[..., Tensor]] = {
    getattr(place, name): _refusing(getattr(place, name), name)
    for name in _NOT_LINEAR
    for place in (torch, functional, torch.Tensor)
    if hasattr(place, name)
}
_REPLACEMENTS |= {
    functional.embedding: _embedding,
    torch.embedding: lambda weight, indices, *_, **__: _embedding(indices, weight),
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.softmax: _softmax,
    torch.softmax: _softmax,
    torch.Tensor.softmax: _softmax,
    functional.gelu: _same,
    functional.silu: _same,
    functional.tanh: _same,
    torch.tanh: _same,
    torch.Tensor.tanh: _same,
    # fairseq casts to fp32 in some layers
    torch.Tensor.float: _same,
    functional.multi_head_attention_forward: _refuse_attention,
}
if hasattr(functional, "scaled_dot_product_attention"):
    _REPLACEMENTS[functional.scaled_dot_product_attention] = _attention

#: torch 1.12 has modes with another interface
HAS_MODES = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (1, 13)
_Mode: Any = torch.overrides.TorchFunctionMode if HAS_MODES else object


class PositiveFlow(_Mode):
    """Context in which a module keeps positive numbers positive, and is linear in them.

    Raises:
        LotteryError: torch is older than 1.13.
    """

    def __init__(self) -> None:
        if not HAS_MODES:
            raise LotteryError(
                f"score synflow requires torch 1.13 or later, found {torch.__version__}; choose"
                " another score"
            )
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))

"""``Layout``: the layers and attention modules of a Transformer, and their outputs in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.adapters import Stack
from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import PARTS
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.attention_weights import watched_heads

#: part -> attention module of a layer -> kind of attention
_MODULES = {
    "encoder": {"self_attn": "enc_self"},
    "decoder": {"self_attn": "dec_self", "encoder_attn": "enc_dec"},
}


@dataclass(frozen=True)
class Layout:
    """The layers and attention modules of a Transformer.

    Attributes:
        layers: (part, layer from 1) -> module whose output is that of the layer. For the last
            layer of a part with a final norm, as in pre-norm models, it is this norm: the next
            stage reads its output.
        attention: name of an attention module -> (kind, layer from 1).
        width: width of each part.
        heads: kind -> heads of each layer.
    """

    layers: Mapping[tuple[str, int], Any]
    attention: Mapping[str, tuple[str, int]]
    width: Mapping[str, int]
    heads: Mapping[str, int]

    @classmethod
    def of(cls, model: Any, stacks: Mapping[str, Stack]) -> Layout:
        """Return the layout of fairseq's Transformer; refuse other models.

        Args:
            stacks: stacks of layers of the model's task.
        """
        modules = dict(model.named_modules())
        prefixes = {part: stacks[part].prefix for part in PARTS.values() if part in stacks}
        layers, attention, heads, width = {}, {}, {}, {}
        for part, prefix in prefixes.items():
            number = 0
            while f"{prefix}.layers.{number}" in modules:
                layers[part, number + 1] = modules[f"{prefix}.layers.{number}"]
                number += 1
            if number and modules.get(f"{prefix}.layer_norm") is not None:
                layers[part, number] = modules[f"{prefix}.layer_norm"]
            for ending, kind in _MODULES[part].items():
                names = [f"{prefix}.layers.{layer}.{ending}" for layer in range(number)]
                if not names or not modules.keys() >= set(names):
                    raise LotteryError(
                        f"the model has no {kind} attention in each of its {number} {part} layers;"
                        " only fairseq's Transformers for translation and its encoders can be"
                        " recorded"
                    )
                attention.update({name: (kind, layer) for layer, name in enumerate(names, 1)})
                heads[kind] = modules[names[0]].num_heads
                width[part] = modules[names[0]].embed_dim
        if getattr(getattr(model, "decoder", None), "cross_self_attention", False):
            raise LotteryError(
                "its decoder attends to source and target at once (--cross-self-attention), which"
                " cannot be recorded"
            )
        return cls(layers, attention, width, heads)


def find_pruned_heads(module: Any) -> list[int]:
    """Return the heads, from 0, whose attention has no effect.

    Their value weights or their part of the output matrix are all zero. The value bias does not
    count: a head with only a bias adds the same vector whatever it attends to, as a row of
    attention sums to 1.
    """
    heads = module.num_heads
    with torch.no_grad():
        value = module.v_proj.weight.reshape(heads, -1).abs().sum(dim=1)
        output = module.out_proj.weight.abs().sum(dim=0).reshape(heads, -1).sum(dim=1)
    return [head for head in range(heads) if not value[head] or not output[head]]


@dataclass
class Outputs:
    """What the hooks have seen of a batch, by module."""

    layers: dict[tuple[str, int], Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    norms: dict[str, Array] = field(default_factory=dict)


@contextmanager
def watched_outputs(model: Any, layout: Layout) -> Iterator[Outputs]:
    """Yield outputs that every run of the model replaces."""
    outputs, modules = Outputs(), dict(model.named_modules())

    def keep_layer(key: tuple[str, int], _: Any, __: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        outputs.layers[key] = _numpy(states.transpose(0, 1))

    def keep_norms(name: str, _: Any, __: Any, values: Tensor) -> None:
        outputs.norms[name] = _numpy(value_norms(values, modules[name]))

    def keep_weights(name: str, weights: Tensor) -> None:
        outputs.weights[name] = _numpy(weights.transpose(0, 1))

    with ExitStack() as hooks:
        hooks.enter_context(watched_heads(model, layout.attention, keep_weights))
        for key, layer in layout.layers.items():
            handle = layer.register_forward_hook(partial(keep_layer, key))
            hooks.callback(handle.remove)
        for name in layout.attention:
            handle = modules[name].v_proj.register_forward_hook(partial(keep_norms, name))
            hooks.callback(handle.remove)
        yield outputs


def value_norms(values: Tensor, module: Any) -> Tensor:
    """Return the norms of a module's value vectors after its output matrix.

    Args:
        values: output of the value matrix, (keys, batch, width).
        module: fairseq's attention module.

    Returns:
        (batch, heads, keys): the norm of f(x) in Kobayashi et al. 2020, section 3, without the bias
        of the output matrix, which belongs to no key.
    """
    keys, batch, width = values.shape
    heads = module.num_heads
    split = values.reshape(keys, batch, heads, width // heads).float()
    output = module.out_proj.weight.float().reshape(-1, heads, width // heads)
    products = torch.einsum("ohd,ohe->hde", output, output)
    squares = torch.einsum("kbhd,hde,kbhe->bhk", split, products, split)
    return squares.clamp(min=0).sqrt()


def _numpy(values: Tensor) -> Array:
    result: Array = values.detach().float().cpu().numpy()
    return result

"""``Anatomy``: the attention heads and FFN units of a Transformer, and their names.

The workflow plans with these names, so this module does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.adapters import group_of
from fairseq_lottery.adapters.attention_modules import (
    ATTENTIONS,
    head_counts,
    layer_of,
    tensors_of_heads,
)
from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from torch import Tensor

#: kinds of components: attention heads, single FFN units, whole FFNs
KINDS = ("heads", "units", "blocks")
#: groups of parameters that are FFNs
FFNS = ("enc_ffn", "dec_ffn")

_FFN = re.compile(r"^(.*\blayers\.\d+)\.fc1\.weight$")


def type_of(name: str) -> str:
    """Return the type of an attention module, or of a layer's FFN: the group of its parameters."""
    attention = name.endswith("_attn")
    return group_of(f"{name}.out_proj.weight" if attention else f"{name}.fc1.weight")


def tensors_of(name: str) -> Iterator[tuple[str, int]]:
    """Yield the tensors of a module's heads or a layer's FFN units, and the dimension of these.

    The biases after an output projection and after an FFN belong to no component.
    """
    if name.endswith("_attn"):
        yield from tensors_of_heads(name)
        return
    yield f"{name}.fc1.weight", 0
    yield f"{name}.fc1.bias", 0
    yield f"{name}.fc2.weight", 1


def refuse_inner_norm(layers: Iterable[str], parameters: Container[str]) -> None:
    """Refuse to prune FFN units of layers that normalise over them before the second matrix.

    The norm turns the zero of a pruned unit into another value and changes the other units.
    """
    for layer in layers:
        if f"{layer}.ffn_layernorm.weight" in parameters:
            raise LotteryError(
                f"the FFN of {layer} normalises over its units (--scale-fc), so its units and block"
                " cannot be pruned; prune heads only"
            )


def _order(name: str) -> tuple[int, int, str]:
    groups = (*ATTENTIONS, *FFNS)
    group = type_of(name)
    return groups.index(group) if group in groups else len(groups), layer_of(name), name


@dataclass(frozen=True)
class Anatomy:
    """The number of components of each module.

    Attributes:
        heads: name of an attention module -> number of heads; encoder self-attention first, then
            decoder self-attention, then encoder-decoder attention, each by layer.
        units: name of a layer -> number of FFN units.
    """

    heads: Mapping[str, int]
    units: Mapping[str, int]

    def __post_init__(self) -> None:
        for kind in ("heads", "units"):
            counts = getattr(self, kind)
            ordered = {name: counts[name] for name in sorted(counts, key=_order)}
            object.__setattr__(self, kind, ordered)

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]], architecture: Mapping[str, Any]) -> Anatomy:
        """Read the anatomy from the parameters of a model and its command-line arguments.

        Args:
            shapes: name -> shape of every parameter.
            architecture: has ``encoder_attention_heads`` and ``decoder_attention_heads`` for the
                sides that have layers.

        Raises:
            LotteryError: the model has no attention, or its arguments lack the number of heads.
        """
        heads = head_counts(shapes, architecture)
        ffns = ((_FFN.match(name), shape) for name, shape in shapes.items())
        units = {ffn.group(1): shape[0] for ffn, shape in ffns if ffn}
        if not heads:
            raise LotteryError("the model has no attention heads of fairseq's Transformer")
        return cls(heads, units)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Kind -> module -> number of components of that kind."""
        blocks = dict.fromkeys(self.units, 1)
        return {"heads": dict(self.heads), "units": dict(self.units), "blocks": blocks}

    def count(self, kind: str) -> int:
        """Return the number of components of a kind."""
        return sum(self.sizes[kind].values())

    def split(self, kind: str, values: Tensor) -> dict[str, Tensor]:
        """Split the values of all components of a kind into module -> its values."""
        sizes = self.sizes[kind]
        return dict(zip(sizes, values.split(list(sizes.values()))))

    def modules(self, kind: str, types: Optional[tuple[str, ...]] = None) -> list[str]:
        """Return the modules with components of a kind and some types; reject types it lacks."""
        if kind not in KINDS:
            raise LotteryError(f"{kind!r} cannot be pruned; choose one of {', '.join(KINDS)}")
        names = list(self.sizes[kind])
        if not names:
            raise LotteryError(f"the model has no {kind}")
        known = list(dict.fromkeys(map(type_of, names)))
        for one in types or ():
            if one not in known:
                raise LotteryError(
                    f"the model has no {kind} of type {one!r}; it has {', '.join(known)}"
                )
        return [name for name in names if not types or type_of(name) in types]

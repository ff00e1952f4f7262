"""Which attention heads and FFN units a Transformer has, and how they are called."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.errors import LotteryError

#: what can be closed: attention heads, single FFN units, whole FFNs
KINDS = ("heads", "units", "blocks")
#: the groups of ``fairseq_lottery.masks`` that are attention, and those that are FFNs
ATTENTIONS = ("enc_self", "dec_self", "enc_dec")
FFNS = ("enc_ffn", "dec_ffn")

_ATTENTION = re.compile(r"^(.*\blayers\.\d+\.(self_attn|encoder_attn))\.out_proj\.weight$")
_FFN = re.compile(r"^(.*\blayers\.\d+)\.fc1\.weight$")
_LAYER = re.compile(r"\blayers\.(\d{1,6})\b")


def type_of(name: str) -> str:
    """The type of an attention module, or of the FFN of a layer: a group of its parameters."""
    attention = name.endswith("_attn")
    return group_of(f"{name}.out_proj.weight" if attention else f"{name}.fc1.weight")


def layer_of(name: str) -> int:
    """The number of the layer, from 0, that an attention module or FFN is in."""
    found = _LAYER.search(name)
    if found is None:
        raise LotteryError(f"{name!r} is in no layer of a Transformer")
    return int(found.group(1))


def refuse_inner_norm(layers: Iterable[str], parameters: Container[str]) -> None:
    """Refuse to close FFN units of layers that normalise over them before the second matrix.

    The norm gives another value than zero for a unit that is zero, and the others change with it.
    """
    for layer in layers:
        if f"{layer}.ffn_layernorm.weight" in parameters:
            raise LotteryError(
                f"the FFN of {layer} normalises over its units (--scale-fc), so neither units nor"
                " blocks of it can be closed; close heads only"
            )


def _order(name: str) -> tuple[int, int, str]:
    groups = (*ATTENTIONS, *FFNS)
    group = type_of(name)
    return groups.index(group) if group in groups else len(groups), layer_of(name), name


@dataclass(frozen=True)
class Anatomy:
    """How many parts each module has.

    Attributes:
        heads: name of an attention module -> its heads; encoder self-attention first, then the
            decoder's, then what attends to the encoder, each by layer.
        units: name of a layer -> its FFN units.
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
        """Read it from the parameters of a model and its command-line arguments.

        Args:
            shapes: name -> shape of every parameter.
            architecture: with ``encoder_attention_heads`` and ``decoder_attention_heads``, as
                far as there are such layers.

        Raises:
            LotteryError: it has no attention, or its arguments do not say how many heads.
        """
        heads, units = {}, {}
        for name, shape in shapes.items():
            attention, ffn = _ATTENTION.match(name), _FFN.match(name)
            if attention:
                side = "encoder" if group_of(name) == "enc_self" else "decoder"
                count, width = architecture.get(f"{side}_attention_heads"), shape[1]
                if shape[0] != width:
                    raise LotteryError(
                        f"heads were cut out of {attention.group(1)}; fairseq-lottery export --to"
                        " dense gives the model with all of them"
                    )
                if type(count) is not int or count < 1 or width % count:
                    raise LotteryError(
                        f"the model does not say how many heads {attention.group(1)} has"
                        f" ({side}_attention_heads is {count!r}, its width {width})"
                    )
                heads[attention.group(1)] = count
            elif ffn:
                units[ffn.group(1)] = shape[0]
        if not heads:
            raise LotteryError("the model has no attention heads that fairseq's Transformer has")
        return cls(heads, units)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Kind -> module -> how many parts of that kind it has."""
        blocks = dict.fromkeys(self.units, 1)
        return {"heads": dict(self.heads), "units": dict(self.units), "blocks": blocks}

    def split(self, kind: str, values: Tensor) -> dict[str, Tensor]:
        """Return module -> its values, of values of all parts of a kind in order."""
        sizes = self.sizes[kind]
        return dict(zip(sizes, values.split(list(sizes.values()))))

    def modules(self, kind: str, types: Optional[tuple[str, ...]] = None) -> list[str]:
        """Return the modules with parts of a kind, of some types; refuses what the model lacks."""
        if kind not in KINDS:
            raise LotteryError(f"{kind!r} cannot be closed; {', '.join(KINDS)} can")
        names = list(self.sizes[kind])
        if not names:
            raise LotteryError(f"the model has no {kind}")
        there = list(dict.fromkeys(map(type_of, names)))
        for one in types or ():
            if one not in there:
                raise LotteryError(
                    f"the model has no {kind} of type {one!r}; it has {', '.join(there)}"
                )
        return [name for name in names if not types or type_of(name) in types]

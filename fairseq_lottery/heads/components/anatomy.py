"""Which attention heads and FFN units a Transformer has, and how they are called."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def refuse_inner_norm(layer: str, parameters: Container[str]) -> None:
    """Refuse to close FFN units of a layer that normalises over them before the second matrix.

    The norm gives another value than zero for a unit that is zero, and the others change with it.

    Args:
        parameters: the names of the model's.
    """
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

    Raises:
        LotteryError: a name that is in no layer.
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
        for name in shapes:
            attention, ffn = _ATTENTION.match(name), _FFN.match(name)
            if attention:
                side = "encoder" if group_of(name) == "enc_self" else "decoder"
                count = architecture.get(f"{side}_attention_heads")
                width = shapes[name][1]
                if shapes[name][0] != width:
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
            if ffn:
                units[ffn.group(1)] = shapes[name][0]
        if not heads:
            raise LotteryError("the model has no attention heads that fairseq's Transformer has")
        return cls(heads, units)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Kind -> module -> how many parts of that kind it has."""
        return {
            "heads": dict(self.heads),
            "units": dict(self.units),
            "blocks": dict.fromkeys(self.units, 1),
        }

    def of_type(self, kind: str, types: tuple[str, ...]) -> Iterator[str]:
        """The modules whose type is one of ``types``."""
        return (name for name in self.sizes[kind] if type_of(name) in types)

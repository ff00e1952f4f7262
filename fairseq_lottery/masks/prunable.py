"""Prunable sets: matrices that may be pruned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from torch import Tensor

from fairseq_lottery.adapters.parameter_groups import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.options.axes import PRUNABLE

#: fairseq's dictionaries put <pad> at index 1
PAD_ROW = 1

_ATTENTION = ("enc_self", "dec_self", "enc_dec")
_FFN = ("enc_ffn", "dec_ffn")

#: named set -> whether a matrix belongs to it
PRUNABLE_SETS: dict[str, Callable[[str], bool]] = PRUNABLE.registry(
    {
        "all-matrices": lambda name: True,
        "no-embeddings": lambda name: group_of(name) not in ("embedding", "output"),
        "attention": lambda name: group_of(name) in _ATTENTION,
        "ffn": lambda name: group_of(name) in _FFN,
        "layers": lambda name: group_of(name) in (*_ATTENTION, *_FFN),
    }
)

#: weights of linear layers, embeddings and LSTMs
_WEIGHT = re.compile(r"\.weight(_(ih|hh)(_l\d+(_reverse)?)?)?$")


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of tensors."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def is_position(name: str) -> bool:
    """Return whether a parameter or module embeds positions."""
    return "embed_positions" in name


def is_weight_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a parameter is a weight matrix.

    Position embeddings are not, nor are the untrained copies named ``fc1_weight`` (without a dot)
    in the encoder of fairseq 0.12.2.
    """
    return len(shape) == 2 and bool(_WEIGHT.search(name)) and not is_position(name)


def prunable_matrices(
    shapes: Mapping[str, tuple[int, ...]],
    prunable: str = "all-matrices",
    keep_dense: Optional[str] = None,
) -> dict[str, Optional[int]]:
    """Return name -> protected row (or None) of every matrix that may be pruned.

    Args:
        shapes: name -> shape of every parameter, each tied tensor under one name.
        prunable: one of ``PRUNABLE_SETS``; ``all-matrices`` includes the embedding, as in Brix et
            al. (2020), whose 98 % sparse model has 7 MB in total.
        keep_dense: regular expression; parameters that contain a match stay dense.

    Raises:
        LotteryError: the set is unknown or empty, or the expression is not valid or matches
            nothing.
    """
    PRUNABLE.refuse_unknown(prunable)
    is_prunable = PRUNABLE_SETS[prunable]
    names = [n for n in sorted(shapes) if is_weight_matrix(n, tuple(shapes[n])) and is_prunable(n)]
    if keep_dense:
        try:
            pattern = re.compile(keep_dense)
        except (re.error, OverflowError, RecursionError) as error:
            raise LotteryError(
                f"--keep-dense {keep_dense!r} is not a regular expression: {error}"
            ) from error
        dense = [n for n in names if pattern.search(n)]
        if not dense:
            raise LotteryError(
                f"--keep-dense {keep_dense!r} matches none of the {len(names)} prunable "
                f"matrices; they are named like {', '.join(names[:2]) or 'nothing'}"
            )
        names = [n for n in names if n not in dense]
    if not names:
        raise LotteryError(
            f"the prunable set {prunable!r} is empty for this model; choose another --prunable"
            " or a narrower --keep-dense"
        )
    return {n: PAD_ROW if group_of(n) == "embedding" else None for n in names}


def full_mask(
    shapes: Mapping[str, tuple[int, ...]],
    prunable: str = "all-matrices",
    keep_dense: Optional[str] = None,
) -> Mask:
    """Return a mask that keeps all weights of ``prunable_matrices`` of the same arguments."""
    rows = prunable_matrices(shapes, prunable, keep_dense)
    protected = {name: row for name, row in rows.items() if row is not None}
    return Mask.full({name: shapes[name] for name in rows}, protected)


@dataclass(frozen=True)
class PrunableShare:
    """Share of a model that can be pruned.

    Attributes:
        prunable: number of prunable weights.
        parameters: number of all weights, each tied tensor once.
    """

    prunable: int
    parameters: int

    @classmethod
    def of(cls, mask: Mask, weights: Mapping[str, Tensor]) -> PrunableShare:
        """Count the weights of a mask and of a model (name -> weight, each tied tensor once)."""
        return cls(mask.prunable, sum(weight.numel() for weight in weights.values()))

    @property
    def is_small(self) -> bool:
        """Return whether most weights of the model are not prunable."""
        return 2 * self.prunable < self.parameters

    def __str__(self) -> str:
        share = 100 * self.prunable / self.parameters
        return (
            f"{self.prunable} of the {self.parameters} weights of the model are prunable"
            f" ({share:.1f} %); a sparsity is a share of these"
        )

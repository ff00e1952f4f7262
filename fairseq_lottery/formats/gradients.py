"""Files with sums of gradients over batches, which scores read by ``--gradients``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.entry_checks import count, entries, one_of

logger = logging.getLogger(__name__)

KIND = "gradients"
#: statistic of a file -> what messages call it
STATISTICS = {
    "gradient": "summed gradients",
    "hessian-gradient": "products of the Hessian with the gradient",
    "input-norm": "norms of inputs",
    "inverse-hessian": "inverse Hessians of inputs",
}
_TEXT = one_of(str)
_RECORD = entries(
    {
        **dict.fromkeys(("statistic", "weights", "subset", "task"), _TEXT),
        **dict.fromkeys(("update", "batches", "all_batches", "tokens", "seed"), count),
        "versions": one_of(dict),
    },
    ("statistic", "weights"),
)


def save_gradients(
    path: Union[str, Path],
    gradients: Mapping[str, Tensor],
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write matrix -> sum as a file; ``record`` has the statistic and the digest of the weights."""
    container.save(path, KIND, gradients, record, overwrite)


def load_gradients(
    path: Union[str, Path],
    statistic: str,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Optional[str] = None,
) -> dict[str, Tensor]:
    """Read the sums of a file. Files of other programs are read as summed gradients.

    Args:
        statistic: a name of ``STATISTICS``.
        shapes: name -> shape of every parameter of the model.
        weights: digest of the weights that are ranked; another one is reported by a warning.

    Raises:
        LotteryError: the file is malformed, has another statistic, or does not match the
            model.
    """
    flag = f"--gradients {path}"
    if not container.is_container(path):
        tensors = container.read_tensors(path, "--gradients")
        stored = "gradient"
    else:
        tensors, record = container.load(path, KIND)
        try:
            _RECORD(record, "", 0)
        except LotteryError as error:
            raise LotteryError(f"{flag} is malformed ({error})") from None
        stored = record["statistic"]
        if weights is not None and record["weights"] != weights:
            logger.warning("%s was computed from other weights than those that are ranked", flag)
    if stored != statistic:
        found = STATISTICS.get(stored, f"the statistic {stored[:40]!r}")
        raise LotteryError(
            f"{flag} has {found}, but the score reads {STATISTICS[statistic]}; write the file by"
            " fairseq-lottery gradients with the same --score"
        )
    for name, tensor in tensors.items():
        if name not in shapes:
            raise LotteryError(
                f"{flag} does not match the model: it has {name[:80]}, which the model lacks"
            )
        if tuple(tensor.shape) != tuple(shapes[name]):
            raise LotteryError(
                f"{flag} does not match the model: {name} has shape {tuple(tensor.shape)}, expected"
                f" {tuple(shapes[name])}"
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise LotteryError(
                f"{flag} has values of {name} that are not finite floating-point numbers"
            )
    if not any(bool(tensor.any()) for tensor in tensors.values()):
        raise LotteryError(f"{flag} has only zeros, which rank nothing; give another file")
    return tensors

"""Snapshots: weights at selected updates, to which tickets rewind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, save_snapshot
from fairseq_lottery.masks import Mask
from fairseq_lottery.training.processes.ranks import is_first

logger = logging.getLogger(__name__)


def snapshot_updates(cfg: Any, training: Any, first: int) -> list[int]:
    """Return ``--snapshot-updates`` as sorted numbers.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.
        first: update at which a fresh run starts.

    Raises:
        LotteryError: an update is malformed or would never be reached.
    """
    if not cfg.snapshot_updates:
        return []
    try:
        updates = sorted({int(number) for number in str(cfg.snapshot_updates).split(",")})
    except ValueError:
        raise LotteryError(
            f"--snapshot-updates {cfg.snapshot_updates} is malformed; give updates such as 0,4000"
        ) from None
    most = training.optimization.max_update
    if updates[0] < first or updates[-1] > most:
        raise LotteryError(
            f"--snapshot-updates {cfg.snapshot_updates} is out of range; give updates from {first}"
            f" to --max-update {most}"
        )
    return updates


def write_snapshot(
    folder: Path,
    update: int,
    weights: Mapping[str, Tensor],
    mask: Optional[Mask],
    dictionaries: Dictionaries,
    record: Mapping[str, Any],
) -> None:
    """Write the weights after ``update`` updates; only the first process writes.

    Args:
        weights: name -> weight; fp32 masters if a half-precision run has them.
        record: record of the run.
    """
    if not is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"snapshot_{update}.safetensors"
    has_masters = next(iter(weights.values())).dtype == torch.float32
    full = {"update": update, "masters": has_masters, **record}
    save_snapshot(path, {n: w.float() for n, w in weights.items()}, mask, dictionaries, full)
    logger.info("wrote %s", path)

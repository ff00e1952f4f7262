"""Snapshots: the weights at chosen updates, from which tickets rewind."""

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
from fairseq_lottery.training.start.flag_checks import refuse_endless

logger = logging.getLogger(__name__)


def snapshot_updates(cfg: Any, training: Any, first: int) -> list[int]:
    """``--snapshot-updates`` as sorted numbers.

    Args:
        training: fairseq's whole configuration, of which ``cfg`` is the task's.
        first: the update that a fresh run starts at; those before it are never reached.
    """
    if not cfg.snapshot_updates:
        return []
    try:
        updates = sorted({int(part) for part in str(cfg.snapshot_updates).split(",")})
    except ValueError:
        raise LotteryError(
            f"--snapshot-updates {cfg.snapshot_updates} must be numbers with commas, as 0,4000"
        ) from None
    refuse_endless(training, "--snapshot-updates")
    most = training.optimization.max_update
    if updates[0] < first or updates[-1] > most:
        raise LotteryError(
            f"--snapshot-updates {cfg.snapshot_updates} must lie in {first} to --max-update"
            f" {most}, or a snapshot would never be written"
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
    """Write the weights after ``update`` updates, in one process for all.

    Args:
        weights: by name; the fp32 masters of a half-precision run where it has them.
        record: of the run that the snapshot comes from.
    """
    if not is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"snapshot_{update}.safetensors"
    has_masters = next(iter(weights.values())).dtype == torch.float32
    full = {"update": update, "masters": has_masters, **record}
    save_snapshot(path, {n: w.float() for n, w in weights.items()}, mask, dictionaries, full)
    logger.info("wrote %s", path)

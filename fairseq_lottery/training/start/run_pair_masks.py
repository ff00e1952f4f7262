"""Masks of pairs of languages under which a run trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.pair_masks import load_pair_masks, stored_pair_masks
from fairseq_lottery.masks import Mask, PairMasks
from fairseq_lottery.options.pair_rule import BACKENDS
from fairseq_lottery.training.start.restored_checkpoint import Restored


def find_pair_masks(
    cfg: Any, training: Any, restored: Optional[Restored], mask: Optional[Mask]
) -> Optional[PairMasks]:
    """Return the masks of pairs of ``--pair-masks`` or of the restored checkpoint.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.
        mask: mask of the run.

    Raises:
        LotteryError: the masks are not those of the checkpoint, do not fit the mask of the run, or
            cannot be enforced with these flags.
    """
    masks = stored_pair_masks(restored.state) if restored is not None else None
    path = cfg.pair_masks
    # a resumed run has its masks in the checkpoint, as it has its ticket
    if path and not (masks is not None and not Path(path).is_file()):
        given = load_pair_masks(path)
        if restored is not None and (masks is None or masks.digest() != given.digest()):
            raise LotteryError(
                f"{restored.path} is from a run with other masks of pairs than {path}; choose"
                " another --save-dir"
            )
        masks = given
    if masks is None:
        return None
    if mask is None or masks.union != mask:
        kept = "no mask" if mask is None else f"a mask of {mask.prunable - mask.pruned} weights"
        whole = masks.union
        raise LotteryError(
            f"the masks of pairs keep {whole.prunable - whole.pruned} weights together, but the run"
            f" has {kept}; start from a ticket of fairseq-lottery ticket --mask-file {path}"
        )
    if cfg.prune_to is not None:
        raise LotteryError("--prune-to cannot change masks of pairs; omit it")
    distributed = training.distributed_training
    backend = str(distributed.ddp_backend)
    if int(distributed.distributed_world_size) > 1 and backend not in BACKENDS:
        raise LotteryError(
            f"--ddp-backend {backend} adds up gradients in each backward pass, but masks of pairs"
            " require one pass for each pair; use --ddp-backend legacy_ddp"
        )
    return masks

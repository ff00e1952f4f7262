"""Agreement between the processes of one training."""

from __future__ import annotations

import torch
from fairseq.distributed import utils as distributed

from fairseq_lottery.errors import LotteryError


def is_first() -> bool:
    """Whether this process writes files."""
    return not _several() or torch.distributed.get_rank() == 0


def same_everywhere(digest: str, what: str) -> None:
    """Refuse to go on unless every process has the same ``digest``; waits for all of them."""
    if not _several():
        return
    found = distributed.all_gather_list(digest, group=distributed.get_global_group())
    if len(set(found)) > 1:
        raise LotteryError(f"the {what} differs between the processes: {', '.join(set(found))}")


def _several() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )

"""Agreement between the processes of one training."""

from __future__ import annotations

import torch

from fairseq_lottery.errors import LotteryError


def is_first() -> bool:
    """Whether this process writes files."""
    return not _several() or torch.distributed.get_rank() == 0


def same_everywhere(digest: str, what: str) -> None:
    """Refuse to go on unless every process has the same ``digest``; waits for all of them."""
    if not _several():
        return
    nccl = torch.distributed.get_backend() == "nccl"
    own = torch.tensor(list(digest.encode()[:64].ljust(64)), dtype=torch.uint8)
    own = own.cuda() if nccl else own
    found = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(found, own)
    if any(not torch.equal(own, other) for other in found):
        raise LotteryError(
            f"the {what} differs between the processes; do they read the same files?"
        )


def _several() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )

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
    own = _to_send(list(digest.encode()[:64].ljust(64)), torch.uint8)
    found = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(found, own)
    if any(not torch.equal(own, other) for other in found):
        raise LotteryError(
            f"the {what} differs between the processes; do they read the same files?"
        )


def highest_everywhere(number: int) -> int:
    """The highest of the processes' ``number``, in all of them; waits for all of them."""
    if not _several():
        return number
    found = _to_send([number], torch.int32)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found.item())


def wait_for_all() -> None:
    """Go on when every process of the training is here."""
    if _several():
        torch.distributed.barrier()


def _to_send(numbers: list[int], dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.tensor(numbers, dtype=dtype)
    return tensor.cuda() if torch.distributed.get_backend() == "nccl" else tensor


def _several() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )

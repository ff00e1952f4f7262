"""Agreement between the processes of one training."""

from __future__ import annotations

import torch

from fairseq_lottery.errors import LotteryError


def is_first() -> bool:
    """Return whether this process is the first, the one that writes files."""
    return not is_distributed() or torch.distributed.get_rank() == 0


def process_number() -> tuple[int, int]:
    """Return the number of this process, from 0, and the number of processes."""
    if not is_distributed():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def require_same(digest: str, name: str) -> None:
    """Raise LotteryError unless all processes have the same ``digest``; wait for all of them.

    Args:
        name: what the digest is of, for the message.
    """
    if not is_distributed():
        return
    own = _to_tensor(list(digest.encode()[:64].ljust(64)), torch.uint8)
    digests = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(digests, own)
    if any(not torch.equal(own, gathered) for gathered in digests):
        raise LotteryError(
            f"the {name} differs between the processes; give all of them the same files"
        )


def max_over_processes(number: int) -> int:
    """Return the maximum of ``number`` over all processes; wait for all of them."""
    if not is_distributed():
        return number
    maximum = _to_tensor([number], torch.int32)
    torch.distributed.all_reduce(maximum, torch.distributed.ReduceOp.MAX)
    return int(maximum.item())


def add_over_processes(tensor: torch.Tensor) -> None:
    """Replace a tensor by its sum over all processes, in place; wait for all of them."""
    if is_distributed():
        torch.distributed.all_reduce(tensor)


def wait_for_all() -> None:
    """Wait until every process of the training has called this function."""
    if is_distributed():
        torch.distributed.barrier()


def _to_tensor(numbers: list[int], dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.tensor(numbers, dtype=dtype)
    return tensor.cuda() if torch.distributed.get_backend() == "nccl" else tensor


def is_distributed() -> bool:
    """Return whether the training has several processes."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )

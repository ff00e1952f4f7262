"""GPUs of one machine, shared by parallel stages."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError

FOLDER = ".gpus"


@contextmanager
def reserve_gpus(count: int) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Reserve ``count`` GPUs, and yield the environment that restricts a process to them.

    A reservation is a lock on a file, which ends with the last process that has the file open.
    The second value has the file descriptors that a process on the GPUs must inherit.

    Raises:
        LotteryError: the machine has fewer GPUs.
    """
    if not count:
        yield {}, []
        return
    names = _visible()
    if len(names) < count:
        raise LotteryError(
            f"{count} GPUs are required and {len(names)} exist; change gpus (0 trains on the CPU)"
        )
    Path(FOLDER).mkdir(exist_ok=True)
    while True:
        locks: dict[str, int] = {}
        with ExitStack() as stack:
            for name in names:
                lock = _take(stack, name) if len(locks) < count else None
                if lock is not None:
                    locks[name] = lock
            if len(locks) == count:
                yield {"CUDA_VISIBLE_DEVICES": ",".join(locks)}, list(locks.values())
                return
        time.sleep(1)


def _visible() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _take(stack: ExitStack, name: str) -> Optional[int]:
    lock = stack.enter_context(open(Path(FOLDER) / name, "w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return lock.fileno()

"""GPUs of one machine, shared by stages that run side by side."""

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
def borrowed(count: int) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Reserve ``count`` GPUs; gives the environment that shows these and no other.

    A reservation is a lock on a file. It ends with the last process that has the file open:
    the second value are the descriptors that a process which uses the GPUs must inherit.

    Raises:
        LotteryError: this machine never has so many.
    """
    if not count:
        yield {}, []
        return
    names = _visible()
    if len(names) < count:
        raise LotteryError(
            f"{count} GPUs are wanted and {len(names)} are there; change gpus (0 trains on the CPU)"
        )
    Path(FOLDER).mkdir(exist_ok=True)
    while True:
        held: dict[str, int] = {}
        with ExitStack() as stack:
            for name in names:
                lock = _take(stack, name) if len(held) < count else None
                if lock is not None:
                    held[name] = lock
            if len(held) == count:
                yield {"CUDA_VISIBLE_DEVICES": ",".join(held)}, list(held.values())
                return
        time.sleep(1)


def _visible() -> list[str]:
    """GPUs that this process may use, as CUDA names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _take(stack: ExitStack, name: str) -> Optional[int]:
    lock = stack.enter_context(open(Path(FOLDER) / name, "w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return lock.fileno()

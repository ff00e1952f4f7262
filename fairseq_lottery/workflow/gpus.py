"""GPUs of one machine, shared by stages that run side by side."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

FOLDER = ".gpus"


@contextmanager
def borrowed(count: int) -> Iterator[dict[str, str]]:
    """Reserve ``count`` GPUs; gives the environment that shows these and no other.

    A scheduler that hands out GPUs by itself is trusted: under Slurm nothing is reserved.
    A reservation is a lock on a file, so it ends with the process that holds it.
    """
    if not count or "SLURM_JOB_ID" in os.environ:
        yield {}
        return
    names = _visible()
    Path(FOLDER).mkdir(exist_ok=True)
    while True:
        with ExitStack() as stack:
            held = [name for name in names if _take(stack, name)][:count]
            if len(held) == count:
                yield {"CUDA_VISIBLE_DEVICES": ",".join(held)}
                return
        time.sleep(1)


def _visible() -> list[str]:
    """GPUs that this process may use, as CUDA names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _take(stack: ExitStack, name: str) -> bool:
    lock = stack.enter_context(open(Path(FOLDER) / name, "w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

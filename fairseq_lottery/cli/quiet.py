"""Commands say a few lines themselves, and keep fairseq from logging among them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_fairseq() -> Iterator[None]:
    """Let fairseq log warnings only: it names each file that it reads, and what it lacks."""
    loud = logging.getLogger("fairseq")
    level = loud.level
    loud.setLevel(logging.WARNING)
    try:
        yield
    finally:
        loud.setLevel(level)

"""Commands that say a few lines themselves keep fairseq from logging among them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_fairseq() -> Iterator[None]:
    """Only warnings of fairseq's meanwhile: it tells of each file and dictionary that it reads."""
    loud = logging.getLogger("fairseq")
    level = loud.level
    loud.setLevel(logging.WARNING)
    try:
        yield
    finally:
        loud.setLevel(level)

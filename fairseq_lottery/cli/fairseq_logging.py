"""Restrict fairseq's logging to warnings, so that a command's own output stays readable."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_fairseq() -> Iterator[None]:
    """Restrict fairseq's logging to warnings; by default it logs each file that it reads."""
    logger = logging.getLogger("fairseq")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)

"""Ending ``fairseq-train`` with one sentence instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fairseq_lottery.errors import LotteryError


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn a ``LotteryError`` into its sentence on stderr and exit code 2.

    fairseq catches every ``Exception`` of a training step to write a ``crash.pt``;
    ``SystemExit`` passes, in spawned workers too.
    """
    try:
        yield
    except LotteryError as error:
        print(f"fairseq-lottery: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None

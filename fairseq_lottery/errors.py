"""``LotteryError``, the exception of the package, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: exit code of a training that saved after a signal and can be resumed: EX_TEMPFAIL of sysexits.h.
#: 128 + signal would look like a process that was killed without saving.
STOPPED = 75


class LotteryError(ValueError):
    """Error for invalid input: one sentence with the problem and the remedy.

    Commands print it and exit with 2; in ``fairseq-train`` it ends the run before the first update.
    Messages often quote untrusted files, so characters that are not printable are escaped.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_printable(sentence))


class CannotWriteError(LotteryError):
    """Error for files that cannot be written: no other input would help."""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Print a ``LotteryError`` on stderr and exit with 2.

    fairseq catches every ``Exception`` of a training step to write a ``crash.pt``, but not
    ``SystemExit``, in spawned workers too.
    """
    try:
        yield
    except LotteryError as error:
        print(f"fairseq-lottery: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None

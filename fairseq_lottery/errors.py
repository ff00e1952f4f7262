"""The one exception of the package, and how trainings end that do not end well."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: exit code of a process that a signal stopped and whose training goes on when started again:
#: EX_TEMPFAIL of sysexits.h. 128 + signal would look like a process that was killed unsaved.
STOPPED = 75


class LotteryError(ValueError):
    """Bad input: one sentence that says what is wrong and what to do.

    The command prints it and exits with 2; inside ``fairseq-train`` the same sentence
    ends the run before its first update.

    A sentence often quotes names out of somebody's file. What a terminal would act on, or
    take for the end of the line, stands in it as an escape.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_printable(sentence))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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

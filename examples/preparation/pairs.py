"""Parallel text as a stream: read in chunks, worked on by several processes, written in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from fairseq_lottery.errors import LotteryError

Item = TypeVar("Item")
Result = TypeVar("Result")
RawPair = tuple[bytes, bytes]
Pair = tuple[str, str]

CHUNK = 5000  # pairs of sentences that one process gets at a time
AHEAD = 3  # chunks a worker that are read before the first of them is finished


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """``map(function, items)`` by ``workers`` processes; by this one where that is 1.

    A pool's own ``imap`` takes the whole stream into memory where results are slow to come.

    Raises:
        LotteryError: a process died.
    """
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        with ProcessPoolExecutor(workers) as pool:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise LotteryError(
            "a worker process was killed, perhaps for want of memory; use fewer --workers"
        ) from error


def read_pairs(source: Path, target: Path) -> Iterator[list[RawPair]]:
    """Chunks of pairs of lines, as bytes without their line feeds.

    Lines end at line feeds and nowhere else: the corpora have carriage returns and Unicode's
    line separators inside sentences.
    """
    with open(source, "rb") as first, open(target, "rb") as second:
        pairs = zip(first, second)
        while chunk := list(islice(pairs, CHUNK)):
            yield [(a.rstrip(b"\n"), b.rstrip(b"\n")) for a, b in chunk]


@contextmanager
def writing_pairs(
    folder: Path, name: str, languages: Pair
) -> Iterator[Callable[[Iterable[Pair]], None]]:
    """Give a function that appends pairs to ``NAME.SOURCE`` and ``NAME.TARGET``."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                open(folder / f"{name}.{language}", "w", encoding="utf-8", newline="\n")
            )
            for language in languages
        )

        def write(pairs: Iterable[Pair]) -> None:
            for a, b in pairs:
                first.write(f"{a}\n")
                second.write(f"{b}\n")

        yield write

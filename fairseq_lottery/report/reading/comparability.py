"""Check that the scores of one table are comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.records.cells import Score
from fairseq_lottery.report.reading.table_words import Cell, name_of


def check(where: str, table: Mapping[Cell, Score]) -> None:
    """Check the scores of one table, which messages call ``where``.

    Raises:
        LotteryError: signatures, numbers of sentences or examples, directions, references, or the
            prunable sets of a technique differ.
    """
    signatures = [(score.signature, cell) for cell, score in table.items()]
    for (first, a), (second, b) in _differing(signatures):
        raise LotteryError(
            f"{where} of {name_of(a)} has the signature {first} and of {name_of(b)} {second};"
            " report them apart"
        )
    counts = [(s.sentences, cell) for cell, s in table.items() if s.sentences is not None]
    for (fewer, a), (more, b) in _differing(sorted(counts)):
        raise LotteryError(
            f"{where} of {name_of(a)} is over {fewer:,} sentences and of {name_of(b)} over"
            f" {more:,}; a score over a part of the test set is not comparable"
        )
    examples = [(s.examples, cell) for cell, s in table.items() if s.examples is not None]
    for (fewer, a), (more, b) in _differing(sorted(examples)):
        raise LotteryError(
            f"{where} of {name_of(a)} is over {fewer:,} examples and of {name_of(b)} over {more:,};"
            " a score over a part of the data is not comparable"
        )
    known = [(s.maximise, cell) for cell, s in table.items() if s.maximise is not None]
    for (_, a), (_, b) in _differing(known):
        raise LotteryError(
            f"{where} of {name_of(a)} and of {name_of(b)} have opposite directions; report them"
            " apart"
        )
    files = {score.references for score in table.values() if score.references is not None}
    digests = {path: _digest(path) for path in files if is_plain(path)}
    texts = [(digests[s.references], cell) for cell, s in table.items() if s.references in digests]
    for (_, a), (_, b) in _differing(texts):
        raise LotteryError(
            f"{where} of {name_of(a)} and of {name_of(b)} have different references; report them"
            " apart"
        )
    denominators: dict[tuple[str, float], list[tuple[Optional[str], Cell]]] = {}
    for cell, score in table.items():
        denominators.setdefault(cell[:2], []).append((score.denominator, cell))
    for (technique, sparsity), pairs in denominators.items():
        for (first, _), (second, _) in _differing(pairs):
            raise LotteryError(
                f"{where}: the sparsity {sparsity:.4g} of {technique} is a share of {first}"
                f" in one run and of {second} in another; report them apart"
            )


def _differing(values: Iterable[tuple[Any, Cell]]) -> Iterable[list[tuple[Any, Cell]]]:
    """Yield the first two different values, each with its first cell, if there are two."""
    first: dict[Any, Cell] = {}
    for value, cell in values:
        first.setdefault(value, cell)
    if len(first) > 1:
        yield list(first.items())[:2]


def _digest(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise LotteryError(f"the references {path} cannot be read: {error.strerror}") from error

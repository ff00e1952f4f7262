"""What must hold for scores to stand in one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.report.reading.families import Cell, name_of
from fairseq_lottery.report.reading.records import Score


def check(
    where: str, table: Mapping[Cell, Score], references: Mapping[Cell, Optional[Path]]
) -> None:
    """Refuse a table whose numbers cannot stand side by side; ``where`` says which it is.

    Raises:
        LotteryError: signatures, numbers of sentences, references or what a technique's sparsity
            is a share of differ.
    """
    signatures: dict[Optional[str], Cell] = {}
    texts: dict[str, Cell] = {}
    counts: dict[int, Cell] = {}
    shares: dict[tuple[str, float, Optional[str]], Cell] = {}
    known: dict[Path, str] = {}
    for cell, score in table.items():
        signatures.setdefault(score.signature, cell)
        if score.sentences is not None:
            counts.setdefault(score.sentences, cell)
        path = references[cell]
        if path is not None and is_plain(path):
            if path not in known:
                known[path] = _digest(path)
            texts.setdefault(known[path], cell)
        shares.setdefault((score.technique, score.sparsity, score.denominator), cell)
    if len(signatures) > 1:
        (one, a), (two, b) = list(signatures.items())[:2]
        raise LotteryError(
            f"{where} of {name_of(a)} is signed {one} and of {name_of(b)} {two}; report them apart"
        )
    if len(counts) > 1:
        (fewer, a), (more, b) = sorted(counts.items())[:2]
        raise LotteryError(
            f"{where} of {name_of(a)} is over {fewer:,} sentences and of {name_of(b)} over"
            f" {more:,}; a score over a part of the test set is not comparable"
        )
    if len(texts) > 1:
        a, b = list(texts.values())[:2]
        raise LotteryError(
            f"{where} of {name_of(a)} and of {name_of(b)} have different references; report them"
            " apart"
        )
    for technique, sparsity, denominator in shares:
        others = {d for t, s, d in shares if (t, s) == (technique, sparsity)} - {denominator}
        if others:
            raise LotteryError(
                f"{where}: the sparsity {sparsity:.4g} of {technique} is a share of {denominator}"
                f" in one run and of {others.pop()} in another; report them apart"
            )


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise LotteryError(f"the references {path} cannot be read: {error.strerror}") from error

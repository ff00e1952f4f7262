"""Subwords of pre-trained models: the byte pairs of GPT-2, and XLM-R's sentencepiece model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from preparation.pairs import CHUNK, ordered


class Encoder(Protocol):
    """Cuts lines of text into subwords, in any process."""

    @property
    def dictionary(self) -> Path:
        """fairseq's dictionary of the pre-trained model."""
        ...

    def encode(self, line: str) -> str:
        """Return the subwords of a line with spaces between."""
        ...


@dataclass(frozen=True)
class BytePairs:
    """The encoder of GPT-2 and RoBERTa, which fairseq has."""

    encoder: Path
    merges: Path
    dictionary: Path

    def encode(self, line: str) -> str:
        """Return the numbers of the byte pairs, which are the symbols of RoBERTa's dictionary."""
        return " ".join(map(str, _byte_pairs(self.encoder, self.merges).encode(line)))


@dataclass(frozen=True)
class Pieces:
    """A sentencepiece model, as of XLM-R and mBART."""

    model: Path
    dictionary: Path

    def encode(self, line: str) -> str:
        """Return the pieces of a line."""
        return " ".join(_sentencepiece(self.model).encode(line, out_type=str))


def encode_file(source: Path, target: Path, encoder: Encoder, workers: int) -> int:
    """Cut every line of a file, also an empty one; return the number of subwords."""
    count = 0
    with open(target, "w", encoding="utf-8", newline="\n") as file:
        for lines in ordered(partial(_encode_lines, encoder=encoder), _chunks(source), workers):
            for line in lines:
                count += len(line.split())
                file.write(f"{line}\n")
    return count


def _encode_lines(lines: list[str], encoder: Encoder) -> list[str]:
    return [encoder.encode(line) for line in lines]


def _chunks(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", newline="\n") as file:
        while chunk := [line.strip() for line in islice(file, CHUNK)]:
            yield chunk


@cache
def _byte_pairs(encoder: Path, merges: Path) -> Any:
    from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

    return get_encoder(str(encoder), str(merges))


@cache
def _sentencepiece(model: Path) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(model))

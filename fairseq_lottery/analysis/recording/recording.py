"""``Recording``: the activations and attention weights of a model on a corpus, read from files.

A recording is a folder with ``record.json``, the words of each side, and a ``.npy`` file for each
layer and attention module, which is mapped into memory.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.array_headers import map_array
from fairseq_lottery.analysis.recording.record import (
    CLS,
    KINDS,
    PARTS,
    SEP,
    SIDES,
    Head,
    Record,
    problem_of,
)
from fairseq_lottery.analysis.recording.record import FORMAT as FORMAT
from fairseq_lottery.analysis.recording.record import PRECISIONS as PRECISIONS
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_bytes
from fairseq_lottery.records.json_files import read_file

#: most bytes of the words of a side, and most words of a sentence
_LARGEST, _LONGEST = 1 << 28, 1 << 20


class Attention(Sequence[Array]):
    """Attention weights of the heads of one module, sentence by sentence.

    Item n has shape (heads, query words, key words + 1); the last key is ``</s>``, which is the
    end of the source sentence, and the first input of the decoder for keys of the target. A row
    sums to 1 unless it is weighted. Rows of decoder self-attention are zero for later words.

    In an encoder without a decoder, item n has shape (heads, tokens, tokens): words, ``<s>`` and
    ``</s>`` are queries and keys, in their order.
    """

    def __init__(self, entries: Array, heads: int, queries: Array, keys: Array) -> None:
        self.heads, self._entries, self._queries, self._keys = heads, entries, queries, keys
        self._ends = np.cumsum(heads * queries * keys)

    def __len__(self) -> int:
        return len(self._queries)

    def __getitem__(self, number: Any) -> Any:
        end, queries, keys = self._ends[number], self._queries[number], self._keys[number]
        start = end - self.heads * queries * keys
        return self._entries[start:end].reshape(self.heads, queries, keys)


@dataclass(frozen=True)
class Recording:
    """A complete recording.

    Attributes:
        folder: its folder.
        record: content of its ``record.json``.
    """

    folder: Path
    record: Record

    @classmethod
    def open(cls, folder: Union[str, Path]) -> Recording:
        """Open a recording, and check its files against its record.

        Raises:
            LotteryError: the folder is not a complete recording; a number in its record is out of
                range; or a file is not a regular file, or has another shape or other words than
                the record says. A missing array is refused when it is read.
        """
        folder = Path(folder)
        record = read_file(folder / "record.json", Record)
        if record is None:
            if (folder / "draft.json").is_file():
                raise LotteryError(
                    f"{folder} is an incomplete recording; run fairseq-lottery record again to"
                    " resume it"
                )
            raise LotteryError(f"{folder} is not a recording; make one with fairseq-lottery record")
        problem = problem_of(record)
        if problem is not None:
            raise LotteryError(f"{folder}/record.json is malformed ({problem}); record it again")
        recording = cls(folder, record)
        for name, part_or_kind, layer in record.arrays:
            if os.path.lexists(recording._path(name, part_or_kind, layer)):
                recording._load(name, part_or_kind, layer)
        recording.words("source")
        return recording

    @cached_property
    def shared(self) -> dict[Any, Any]:
        """Intermediate results that measures share, by key; they live as long as this object."""
        return {}

    @cached_property
    def _tokens(self) -> dict[str, list[list[str]]]:
        return {side: self._read_tokens(side) for side in self.record.sides}

    def _read_tokens(self, side: str) -> list[list[str]]:
        path = self.folder / f"words.{side}.txt"
        try:
            content = read_bytes(path, _LARGEST)
            text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
            sentences = [line.rstrip("\n").split(" ") for line in text]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise LotteryError(f"{path} cannot be read ({reason}); record it again") from error
        words = sum(len(one) - sum(self._are_delimiters(one)) for one in sentences)
        shape = len(sentences), words
        if shape != (len(self.record.sentences), self.record.counts[side]):
            raise LotteryError(
                f"{path} has {shape[0]} sentences and {shape[1]} words, which does not match"
                " record.json; record it again"
            )
        if hashlib.sha256(content).hexdigest() != self.record.words[side]:
            raise LotteryError(f"{path} has other words than record.json says; record it again")
        if any(all(self._are_delimiters(one)) for one in sentences):
            raise LotteryError(f"{path} has a sentence without words; record it again")
        longest = max(map(len, sentences))
        if longest > _LONGEST:
            raise LotteryError(f"{path} has a sentence of {longest} words, more than {_LONGEST}")
        return sentences

    def _are_delimiters(self, tokens: Sequence[str]) -> list[bool]:
        return [self.record.is_encoder and token in (CLS, SEP) for token in tokens]

    def tokens(self, side: str) -> list[list[str]]:
        """Return the queries and keys of each sentence: its words, and an encoder's delimiters.

        Delimiters are ``<s>`` and ``</s>``, at their places. Only encoders without a decoder have
        them; in other models ``</s>`` is a key after the words.

        Raises:
            LotteryError: the model has no such side.
        """
        if side not in self.record.sides:
            raise LotteryError(
                f"{self.folder} has no {side} words, because its model is an encoder; leave labels"
                f" and files of the {side} out"
            )
        return self._tokens[side]

    def token_counts(self, side: str) -> Array:
        """Return the number of tokens of each sentence, int64."""
        return np.array([len(tokens) for tokens in self.tokens(side)], dtype=np.int64)

    @cached_property
    def _words(self) -> dict[str, list[list[str]]]:
        return {
            side: [
                [token for token, is_word in zip(tokens, own) if is_word]
                for tokens, own in zip(self.tokens(side), self.are_words(side))
            ]
            for side in self.record.sides
        }

    def words(self, side: str) -> list[list[str]]:
        """Return the words of each sentence of ``source`` or ``target``; see ``tokens``."""
        words = self.tokens(side)
        return self._words[side] if self.record.is_encoder else words

    def are_words(self, side: str) -> list[Array]:
        """Return which tokens of each sentence are words, bool; the others are delimiters."""
        tokens = self.tokens(side)
        return [~np.array(self._are_delimiters(one), dtype=bool) for one in tokens]

    def lengths(self, side: str) -> Array:
        """Return the number of words of each sentence, int64."""
        return np.array([len(words) for words in self.words(side)], dtype=np.int64)

    @property
    def ends(self) -> int:
        """Number of keys after the tokens: ``</s>`` of a model with a decoder."""
        return 0 if self.record.is_encoder else 1

    def activations(self, part: str, layer: int) -> Array:
        """Return the outputs of a layer, (words, width), mapped into memory.

        A word of several subwords has their mean. The decoder's row of a word is that at which the
        word is its input.

        Args:
            part: ``encoder``, for source words, or ``decoder``, for target words.
            layer: number of the layer, from 1.
        """
        return self._load("activations", part, layer)

    def attention(self, kind: str, layer: int, weighted: bool = False) -> Attention:
        """Return the attention weights of all heads of a layer.

        Weights of a word's subwords are the mean over queries and the sum over keys. A row of
        encoder-decoder attention is that at which the decoder predicts the word; a row of decoder
        self-attention is that at which the word is its input.

        Args:
            kind: a key of ``KINDS``.
            layer: number of the layer, from 1.
            weighted: multiply each weight by the norm of the value that it multiplies, after the
                output matrix (Kobayashi et al. 2020).
        """
        queries, keys = map(self.token_counts, KINDS[kind])
        name = "weighted" if weighted else "attention"
        entries = self._load(name, kind, layer)
        return Attention(entries, self.record.heads[kind], queries, keys + self.ends)

    def norms(self, kind: str, layer: int) -> list[Array]:
        """Return the norms of value vectors after the output matrix, (heads, keys) a sentence.

        The keys are those of ``attention``. A word of several subwords has their mean.
        """
        heads, keys = self.record.heads[kind], self.token_counts(KINDS[kind][1]) + self.ends
        stored = self._load("norms", kind, layer)
        ends = np.cumsum(heads * keys)
        return [stored[end - heads * n : end].reshape(heads, n) for end, n in zip(ends, keys)]

    def is_pruned(self, kind: str, layer: int, head: int) -> bool:
        """Return whether a head contributes nothing; layers and heads count from 1."""
        return Head(kind, layer, head) in self.record.pruned_heads

    def layers(self, part_or_kind: str) -> range:
        """Return the numbers of the layers, from 1, of a part or of a kind of attention."""
        return self.record.layers_of(part_or_kind)

    def _load(self, name: str, part_or_kind: str, layer: int) -> Array:
        """Map an array of ``Record.arrays`` into memory, with the shape that it must have."""
        shape: tuple[int, ...]
        if name == "activations":
            side = SIDES[part_or_kind]
            shape = self.record.counts[side], self.record.width[part_or_kind]
        else:
            queries, keys = map(self.token_counts, KINDS[part_or_kind])
            keys = keys + self.ends
            rows = keys if name == "norms" else queries * keys
            shape = (self.record.heads[part_or_kind] * int(rows.sum()),)
        path = self._path(name, part_or_kind, layer)
        return map_array(path, shape, self.record.precision)

    def _path(self, name: str, part_or_kind: str, layer: int) -> Path:
        return self.folder / f"{name}.{part_or_kind}.{layer}.npy"


def blocks(array: Array, rows: int = 4096) -> Iterator[Array]:
    """Yield an array's rows in blocks, as float64."""
    for start in range(0, len(array), rows):
        yield np.asarray(array[start : start + rows], dtype=np.float64)


def refuse_other_words(first: Recording, second: Recording, side: Optional[str] = None) -> None:
    """Refuse two recordings whose words differ.

    Args:
        side: the only side that must agree; by default both.
    """
    for one in [side] if side else PARTS:
        if first.record.words.get(one) != second.record.words.get(one):
            raise LotteryError(
                f"{first.folder} and {second.folder} have different {one} words; record both on the"
                " same sentences, with the same --subwords or files of words"
            )

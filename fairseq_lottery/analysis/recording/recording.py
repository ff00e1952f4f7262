"""``Recording``: the activations and attention weights of a model on a corpus, read from files.

A recording is a folder with ``record.json``, the words of each side, and a ``.npy`` file for each
layer and attention module, which is mapped into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Optional, Union

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.records.json_files import read_file
from fairseq_lottery.records.schema import Count, Size, Text, one_of

FORMAT = "fairseq_lottery recording 1"
#: side of the corpus -> part of the model that has an activation for each of its words
PARTS = {"source": "encoder", "target": "decoder"}
#: part of the model -> side of the corpus
SIDES = {part: side for side, part in PARTS.items()}
#: kind of attention -> sides of its queries and of its keys
KINDS = {
    "enc_self": ("source", "source"),
    "dec_self": ("target", "target"),
    "enc_dec": ("target", "source"),
}
PRECISIONS = ("float32", "float16")
#: most bytes of the words of a side
_LARGEST = 1 << 28

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Head:
    """An attention head; layers and heads count from 1."""

    kind: Annotated[str, one_of(tuple(KINDS))]
    layer: Size
    head: Size


@dataclass(frozen=True)
class Record:
    """Content of ``record.json``.

    Attributes:
        checkpoint, weights: file of the model, and digest of its weights.
        data, subset, sentences, of: data folder, its subset, the numbers of the recorded sentences
            in it, and the number of all its sentences.
        subwords: side -> rule by which subwords were merged to words.
        words: side -> SHA-256 of its words.
        counts: side -> number of its words.
        width: part -> number of activations of a word in each layer.
        layers: part -> number of its layers.
        heads: kind of attention -> heads of each layer.
        pruned_heads: heads that contribute nothing, because their value or output matrix is zero.
    """

    format: Annotated[str, one_of((FORMAT,))]
    checkpoint: Text
    weights: Text
    data: Text
    subset: Text
    sentences: tuple[Count, ...]
    of: Count
    subwords: dict[Text, Text]
    words: dict[Text, Text]
    counts: dict[Text, Size]
    precision: Annotated[str, one_of(PRECISIONS)]
    layers: dict[Text, Size]
    width: dict[Text, Size]
    heads: dict[Text, Size]
    pruned_heads: tuple[Head, ...]
    version: Text


class Attention(Sequence[Array]):
    """Attention weights of the heads of one module, sentence by sentence.

    Item n has shape (heads, query words, key words + 1); the last key is ``</s>``, which is the
    end of the source sentence, and the first input of the decoder for keys of the target. A row
    sums to 1 unless it is weighted. Rows of decoder self-attention are zero for later words.
    """

    def __init__(self, entries: Array, heads: int, queries: Array, keys: Array) -> None:
        self.heads, self._entries, self._queries, self._keys = heads, entries, queries, keys
        self._ends = np.cumsum(heads * queries * (keys + 1))

    def __len__(self) -> int:
        return len(self._queries)

    def __getitem__(self, number: Any) -> Any:
        end, queries, keys = self._ends[number], self._queries[number], self._keys[number] + 1
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
        """Open a recording.

        Raises:
            LotteryError: the folder is not a complete recording.
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
        return cls(folder, record)

    @cached_property
    def shared(self) -> dict[Any, Any]:
        """Intermediate results that measures share, by key; they live as long as this object."""
        return {}

    @cached_property
    def _sentences(self) -> dict[str, list[list[str]]]:
        sentences = {}
        for side in PARTS:
            try:
                lines = read_lines(self.folder / f"words.{side}.txt", _LARGEST)
                sentences[side] = [line.split(" ") for line in lines]
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise LotteryError(f"{self.folder}/words.{side}.txt: {reason}") from error
            count = sum(map(len, sentences[side]))
            shape = len(sentences[side]), count
            if shape != (len(self.record.sentences), self.record.counts.get(side)):
                raise LotteryError(
                    f"{self.folder}/words.{side}.txt has {shape[0]} sentences and {shape[1]} words,"
                    " which does not match record.json; record it again"
                )
        return sentences

    def words(self, side: str) -> list[list[str]]:
        """Return the words of each sentence of ``source`` or ``target``."""
        return self._sentences[side]

    def lengths(self, side: str) -> Array:
        """Return the number of words of each sentence, int64."""
        return np.array([len(words) for words in self.words(side)], dtype=np.int64)

    def activations(self, part: str, layer: int) -> Array:
        """Return the outputs of a layer, (words, width), mapped into memory.

        A word of several subwords has their mean. The decoder's row of a word is that at which the
        word is its input.

        Args:
            part: ``encoder``, for source words, or ``decoder``, for target words.
            layer: number of the layer, from 1.
        """
        shape = self.record.counts[SIDES[part]], self.record.width[part]
        return self._load(f"activations.{part}.{layer}.npy", shape)

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
        queries, keys = map(self.lengths, KINDS[kind])
        heads = self.record.heads[kind]
        name = "weighted" if weighted else "attention"
        shape = (int(heads * (queries * (keys + 1)).sum()),)
        return Attention(self._load(f"{name}.{kind}.{layer}.npy", shape), heads, queries, keys)

    def norms(self, kind: str, layer: int) -> list[Array]:
        """Return the norms of value vectors after the output matrix, (heads, keys + 1) a sentence.

        A word of several subwords has their mean; the last key is ``</s>``.
        """
        heads, keys = self.record.heads[kind], self.lengths(KINDS[kind][1]) + 1
        stored = self._load(f"norms.{kind}.{layer}.npy", (int(heads * keys.sum()),))
        ends = np.cumsum(heads * keys)
        return [stored[end - heads * n : end].reshape(heads, n) for end, n in zip(ends, keys)]

    def is_pruned(self, kind: str, layer: int, head: int) -> bool:
        """Return whether a head contributes nothing; layers and heads count from 1."""
        return Head(kind, layer, head) in self.record.pruned_heads

    def layers(self, part_or_kind: str) -> range:
        """Return the numbers of the layers, from 1, of a part or of a kind of attention."""
        part = "encoder" if part_or_kind in ("encoder", "enc_self") else "decoder"
        return range(1, self.record.layers[part] + 1)

    def _load(self, name: str, shape: tuple[int, ...]) -> Array:
        path = self.folder / name
        try:
            stored: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise LotteryError(f"{path} cannot be read ({error}); record it again") from error
        if stored.shape != shape or stored.dtype != self.record.precision:
            raise LotteryError(
                f"{path} has shape {stored.shape} and type {stored.dtype}, expected {shape} and"
                f" {self.record.precision}; record it again"
            )
        return stored


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
        if first.record.words[one] != second.record.words[one]:
            raise LotteryError(
                f"{first.folder} and {second.folder} have different {one} words; record both on the"
                " same sentences, with the same --subwords or files of words"
            )

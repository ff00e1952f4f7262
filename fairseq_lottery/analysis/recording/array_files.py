"""``ArrayFiles``: the arrays of a recording, written at the places of their sentences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.corpus import Corpus
from fairseq_lottery.analysis.recording.layout import Layout
from fairseq_lottery.analysis.recording.recording import KINDS, SIDES


class ArrayFiles:
    """The files of a recording, written at the places of their sentences.

    Args:
        is_new: create the files; those of a start that was killed while it created them are
            overwritten.
    """

    def __init__(
        self, folder: Path, layout: Layout, corpus: Corpus, dtype: np.dtype[Any], is_new: bool
    ) -> None:
        self.folder, self._dtype, self._is_new = folder, dtype, is_new
        self._open: dict[str, int] = {}
        self._starts: dict[str, Array] = {}
        words, tokens = (
            {
                side: np.array([len(by_side[side]) for by_side in sentences], dtype=np.int64)
                for side in corpus.sides
            }
            for sentences in (
                [one.words for one in corpus.sentences],
                [one.tokens for one in corpus.sentences],
            )
        )
        for part, layer in layout.layers:
            width = layout.width[part]
            self._create(f"activations.{part}.{layer}", words[SIDES[part]], (width,))
        for kind, layer in layout.attention.values():
            own, other = KINDS[kind]
            queries, keys = tokens[own], tokens[other] + (0 if corpus.is_encoder else 1)
            heads = layout.heads[kind]
            for name in ("attention", "weighted"):
                self._create(f"{name}.{kind}.{layer}", heads * queries * keys, ())
            self._create(f"norms.{kind}.{layer}", heads * keys, ())

    def _create(self, name: str, rows: Array, inner: tuple[int, ...]) -> None:
        path = self.folder / f"{name}.npy"
        shape = (int(rows.sum()), *inner)
        if self._is_new:
            np.lib.format.open_memmap(path, "w+", self._dtype, shape)
        offset = np.load(path, mmap_mode="r").offset
        size = self._dtype.itemsize * int(np.prod(inner, dtype=np.int64))
        self._starts[name] = offset + size * (np.cumsum(rows) - rows)

    def write(self, name: str, sentence: int, values: Array) -> None:
        """Write the values of a sentence; ``sentence`` is its place in the corpus."""
        data = memoryview(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        place = int(self._starts[name][sentence])
        while len(data):
            written = os.pwrite(self._open[name], data, place)
            data, place = data[written:], place + written

    def sync(self) -> None:
        """Write everything to the disk."""
        for number in self._open.values():
            os.fsync(number)

    def __enter__(self) -> ArrayFiles:
        for name in self._starts:
            self._open[name] = os.open(self.folder / f"{name}.npy", os.O_WRONLY)
        return self

    def __exit__(self, *error: object) -> None:
        for number in self._open.values():
            os.close(number)

"""Activations and attention of a sentence, merged from subwords to words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.layout import Layout, Outputs
from fairseq_lottery.analysis.recording.recording import KINDS, SIDES
from fairseq_lottery.analysis.recording.sentence import Placement, Sentence


def word_rows(
    outputs: Outputs, layout: Layout, row: int, sentence: Sentence, placement: Placement
) -> Iterator[tuple[str, Array]]:
    """Yield the files and the values of a sentence, by words."""
    for (part, layer), states in outputs.layers.items():
        side = SIDES[part]
        pieces = states[row][placement.inputs[side]].astype(np.float64)
        of_tokens = _mean(pieces, sentence.starts[side], 0)
        yield f"activations.{part}.{layer}", of_tokens[sentence.are_words(side)]
    for name, (kind, layer) in layout.attention.items():
        queries, keys = KINDS[kind]
        rows = placement.predictions if kind == "enc_dec" else placement.inputs[queries]
        columns, starts = placement.inputs[keys], np.array(sentence.starts[keys])
        if keys in placement.end:
            starts = np.append(starts, len(columns))
            columns = np.append(columns, placement.end[keys])
        weights = outputs.weights[name][row][:, rows][:, :, columns].astype(np.float64)
        norms = outputs.norms[name][row][:, columns].astype(np.float64)
        for title, values in (("attention", weights), ("weighted", weights * norms[:, None])):
            summed = np.add.reduceat(values, starts, axis=2)
            yield f"{title}.{kind}.{layer}", _mean(summed, sentence.starts[queries], 1)
        yield f"norms.{kind}.{layer}", _mean(norms, starts, 1)


def _mean(pieces: Array, starts: Union[Array, Sequence[int]], axis: int) -> Array:
    """Return the mean over the pieces of each word."""
    counts = np.diff(np.append(starts, pieces.shape[axis]))
    shape = [1] * pieces.ndim
    shape[axis] = -1
    means: Array = np.add.reduceat(pieces, starts, axis=axis) / counts.reshape(shape)
    return means

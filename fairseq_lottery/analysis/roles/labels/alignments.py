"""Word alignments: read from a Pharaoh file, or taken from the attention of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from fairseq_lottery.analysis.recording.recording import Recording, refuse_other_words
from fairseq_lottery.analysis.roles.labels.label_lines import (
    label_lines,
    select_recorded,
    whole_number,
)
from fairseq_lottery.errors import LotteryError

Array = np.ndarray[Any, np.dtype[Any]]


def read_alignment(path: Union[str, Path], recording: Recording) -> list[Array]:
    """Read a file with lines of ``i-j``: source word i is aligned to target word j, from 0.

    fast_align, eflomal and awesome-align write it.

    Returns:
        Pairs of target word and source word, (pairs, 2), for each recorded sentence.

    Raises:
        LotteryError: the file cannot be read, its lines do not pair with the sentences, or a number
            is not that of a word.
    """
    lines = select_recorded(path, label_lines(path), recording)
    sides = recording.lengths("source"), recording.lengths("target")
    alignment = []
    for place, (line, source, target) in enumerate(zip(lines, *sides)):
        pairs = []
        for pair in line.split():
            first, second = map(whole_number, pair.partition("-")[::2])
            if first is None or second is None:
                raise LotteryError(f"{path}: {pair[:40]!r} is not a pair such as 0-1")
            if first >= source or second >= target:
                raise LotteryError(
                    f"{path} aligns words {pair} of sentence"
                    f" {recording.record.sentences[place] + 1}, which has {source} source and"
                    f" {target} target words; align the words of the recording, from 0"
                )
            pairs.append((second, first))
        alignment.append(np.array(sorted(set(pairs)), dtype=np.int64).reshape(-1, 2))
    return alignment


def alignment_of_attention(
    teacher: Recording, recording: Recording, layer: Optional[int] = None
) -> list[Array]:
    """Return the alignment of each target word to the source word with the most attention.

    Attention is the mean over the heads of a layer that are not pruned; ``</s>`` is left out.

    Args:
        teacher: recording of another model on the same sentences.
        layer: layer of the decoder, from 1. The default is the last but one, which Garg et al.
            2019 (arXiv 1909.02074) found to align best.

    Returns:
        As ``read_alignment``.

    Raises:
        LotteryError: the recordings have other words or the same model, or the layer does not
            exist.
    """
    refuse_other_words(teacher, recording)
    if teacher.record.weights == recording.record.weights:
        raise LotteryError(
            f"{teacher.folder} has the same model as {recording.folder}, whose attention cannot be"
            " its own reference; give the recording of another model"
        )
    layers = teacher.layers("enc_dec")
    number = max(1, len(layers) - 1) if layer is None else layer
    if number not in layers:
        raise LotteryError(
            f"--alignment-layer {number} is out of range; {teacher.folder} has the layers 1 to"
            f" {len(layers)}"
        )
    heads = range(1, teacher.record.heads["enc_dec"] + 1)
    kept = [head - 1 for head in heads if not teacher.is_pruned("enc_dec", number, head)]
    if not kept:
        raise LotteryError(
            f"all heads of encoder-decoder layer {number} of {teacher.folder} are pruned; choose"
            " another --alignment-layer"
        )
    alignment = []
    for maps in teacher.attention("enc_dec", number):
        best = maps[kept].astype(np.float64).mean(axis=0)[:, :-1].argmax(axis=1)
        alignment.append(np.stack([np.arange(len(best)), best], axis=1))
    return alignment

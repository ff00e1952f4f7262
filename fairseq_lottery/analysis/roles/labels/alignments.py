"""Word alignments: read from a file, or taken from the attention of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.labels.label_file import read_labels
from fairseq_lottery.analysis.labels.matching import match_labels
from fairseq_lottery.analysis.recording.recording import Recording, refuse_other_words
from fairseq_lottery.errors import LotteryError


def read_alignment(path: Union[str, Path], recording: Recording) -> list[Array]:
    """Read a file with lines of ``i-j``: source word i is aligned to target word j, from 0.

    Returns:
        Pairs of target word and source word, (pairs, 2), for each recorded sentence.

    Raises:
        LotteryError: the file cannot be read, its lines do not pair with the sentences, or a number
            is not that of a word.
    """
    file = read_labels(path, format="alignment")
    return [
        np.array(sorted((j, i) for i, j, _ in labels.pairs), dtype=np.int64).reshape(-1, 2)
        for labels in match_labels(recording, ("source", "target"), file)
    ]


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

"""Write a recording as HDF5, as contextual-repr-analysis (Liu et al. 2019) reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Union

import numpy as np

from fairseq_lottery.analysis.recording.recording import SIDES, Recording
from fairseq_lottery.files import replacing


def write_hdf5(recording: Recording, path: Union[str, Path], part: str = "encoder") -> None:
    """Write the activations of all layers of a part.

    Dataset ``N`` has the sentence N, (layers, words, width), fp32; ``sentence_to_index`` maps the
    words of a sentence, joined by spaces, to N in JSON. Of equal sentences the last is named.

    Raises:
        LotteryError: the file cannot be written.
    """
    import h5py

    side = SIDES[part]
    layers = [recording.activations(part, layer) for layer in recording.layers(part)]
    ends = np.cumsum(recording.lengths(side))
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        names = {}
        for number, (words, end) in enumerate(zip(recording.words(side), ends)):
            rows = np.stack([layer[end - len(words) : end] for layer in layers])
            file.create_dataset(str(number), data=rows.astype(np.float32))
            names[" ".join(words)] = str(number)
        index = file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())
        index[0] = json.dumps(names)

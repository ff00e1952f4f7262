"""Recordings made of arrays, without a model."""

import hashlib
import json

import numpy as np

from fairseq_lottery.analysis.recording.recording import FORMAT, Recording


def make_recording(folder, source, activations, target=None, numbers=None, of=None, **record):
    """Write a recording whose sides have the given words, and layers the given activations.

    Args:
        source: words of each source sentence.
        activations: part -> layers, each (words, width).
        target: words of each target sentence; by default those of the source.
    """
    sides = {"source": source, "target": target or source}
    folder.mkdir()
    texts = {side: "".join(" ".join(s) + "\n" for s in own) for side, own in sides.items()}
    for side, text in texts.items():
        (folder / f"words.{side}.txt").write_text(text, encoding="utf-8")
    for part, layers in activations.items():
        for number, layer in enumerate(layers, 1):
            np.save(folder / f"activations.{part}.{number}.npy", layer.astype(np.float32))
    content = {
        "format": FORMAT, "checkpoint": "model.pt", "weights": "w", "data": "data",
        "subset": "valid", "sentences": list(numbers or range(len(source))),
        "of": of or len(source), "subwords": {"source": "none", "target": "none"},
        "words": {s: hashlib.sha256(t.encode()).hexdigest() for s, t in texts.items()},
        "counts": {side: sum(map(len, own)) for side, own in sides.items()},
        "precision": "float32", "layers": {p: len(own) for p, own in activations.items()},
        "width": {part: own[0].shape[1] for part, own in activations.items()},
        "heads": {"enc_self": 1, "dec_self": 1, "enc_dec": 1}, "pruned_heads": [], "version": "0",
        **record,
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(content))
    return Recording.open(folder)

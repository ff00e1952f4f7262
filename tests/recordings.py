"""Recordings written by hand: words, and attention maps made by functions."""

import json

import numpy as np

KINDS = {
    "enc_self": ("source", "source"),
    "dec_self": ("target", "target"),
    "enc_dec": ("target", "source"),
}


def even(kind, layer, place, heads, queries, keys):
    """Even attention to all visible keys, the last of which is </s>."""
    rows = np.ones((queries, keys + 1))
    if kind == "dec_self":
        rows[:, :-1] = np.tri(queries, keys)
    return np.repeat((rows / rows.sum(axis=1, keepdims=True))[None], heads, axis=0)


def random_maps(seed):
    """Random attention to visible keys."""
    generator = np.random.default_rng(seed)

    def maps(kind, layer, place, heads, queries, keys):
        base = even(kind, layer, place, heads, queries, keys)
        rows = base * generator.exponential(size=base.shape)
        return rows / rows.sum(axis=2, keepdims=True)

    return maps


def write_recording(
    folder, source, target=None, maps=even, layers=1, heads=2, pruned=(), of=None,
    weights="a", weighted=None, precision="float32",
):  # fmt: skip
    """Write a recording without activations.

    ``maps`` and ``weighted`` return (heads, queries, keys + 1) for a kind, a layer and the number
    of a sentence; ``weighted`` is ``maps`` by default.
    """
    folder.mkdir(parents=True)
    words = {"source": [one.split() for one in source]}
    words["target"] = [one.split() for one in target or source]
    for side, sentences in words.items():
        text = "".join(" ".join(sentence) + "\n" for sentence in sentences)
        (folder / f"words.{side}.txt").write_text(text, encoding="utf-8")
    for kind, (own, other) in KINDS.items():
        sizes = [(len(q), len(k)) for q, k in zip(words[own], words[other])]
        for layer in range(1, layers + 1):
            for name, function in (("attention", maps), ("weighted", weighted or maps)):
                entries = [
                    function(kind, layer, place, heads, *size).ravel()
                    for place, size in enumerate(sizes)
                ]
                path = folder / f"{name}.{kind}.{layer}.npy"
                np.save(path, np.concatenate(entries).astype(precision))
    record = {
        "format": "fairseq_lottery recording 1",
        "checkpoint": "model.pt",
        "weights": weights,
        "data": "data",
        "subset": "valid",
        "sentences": list(range(len(source))),
        "of": of or len(source),
        "subwords": {"source": "none", "target": "none"},
        "words": {side: json.dumps(sentences) for side, sentences in words.items()},
        "counts": {side: sum(map(len, sentences)) for side, sentences in words.items()},
        "precision": precision,
        "layers": {"encoder": layers, "decoder": layers},
        "width": {"encoder": 4, "decoder": 4},
        "heads": dict.fromkeys(KINDS, heads),
        "pruned_heads": [{"kind": k, "layer": n, "head": h} for k, n, h in pruned],
        "version": "0",
    }
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return folder

"""Small recordings with given arrays, which no model is needed for."""

import hashlib
import json

import numpy as np

from fairseq_lottery.analysis.recording.recording import FORMAT, KINDS, PARTS, Recording


def attention(chance, kind, queries, keys, heads):
    """Attention weights of a sentence, (heads, queries, keys + 1)."""
    scores = chance.normal(size=(heads, queries, keys + 1))
    if kind == "dec_self":
        scores[:, :, :keys][:, ~np.tri(queries, keys, dtype=bool)] = -np.inf
    weights = np.exp(scores)
    return weights / weights.sum(axis=2, keepdims=True)


def write_recording(
    folder, seed=0, lengths=(5, 9, 7, 11), layers=2, width=6, heads=3, pruned=(), **arrays
):
    """Write a recording of random arrays.

    Args:
        lengths: words of each sentence, on both sides.
        pruned: (kind, layer, head) of pruned heads.
        arrays: name of a file -> array, such as ``activations_encoder_1``; attention as a list of
            arrays of sentences.
    """
    chance = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    texts = {
        side: "".join(" ".join(f"{side[0]}{i}" for i in range(n)) + "\n" for n in lengths)
        for side in PARTS
    }
    for side, text in texts.items():
        (folder / f"words.{side}.txt").write_text(text)

    def save(name, values):
        given = arrays.get(name.replace(".", "_"), values)
        if isinstance(given, list):
            given = np.concatenate([one.ravel() for one in given])
        np.save(folder / f"{name}.npy", np.asarray(given, dtype=np.float32))

    for layer in range(1, layers + 1):
        for part in PARTS.values():
            save(f"activations.{part}.{layer}", chance.normal(size=(sum(lengths), width)))
        for kind in KINDS:
            maps = [attention(chance, kind, n, n, heads) for n in lengths]
            save(f"attention.{kind}.{layer}", maps)
            save(f"weighted.{kind}.{layer}", maps)
            save(f"norms.{kind}.{layer}", [np.ones((heads, n + 1)) for n in lengths])
    record = {
        "format": FORMAT,
        "checkpoint": f"{folder}/model.pt",
        "weights": hashlib.sha256(str(seed).encode()).hexdigest(),
        "data": "data",
        "subset": "valid",
        "sentences": list(range(len(lengths))),
        "of": len(lengths),
        "subwords": dict.fromkeys(PARTS, "none"),
        "words": {side: hashlib.sha256(t.encode()).hexdigest() for side, t in texts.items()},
        "counts": dict.fromkeys(PARTS, sum(lengths)),
        "precision": "float32",
        "layers": dict.fromkeys(PARTS.values(), layers),
        "width": dict.fromkeys(PARTS.values(), width),
        "heads": dict.fromkeys(KINDS, heads),
        "pruned_heads": [dict(zip(("kind", "layer", "head"), one)) for one in pruned],
        "version": "0",
    }
    (folder / "record.json").write_text(json.dumps(record))
    return Recording.open(folder)

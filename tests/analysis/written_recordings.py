"""Recordings written by hand, for which no model is needed: words, activations, attention maps."""

import hashlib
import json

import numpy as np

from fairseq_lottery.analysis.recording.record import CLS, SEP
from fairseq_lottery.analysis.recording.recording import FORMAT, KINDS, PARTS, Recording


def write_recording(folder, words, arrays, layers=1, heads=2, pruned=(), width=None, **record):
    """Write a recording; with words of the source only, that of an encoder.

    Args:
        words: side -> words of each sentence; of an encoder also its delimiters.
        arrays: name of a file -> array, or arrays of the sentences, which are joined.
        pruned: (kind, layer, head) of pruned heads.
        width: part -> width of its activations.
        record: other entries of the record that are not the default.
    """
    folder.mkdir(parents=True)
    texts = {side: "".join(" ".join(one) + "\n" for one in own) for side, own in words.items()}
    for side, text in texts.items():
        (folder / f"words.{side}.txt").write_text(text, encoding="utf-8")
    count = len(words["source"])
    parts = [PARTS[side] for side in words]
    kinds = [kind for kind, sides in KINDS.items() if set(sides) <= set(words)]
    delimiters = () if len(words) > 1 else (CLS, SEP)
    record = {
        "format": FORMAT,
        "checkpoint": f"{folder}/model.pt",
        "weights": "a",
        "data": "data",
        "subset": "valid",
        "sentences": list(range(count)),
        "of": count,
        "subwords": dict.fromkeys(words, "none"),
        "words": {side: hashlib.sha256(text.encode()).hexdigest() for side, text in texts.items()},
        "counts": {
            side: sum(token not in delimiters for one in own for token in one)
            for side, own in words.items()
        },
        "precision": "float32",
        "layers": dict.fromkeys(parts, layers),
        "width": width or dict.fromkeys(parts, 4),
        "heads": dict.fromkeys(kinds, heads),
        "pruned_heads": [dict(zip(("kind", "layer", "head"), one)) for one in pruned],
        "version": "0",
        **record,
    }
    for name, values in arrays.items():
        if isinstance(values, list):
            values = np.concatenate([one.ravel() for one in values])
        np.save(folder / f"{name}.npy", np.asarray(values, dtype=record["precision"]))
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return Recording.open(folder)


def write_activations(folder, source, activations, target=None, **record):
    """Write a recording without attention.

    Args:
        source, target: words of each sentence; those of the target are the source's by default.
        activations: part -> layers, each (words, width).
    """
    arrays = {
        f"activations.{part}.{number}": layer
        for part, layers in activations.items()
        for number, layer in enumerate(layers, 1)
    }
    width = {part: layers[0].shape[1] for part, layers in activations.items()}
    words = {"source": source, "target": target or source}
    layers = len(activations["encoder"])
    return write_recording(folder, words, arrays, layers, width=width, **record)


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


def write_maps(
    folder, source, target=None, maps=even, layers=1, heads=2, weighted=None, **record
):
    """Write a recording without activations.

    Args:
        source, target: sentences; those of the target are the source's by default.
        maps, weighted: kind, layer, number of the sentence, heads, queries, keys -> (heads,
            queries, keys + 1); ``weighted`` is ``maps`` by default.
    """
    words = {"source": [one.split() for one in source]}
    words["target"] = [one.split() for one in target or source]
    arrays = {}
    for kind, (own, other) in KINDS.items():
        sizes = [(len(q), len(k)) for q, k in zip(words[own], words[other])]
        for layer in range(1, layers + 1):
            for name, function in (("attention", maps), ("weighted", weighted or maps)):
                arrays[f"{name}.{kind}.{layer}"] = [
                    function(kind, layer, place, heads, *size) for place, size in enumerate(sizes)
                ]
    return write_recording(folder, words, arrays, layers, heads=heads, **record)


def write_encoder_maps(folder, source, maps, layers=1, heads=2, weighted=None, **record):
    """Write a recording of an encoder without activations.

    Args:
        source: tokens of each sentence, separated by spaces, with <s> and </s>.
        maps, weighted: as in ``write_maps``, of shape (heads, tokens, tokens).
    """
    words = {"source": [one.split() for one in source]}
    arrays = {
        f"{name}.enc_self.{layer}": [
            function("enc_self", layer, place, heads, len(one), len(one))
            for place, one in enumerate(words["source"])
        ]
        for layer in range(1, layers + 1)
        for name, function in (("attention", maps), ("weighted", weighted or maps))
    }
    return write_recording(folder, words, arrays, layers, heads=heads, **record)


def random_attention(chance, kind, queries, keys, heads):
    """Attention weights of a sentence, (heads, queries, keys + 1)."""
    scores = chance.normal(size=(heads, queries, keys + 1))
    if kind == "dec_self":
        scores[:, :, :keys][:, ~np.tri(queries, keys, dtype=bool)] = -np.inf
    weights = np.exp(scores)
    return weights / weights.sum(axis=2, keepdims=True)


def write_random(
    folder, seed=0, lengths=(5, 9, 7, 11), layers=2, width=6, heads=3, pruned=(), **arrays
):
    """Write a recording of random arrays.

    Args:
        lengths: words of each sentence, on both sides.
        arrays: name of a file -> array, such as ``activations_encoder_1``; attention as a list of
            arrays of sentences.
    """
    chance = np.random.default_rng(seed)
    words = {side: [[f"{side[0]}{i}" for i in range(n)] for n in lengths] for side in PARTS}
    drawn = {}
    for layer in range(1, layers + 1):
        for part in PARTS.values():
            drawn[f"activations.{part}.{layer}"] = chance.normal(size=(sum(lengths), width))
        for kind in KINDS:
            maps = [random_attention(chance, kind, n, n, heads) for n in lengths]
            drawn[f"attention.{kind}.{layer}"] = drawn[f"weighted.{kind}.{layer}"] = maps
            drawn[f"norms.{kind}.{layer}"] = [np.ones((heads, n + 1)) for n in lengths]
    chosen = {name: arrays.get(name.replace(".", "_"), values) for name, values in drawn.items()}
    widths = dict.fromkeys(PARTS.values(), width)
    return write_recording(
        folder, words, chosen, layers, heads, pruned, widths, weights=f"random {seed}"
    )

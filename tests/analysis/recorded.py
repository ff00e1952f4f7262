"""A small model of random weights on sentences of marked subwords, to record and to measure."""

from types import SimpleNamespace

import live
import numpy as np
import torch
from fairseq.data import Dictionary, LanguagePairDataset

from fairseq_lottery.adapters import TRANSLATION

#: pieces of the dictionary; half of them start a word
PIECES = [f"\u2581{k}" if k % 2 else f"{k}" for k in range(live.WORDS - 4)]


def dictionary(symbols=PIECES):
    made = Dictionary()
    for symbol in symbols:
        made.add_symbol(symbol)
    return made


def sentences(count, seed, longest=9):
    """Lists of pieces; each sentence starts with a word's first piece."""
    chance = np.random.default_rng(seed)
    starts = [piece for piece in PIECES if piece.startswith("\u2581")]
    return [
        [str(chance.choice(starts)), *map(str, chance.choice(PIECES, chance.integers(0, longest)))]
        for _ in range(count)
    ]


def loaded(source, target, model=None, symbols=PIECES):
    """A stand-in for a loaded file: fairseq's model and fairseq's data set of these pieces."""
    words = dictionary(symbols)

    def ids(lines):
        return [torch.tensor([*map(words.index, line), words.eos()]) for line in lines]

    sizes = [np.array([len(line) + 1 for line in lines]) for lines in (source, target)]
    data = LanguagePairDataset(
        ids(source), sizes[0], words, ids(target), sizes[1], words, shuffle=False
    )
    model = live.transformer() if model is None else model
    return SimpleNamespace(
        model=model,
        device=torch.device("cpu"),
        source=SimpleNamespace(
            path="toy.pt",
            digest=lambda: "0" * 64,
            adapter=TRANSLATION,
        ),
        evaluation=SimpleNamespace(
            adapter=TRANSLATION,
            dictionaries={"source": words, "target": words},
            folder="data",
            contents="pairs",
            load=lambda subset: data if subset == "valid" else None,
        ),
    )

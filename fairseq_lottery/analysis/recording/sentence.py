"""``Sentence`` and ``Placement``: a sentence in words, and its subwords in a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairseq_lottery.analysis.arrays import Array


@dataclass(frozen=True)
class Sentence:
    """A pair of sentences, or an example of an encoder without a decoder.

    Attributes:
        number: its number in the subset.
        tokens: side -> its words; in an example of an encoder also the delimiters.
        starts: side -> the number of the first subword of each token.
        pieces: side -> number of its subwords, with the delimiters that are tokens.
        delimiters: numbers of the tokens that are delimiters.
    """

    number: int
    tokens: Mapping[str, list[str]]
    starts: Mapping[str, list[int]]
    pieces: Mapping[str, int]
    delimiters: Sequence[int] = ()

    def are_words(self, side: str) -> Array:
        """Return which tokens are words, bool."""
        are_words: Array = ~np.isin(np.arange(len(self.tokens[side])), self.delimiters)
        return are_words

    @property
    def words(self) -> dict[str, list[str]]:
        """Side -> its words."""
        return {
            side: [token for token, own in zip(tokens, self.are_words(side)) if own]
            for side, tokens in self.tokens.items()
        }


@dataclass(frozen=True)
class Placement:
    """Where the subwords of a pair are in the padded inputs of the model.

    Attributes:
        inputs: side -> positions at which its subwords are inputs; of an encoder's example, also
            its delimiters.
        end: side -> position of ``</s>``: after the source, and before the target. Empty for an
            encoder's example.
        predictions: positions at which the decoder predicts the target's subwords.
    """

    inputs: Mapping[str, Array]
    end: Mapping[str, int]
    predictions: Array

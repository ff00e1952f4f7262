"""``Corpus``: the sentences to record, with their subwords merged to words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.encoder_input import (
    delimited_words,
    plain_input,
    plain_tokens,
    refuse_other_models,
)
from fairseq_lottery.analysis.recording.gpt2_encoder import read_gpt2_encoder
from fairseq_lottery.analysis.recording.recording import PARTS
from fairseq_lottery.analysis.recording.sentence import Placement, Sentence
from fairseq_lottery.analysis.recording.words import (
    SUBWORDS,
    guess_subwords,
    match_words,
    merge,
    word_starts,
)
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.inference.loaded_model import Examples, LoadedModel, examples

logger = logging.getLogger(__name__)

#: most bytes of a file of words
_LARGEST = 1 << 30
_UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Corpus:
    """Sentences of a model's data folder.

    Attributes:
        subset: its subset.
        of: number of sentences of the subset.
        sentences: those to record, in the order of the subset.
        subwords: side -> a name of ``SUBWORDS``.
        dropped: number of sentences with a subword that spans two given words.
        padding: number of the padding token.
    """

    subset: str
    of: int
    sentences: Sequence[Sentence]
    subwords: Mapping[str, str]
    dropped: int
    padding: int
    _examples: Examples
    _adapter: TaskAdapter

    @property
    def is_encoder(self) -> bool:
        """Whether the sentences are examples of an encoder without a decoder."""
        return self._adapter.is_encoder

    @property
    def sides(self) -> tuple[str, ...]:
        """Sides of the sentences."""
        return tuple(self.subwords)

    @property
    def counts(self) -> dict[str, int]:
        """Side -> number of words."""
        words = [one.words for one in self.sentences]
        return {side: sum(len(one[side]) for one in words) for side in self.sides}

    def examples_of(self, numbers: Sequence[int]) -> Examples:
        """Return fairseq's examples of some sentences."""
        return Examples(self._examples.dataset, numbers)

    def model_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of the model for a batch, without masks over tokens."""
        return plain_input(self._adapter, batch, self.padding)

    def place(self, sentence: Sentence, inputs: Mapping[str, Array]) -> Placement:
        """Return where a pair's subwords are in its rows of the padded inputs.

        Raises:
            LotteryError: an input has other tokens than the subwords and one ``</s>``.
        """
        positions = {side: np.flatnonzero(row != self.padding) for side, row in inputs.items()}
        for side, found in positions.items():
            expected = sentence.pieces[side] + (0 if self.is_encoder else 1)
            if len(found) != expected:
                raise LotteryError(
                    f"the {side} of sentence {sentence.number} of {self.subset} has {len(found)}"
                    f" tokens in the model, expected {expected}"
                )
        if self.is_encoder:
            return Placement(positions, {}, np.zeros(0, dtype=np.int64))
        source, target = positions["source"], positions["target"]
        return Placement(
            {"source": source[:-1], "target": target[1:]},
            {"source": int(source[-1]), "target": int(target[0])},
            target[:-1],
        )


def read_corpus(
    loaded: LoadedModel,
    subset: str = "valid",
    sentences: Optional[int] = None,
    words: Optional[int] = None,
    subwords: Optional[str] = None,
    files: Optional[Mapping[str, Union[str, Path]]] = None,
    gpt2_encoder: Optional[Union[str, Path]] = None,
) -> Corpus:
    """Read sentences of a model's data folder, and merge their subwords to words.

    Args:
        loaded: a translation model, or an encoder without a decoder.
        subset: subset of the data folder.
        sentences: number of sentences, evenly spread; None for all.
        words: stop after the sentence with which this number of source words is reached.
        subwords: a name of ``SUBWORDS``; by default the rule that each dictionary's symbols follow.
        files: side -> text with the words of each sentence of the subset, separated by spaces.
            Sentences with a subword that spans two of them are dropped, as in Liu et al. 2019.
        gpt2_encoder: ``encoder.json`` of GPT-2, with the byte pairs whose numbers are the symbols
            of a dictionary, as in fairseq's released RoBERTa.

    Raises:
        LotteryError: the model is of another kind, the subset is missing, a file has another number
            of lines, or no sentence is left.
    """
    adapter = loaded.evaluation.adapter
    refuse_other_models(adapter, loaded.source.path)
    sides = ("source",) if adapter.is_encoder else tuple(PARTS)
    if not set(files or {}) <= set(sides):
        raise LotteryError(
            f"the task of {loaded.source.path} is {adapter.name}, which has no target sentences;"
            " leave --target-words out"
        )
    if subwords not in (None, *SUBWORDS):
        raise LotteryError(f"subwords {subwords!r} are unknown; choose from {', '.join(SUBWORDS)}")
    if not subset or "/" in subset:
        raise LotteryError(f"--subset {subset!r} is not the name of a subset, such as valid")
    for name, value in (("--sentences", sentences), ("--words", words)):
        if value is not None and value < 1:
            raise LotteryError(f"{name} {value} is out of range; give 1 or more")
    selected = examples(loaded, subset, sentences)
    dictionaries = dict(zip(sides, loaded.evaluation.dictionaries.values()))
    pieces_of = {} if gpt2_encoder is None else read_gpt2_encoder(gpt2_encoder)
    symbols = {
        side: [pieces_of.get(symbol, symbol) for symbol in dictionary.symbols]
        for side, dictionary in dictionaries.items()
    }
    rules = {side: subwords or guess_subwords(own) for side, own in symbols.items()}
    texts = {side: _read(path) for side, path in (files or {}).items()}
    whole = len(selected.dataset)
    for side, lines in texts.items():
        if len(lines) != whole:
            raise LotteryError(
                f"{(files or {})[side]} has {len(lines)} lines, but {subset} has {whole} sentences"
            )
    padding = dictionaries["source"].pad()
    pairs, dropped, count = [], 0, 0
    for number in selected.numbers:
        example: Any = selected.dataset[number]
        given = {side: lines[number].split() for side, lines in texts.items()}
        if adapter.is_encoder:
            tokens = plain_tokens(adapter, example, padding)
            own = [symbols["source"][index] for index in tokens]
            pair = _delimited(number, own, rules["source"], given.get("source"))
        else:
            pieces = {
                side: [symbols[side][index] for index in example[side].tolist()[:-1]]
                for side in PARTS
            }
            pair = _merged(number, pieces, rules, given)
        if pair is None:
            dropped += 1
            continue
        pairs.append(pair)
        count += int(pair.are_words("source").sum())
        if words is not None and count >= words:
            break
    if not pairs:
        raise LotteryError(
            f"no sentence of {subset} can be recorded: each is empty, or has a subword that spans"
            " two words of the files"
        )
    if dropped:
        logger.warning(
            "%d of %d sentences dropped: they are empty, or their subwords do not match the words",
            dropped,
            dropped + len(pairs),
        )
    unknown = sum(_UNKNOWN in word for one in pairs for side in sides for word in one.tokens[side])
    if unknown:
        logger.warning(
            "%d words have an unknown subword, so marks of words may be missing; give the words"
            " with --source-words and --target-words",
            unknown,
        )
    return Corpus(subset, whole, pairs, rules, dropped, padding, selected, adapter)


def _delimited(
    number: int, pieces: list[str], rule: str, given: Optional[list[str]]
) -> Optional[Sentence]:
    merged = delimited_words(pieces, rule, given)
    if merged is None:
        return None
    tokens, starts, delimiters = merged
    by_side = {"source": tokens}, {"source": starts}, {"source": len(pieces)}
    return Sentence(number, *by_side, delimiters)


def _merged(
    number: int,
    pieces: Mapping[str, list[str]],
    rules: Mapping[str, str],
    given: Mapping[str, list[str]],
) -> Optional[Sentence]:
    starts: dict[str, list[int]] = {}
    words: dict[str, list[str]] = {}
    for side, own in pieces.items():
        if side in given:
            matched = match_words(own, given[side], rules[side])
            starts[side], words[side] = matched or [], given[side]
        else:
            starts[side] = word_starts(own, rules[side])
            words[side] = merge(own, starts[side], rules[side])
        if not starts[side]:
            return None
    return Sentence(number, words, starts, {side: len(own) for side, own in pieces.items()})


def _read(path: Union[str, Path]) -> list[str]:
    try:
        lines = list(read_lines(path, _LARGEST))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read ({reason})") from error
    if lines:
        lines[0] = lines[0].lstrip("\ufeff")
    return lines

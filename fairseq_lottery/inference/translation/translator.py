"""Translate lines of text with the model of a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from fairseq_lottery.decoding import accelerate
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Source, read_source
from fairseq_lottery.formats.compact_model import PackedModel
from fairseq_lottery.formats.source import is_compact_model, outline_of
from fairseq_lottery.inference.loaded_model import build_with_weights, stored_weights
from fairseq_lottery.inference.sentences import text_of
from fairseq_lottery.inference.translation.compact_opening import open_packed

#: fairseq's names of the ways to join subwords; the first one is the end of a subword
SUBWORDS = ("@@ ", "subword_nmt", "sentencepiece", "wordpiece", "letter", "_EOW")


@dataclass(frozen=True)
class TranslationOptions:
    """Options of a translator; names and defaults are those of fairseq's flags.

    Attributes:
        beam: number of hypotheses.
        lenpen: exponent of the length by which scores are divided.
        max_len_a: a of the longest translation, a x (source tokens) + b.
        max_len_b: b of it.
        remove_bpe: how subwords are joined, one of ``SUBWORDS``; None keeps them.

    Raises:
        LotteryError: a value is out of range or unknown.
    """

    beam: int = 5
    lenpen: float = 1.0
    max_len_a: float = 0.0
    max_len_b: int = 200
    remove_bpe: Optional[str] = None

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise LotteryError(f"--beam {self.beam} is less than 1; give at least 1")
        if not math.isfinite(self.lenpen):
            raise LotteryError(f"--lenpen {self.lenpen} is not a number; give for instance 1")
        if not 0 <= self.max_len_a < math.inf or self.max_len_b < 1:
            raise LotteryError(
                f"--max-len-a {self.max_len_a} or --max-len-b {self.max_len_b} is out of range;"
                " give at least 0 and 1"
            )
        if self.remove_bpe not in (None, *SUBWORDS):
            raise LotteryError(
                f"--remove-bpe {self.remove_bpe} is unknown; choose {', '.join(SUBWORDS)}"
            )


class Translator:
    """A model with beam search on a CPU.

    Make one with ``open_translator``.
    """

    def __init__(
        self,
        model: Any,
        dictionaries: tuple[Dictionary, Dictionary],
        options: TranslationOptions,
        left_pad: bool,
    ) -> None:
        """Take a model in evaluation mode, which cannot be trained any more.

        Args:
            dictionaries: of source and target.
            left_pad: whether sentences of a batch are padded at the left.
        """
        self._model, self._left_pad = model, left_pad
        self._remove_bpe = options.remove_bpe
        self._source, self._target = dictionaries
        self._longest = model.max_positions()[0]
        self._generator = SequenceGenerator(
            [model],
            self._target,
            beam_size=options.beam,
            len_penalty=options.lenpen,
            max_len_a=options.max_len_a,
            max_len_b=options.max_len_b,
        )
        accelerate(self._generator, [model])

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """Translate a batch of sentences; a blank one has a blank translation.

        Args:
            sentences: symbols of the source dictionary, separated by spaces.

        Raises:
            LotteryError: a sentence is longer than the model allows.
        """
        translations = [""] * len(sentences)
        numbers = [number for number, line in enumerate(sentences) if line.strip()]
        if not numbers:
            return translations
        ids = [self._encode(sentences[number]) for number in numbers]
        tokens = data_utils.collate_tokens(ids, self._source.pad(), left_pad=self._left_pad)
        lengths = torch.tensor([len(one) for one in ids])
        sample = {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}
        with torch.no_grad():
            results = self._generator.generate([self._model], sample)
        for number, hypotheses in zip(numbers, results):
            translations[number] = self._target.string(hypotheses[0]["tokens"], self._remove_bpe)
        return translations

    def _encode(self, sentence: str) -> Tensor:
        ids: Tensor = self._source.encode_line(sentence, add_if_not_exist=False).long()
        if len(ids) > self._longest:
            raise LotteryError(
                f"the sentence {sentence[:40]!r}... has {len(ids) - 1} tokens, but the model takes"
                f" at most {self._longest - 1}; split it"
            )
        return ids


def open_translator(
    path: Union[str, Path], data: Optional[str] = None, options: Optional[TranslationOptions] = None
) -> Translator:
    """Open a model for translating on a CPU.

    Matrices of a compact file are never dense all at once. Other files are read as a whole.

    Args:
        path: checkpoint or compact file; also a ticket or snapshot.
        data: folder with the dictionaries; default: those in the file, or the training's folder.
        options: options of the search; default: those of ``TranslationOptions``.

    Raises:
        LotteryError: the file is malformed, does not translate, or does not match its dictionaries.
    """
    options = options or TranslationOptions()
    packed = PackedModel(path) if is_compact_model(path) else None
    source = read_source(path) if packed is None else outline_of(packed)
    _refuse_other_models(source)
    text = text_of(source, data, needed=False)
    dictionaries = text.fairseq_dictionaries
    if packed is not None and not source.cut:
        model = open_packed(packed, source, dictionaries, options.beam)
    else:
        source = source if packed is None else read_source(path)
        model = build_with_weights(source, stored_weights(source), dictionaries)
    pair = dictionaries["source"], dictionaries["target"]
    return Translator(model, pair, options, text.options.get("left_pad_source", True))


def _refuse_other_models(source: Source) -> None:
    source.adapter.refuse_unless_translating(source.path, "translate")
    source.adapter.refuse_language_tokens(source.path, "translate")
    source.refuse_pair_masks()

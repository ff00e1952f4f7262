"""Inputs of an encoder without a decoder: words, and the delimiters ``<s>`` and ``</s>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.analysis.recording.record import CLS, SEP
from fairseq_lottery.analysis.recording.words import match_words, merge, word_starts
from fairseq_lottery.errors import LotteryError

#: input of fairseq's encoders in the examples of a data set
_TOKENS = "net_input.src_tokens"


def refuse_other_models(adapter: TaskAdapter, path: object) -> None:
    """Refuse models that neither translate nor are encoders without a decoder."""
    if not adapter.translates and not adapter.is_encoder:
        raise LotteryError(
            f"the task of {path} is {adapter.name}, whose models neither translate nor are"
            " encoders; record a model of another task"
        )


def plain_input(adapter: TaskAdapter, batch: Mapping[str, Any], pad: int) -> dict[str, Any]:
    """Return the inputs of the model for a batch, with masked tokens as they were before."""
    inputs = dict(batch["net_input"])
    if adapter.masks_tokens:
        inputs["src_tokens"] = _unmasked(inputs["src_tokens"], batch["target"], pad)
    return inputs


def plain_tokens(adapter: TaskAdapter, example: Mapping[str, Any], pad: int) -> list[int]:
    """Return the tokens of an example, with masked tokens as they were before.

    Raises:
        LotteryError: the examples of the task have no input tokens.
    """
    if _TOKENS not in example:
        raise LotteryError(f"examples of {adapter.name} have no {_TOKENS}, expected input tokens")
    tokens: Tensor = example[_TOKENS]
    if adapter.masks_tokens:
        tokens = _unmasked(tokens, example["target"], pad)
    numbers: list[int] = tokens.tolist()
    return numbers


def _unmasked(tokens: Tensor, target: Tensor, pad: int) -> Tensor:
    """Return the tokens with those that are to be predicted, which ``target`` has, in place."""
    return torch.where(target != pad, target, tokens)


def delimited_words(
    pieces: Sequence[str], subwords: str, given: Optional[Sequence[str]]
) -> Optional[tuple[list[str], list[int], list[int]]]:
    """Merge the subwords of an example to tokens: words, and each delimiter.

    Args:
        pieces: all symbols of the input, delimiters included.
        subwords: a name of ``SUBWORDS``.
        given: words of the example without its delimiters; None to merge by marks.

    Returns:
        The tokens, the number of the first piece of each, and the numbers of the tokens that are
        delimiters. None if there is no word, a piece spans two given words, or a word looks like a
        delimiter.
    """
    places = [number for number, piece in enumerate(pieces) if piece not in (CLS, SEP)]
    inner = [pieces[number] for number in places]
    first_of_run = {
        next(run)[0] for _, run in groupby(enumerate(places), lambda item: item[1] - item[0])
    }
    if given is None:
        starts, words = [], []
        bounds = [*sorted(first_of_run), len(inner)]
        for start, end in zip(bounds, bounds[1:]):
            own = word_starts(inner[start:end], subwords)
            starts += [start + one for one in own]
            words += merge(inner[start:end], own, subwords)
    else:
        starts, words = match_words(inner, given, subwords) or [], list(given)
        if not first_of_run <= set(starts):
            return None
    if not starts or {CLS, SEP} & set(words):
        return None
    of_piece = {places[start]: word for start, word in zip(starts, words)}
    delimiters = [number for number, piece in enumerate(pieces) if piece in (CLS, SEP)]
    firsts = sorted([*of_piece, *delimiters])
    tokens = [of_piece.get(number, pieces[number]) for number in firsts]
    return tokens, firsts, [firsts.index(number) for number in delimiters]

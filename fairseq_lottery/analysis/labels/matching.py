"""Match the sentences of a label file with those of a recording, word by word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, TypeVar, Union

from fairseq_lottery.analysis.labels.label_file import Division, LabelFile, Labels, Sentence
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError

T = TypeVar("T")

#: what a dictionary's unknown piece is in the words of a recording
_UNKNOWN = "<unk>"


def select_recorded(path: Union[str, Path], entries: Sequence[T], recording: Recording) -> list[T]:
    """Return the entries of the recorded sentences.

    Args:
        path: file of the entries.
        entries: one for each sentence of the subset, or one for each recorded sentence.

    Raises:
        LotteryError: their number fits neither.
    """
    record = recording.record
    if max(record.sentences) >= record.of:
        raise LotteryError(
            f"{recording.folder}/record.json has sentence {max(record.sentences)} of {record.of};"
            " record it again"
        )
    if len(entries) == record.of:
        return [entries[number] for number in record.sentences]
    if len(entries) == len(record.sentences):
        return list(entries)
    raise LotteryError(
        f"{path} has {len(entries)} sentences, expected all {record.of} of {record.subset}, or the"
        f" {len(record.sentences)} in {recording.folder}"
    )


def match_labels(recording: Recording, sides: Sequence[str], file: LabelFile) -> list[Labels]:
    """Return the labels of each recorded sentence.

    The file has all sentences of the recorded subset, or exactly the recorded ones.

    Args:
        sides: ``source`` or ``target``, or both for pairs of a source and a target word.

    Raises:
        LotteryError: the number of sentences, a word, or the number of a word does not match.
    """
    selected = select_recorded(file.path, file.sentences, recording)
    numbers = recording.record.sentences
    found = []
    for place, (number, sentence) in enumerate(zip(numbers, selected)):
        words = [recording.words(side)[place] for side in sides]
        name = f"sentence {number + 1} of {recording.record.subset}"
        if not sentence.divisions:
            _refuse_out_of_range(file, name, sentence, sides, [len(one) for one in words])
            found.append(Labels(None, pairs=sentence.pairs, arcs=sentence.pairs))
            continue
        division = find_division(words[0], sentence.divisions, file.format == "conllu")
        if division is None:
            problem, wanted = _first_difference(words[0], sentence.divisions)
            raise LotteryError(
                f"{name} ({sides[0]}) has {problem} in {recording.folder}, expected {wanted} of"
                f" {file.path}; record it with --{sides[0]}-words and the words of the labels, or"
                " label the words of the recording"
            )
        found.append(sentence.divide(division))
    return found


def find_division(
    words: Sequence[str], divisions: Sequence[Division], can_join: bool
) -> Optional[Division]:
    """Return the division of a sentence into the given words; None if no division fits.

    Words are compared in Unicode's compatibility form, which sentencepiece writes. A word with
    ``<unk>`` matches any word of a division with as many words.

    Args:
        divisions: the divisions that the file has, the finest first.
        can_join: whether words of a division can be joined, as ``aunt.`` of ``aunt`` and ``.``.
    """
    for division in divisions:
        if len(words) == len(division) == _agreeing(words, division):
            return division
    joined = (_join(words, division) for division in divisions if can_join)
    return next((one for one in joined if one is not None), None)


def _join(words: Sequence[str], division: Division) -> Optional[Division]:
    joined, place = [], 0
    for word in words:
        expected, text, numbers = _compatible(word), "", tuple[int, ...]()
        while len(text) < len(expected) and place < len(division):
            text = _compatible(text + division[place][0])
            numbers += division[place][1]
            place += 1
        if text != expected:
            return None
        joined.append((word, numbers))
    return tuple(joined) if place == len(division) else None


def _agreeing(words: Sequence[str], division: Division) -> int:
    """Return how many words at the start match."""
    count = 0
    for word, (form, _) in zip(words, division):
        if word != form and _UNKNOWN not in word and _compatible(word) != _compatible(form):
            break
        count += 1
    return count


def _compatible(word: str) -> str:
    return unicodedata.normalize("NFKC", word)


def _first_difference(words: Sequence[str], divisions: Sequence[Division]) -> tuple[str, str]:
    """Return the first recorded word that differs from the closest division, and its word."""
    closest = max(divisions, key=lambda one: (_agreeing(words, one), len(one) == len(words)))
    place = _agreeing(words, closest)
    found, expected = (
        repr(one[place]) if place < len(one) else "no word"
        for one in (words, [form for form, _ in closest])
    )
    return f"{found} as word {place + 1}", expected


def _refuse_out_of_range(
    file: LabelFile, name: str, sentence: Sentence, sides: Sequence[str], counts: Sequence[int]
) -> None:
    for i, j, _ in sentence.pairs:
        if i >= counts[0] or j >= counts[-1]:
            raise LotteryError(
                f"{file.path} has the pair {i} {j} for {name}, which has {counts[0]} {sides[0]} and"
                f" {counts[-1]} {sides[-1]} words; words count from 0"
            )

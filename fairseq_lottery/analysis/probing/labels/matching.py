"""Match the sentences of a label file with those of a recording, word by word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from fairseq_lottery.analysis.probing.labels.label_file import Alternatives, LabelFile, Labels
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError

#: what a dictionary's unknown piece is in the words of a recording
_UNKNOWN = "<unk>"


def match_labels(recording: Recording, side: str, file: LabelFile) -> list[Labels]:
    """Return the labels of each recorded sentence.

    The file has all sentences of the recorded subset, or exactly the recorded ones. Words are
    compared in Unicode's compatibility form, which sentencepiece writes; an unknown word of the
    recording matches any word.

    Args:
        side: ``source`` or ``target``.

    Raises:
        LotteryError: the number of sentences, or a word, does not match.
    """
    record = recording.record
    if max(record.sentences) >= record.of:
        raise LotteryError(
            f"{recording.folder}/record.json has sentence {max(record.sentences)} of {record.of};"
            " record it again"
        )
    if len(file.sentences) == record.of:
        selected = [file.sentences[number] for number in record.sentences]
    elif len(file.sentences) == len(record.sentences):
        selected = list(file.sentences)
    else:
        raise LotteryError(
            f"{file.path} has {len(file.sentences)} sentences, expected all {record.of} of"
            f" {record.subset}, or the {len(record.sentences)} in {recording.folder}"
        )
    numbers = record.sentences
    return [
        _match(recording, side, file, number, words, one)
        for number, words, one in zip(numbers, recording.words(side), selected)
    ]


def _match(
    recording: Recording,
    side: str,
    file: LabelFile,
    number: int,
    words: Sequence[str],
    alternatives: Alternatives,
) -> Labels:
    """Return the division of a sentence whose words are those of the recording."""
    for labels in alternatives:
        if labels.words is None or _are_equal(words, labels.words):
            return labels
    expected = max(
        (one.words or () for one in alternatives),
        key=lambda one: (_agree(words, one), len(one) == len(words)),
    )
    place = _agree(words, expected)
    found, wanted = (
        repr(one[place]) if place < len(one) else "no word" for one in (words, expected)
    )
    raise LotteryError(
        f"sentence {number} of {recording.record.subset} ({side}) has {found} as word {place + 1}"
        f" in {recording.folder}, expected {wanted} of {file.path}; record it with --{side}-words"
        " and the words of the labels"
    )


def _agree(words: Sequence[str], others: Sequence[str]) -> int:
    """Return how many words at the start are equal."""
    count = 0
    for one, other in zip(words, others):
        if not _are_equal((one,), (other,)):
            break
        count += 1
    return count


def _are_equal(words: Sequence[str], others: Sequence[str]) -> bool:
    return len(words) == len(others) and all(
        one == other
        or _UNKNOWN in one
        or unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other)
        for one, other in zip(words, others)
    )

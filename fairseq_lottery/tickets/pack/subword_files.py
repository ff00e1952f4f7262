"""Subword files that an archive may contain: their content has to match their name.

Any other file, such as a Python module, could be imported in the folder of the unpacked archive.
"""

from __future__ import annotations

import io
import re
from pathlib import PurePath

from fairseq_lottery.errors import LotteryError

#: maximum size in bytes; a sentencepiece model of 4,000 pieces has 0.3 million
LARGEST = 1 << 24
#: field numbers of sentencepiece's ModelProto: pieces, trainer, normalizer, self-test, denormalizer
_FIELDS = range(1, 6)
_BYTES = 2  # protobuf's wire type of a message
#: names of merges (``codes``, ``bpe.codes``, ``codes.32000``) and of dictionaries with counts
_TABLE = re.compile(r"(\.(codes|bpe|txt|\d+k?))?")
#: a merge or a symbol, with or without a count; the first line may be a version
_ROW = re.compile(r"#version: [\d.]+|[^ ]+ [^ ]+( [^ ]+)?|")
_PIECE = re.compile(r"[^\t]+\t-?[\d.e-]+|")


def refuse_other_kind(name: str, content: bytes) -> None:
    """Raise an error if a file is not a subword model, vocabulary, merges or a dictionary.

    Raises:
        LotteryError: the name is not allowed, or the content does not match it.
    """
    suffix = PurePath(name).suffix
    if suffix == ".model":
        fits = _is_model(content)
    elif suffix == ".vocab":
        fits = _is_table(content, _PIECE)
    else:
        fits = bool(_TABLE.fullmatch(suffix)) and _is_table(content, _ROW)
    if not fits:
        raise LotteryError(
            f"{name} is not a subword file; give sentencepiece's .model and .vocab, BPE merges"
            " (codes, NAME.codes, NAME.bpe) or a dictionary (NAME.txt)"
        )


def _is_table(content: bytes, row: re.Pattern[str]) -> bool:
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    try:
        return bool(content.strip()) and all(row.fullmatch(line.rstrip("\n")) for line in lines)
    except UnicodeDecodeError:
        return False


def _is_model(content: bytes) -> bool:
    """Return whether the content is a sequence of sentencepiece's messages, to its last byte."""
    at = 0
    while at < len(content):
        tag, at = _number(content, at)
        length, at = _number(content, at)
        at += length
        if tag & 7 != _BYTES or tag >> 3 not in _FIELDS:
            return False
    return at == len(content) > 0


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Return a protobuf number of up to five bytes, and the offset after it."""
    number = 0
    for shift in range(0, 35, 7):
        byte = content[at] if at < len(content) else 0
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            break
    return number, at

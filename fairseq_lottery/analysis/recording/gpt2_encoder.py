"""GPT-2's byte pairs, whose numbers are the symbols of RoBERTa's dictionary."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.analysis.recording.record import CLS, SEP
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.files.untrusted_json import read_json

#: character that stands for a space (U+0120)
SPACE = "\u0120"
#: most bytes of ``encoder.json``; GPT-2's has 1 MB
_LARGEST = 1 << 24


def read_gpt2_encoder(path: Union[str, Path]) -> dict[str, str]:
    """Return the number of each byte pair, as a text, -> its characters.

    Raises:
        LotteryError: the file cannot be read, or is not a mapping from byte pairs to numbers.
    """
    try:
        content: Any = read_json(read_text(path, _LARGEST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{path} cannot be read: {reason}") from error
    is_mapping = isinstance(content, dict) and all(type(one) is int for one in content.values())
    if not is_mapping or not content:
        raise LotteryError(
            f"{path} is not a mapping from byte pairs to numbers; give GPT-2's encoder.json"
        )
    return {str(number): piece for piece, number in content.items() if piece not in (CLS, SEP)}


def gpt2_surfaces(pieces: Sequence[str]) -> list[str]:
    """Return the text of byte pairs, without spaces.

    A character of several pieces belongs to the last one. Other symbols, such as ``<unk>``, are
    returned as they are.
    """
    texts = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for place, piece in enumerate(pieces):
        is_pair = all(one in _BYTES for one in piece)
        content = bytes(_BYTES[one] for one in piece) if is_pair else piece.encode()
        text = decoder.decode(content, final=place == len(pieces) - 1)
        texts.append("".join(text.split()))
    return texts


def _byte_characters() -> dict[str, int]:
    """Return character -> the byte that it stands for.

    Visible characters of Latin-1 stand for their own byte; characters from U+0100 on stand for the
    other bytes, in their order.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {
        **{chr(byte): byte for byte in visible},
        **{chr(0x100 + place): byte for place, byte in enumerate(others)},
    }


_BYTES = _byte_characters()

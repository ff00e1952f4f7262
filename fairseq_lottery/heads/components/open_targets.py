"""How many parts shall stay open, as a user says it: a number, or a share of those there are."""

from __future__ import annotations

import re
from fractions import Fraction

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import count_to_prune

_NUMBER = re.compile(r"[0-9]{1,9}")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s?%")


def open_parts(text: str, kind: str, total: int) -> int:
    """Return how many of ``total`` parts stay open, from text as ``24`` or ``50%``.

    A share leaves open what ``heads choose --share`` with the rest of it does: the closed parts
    are what is rounded, halves up.
    """
    share, said = _SHARE.fullmatch(text), f"--open-{kind} {text[:40]!r}"
    if share:
        opened = Fraction(share.group(1)) / 100  # 1 - 0.7 as floats would not be 0.3
        if opened > 1:
            raise LotteryError(f"{said} is more than all {kind}; give at most 100%")
        count = total - count_to_prune(float(1 - opened), total)
        said = f"--open-{kind} {text} leaves {count} open, which"
    elif _NUMBER.fullmatch(text):
        count = int(text)
        said = f"--open-{kind} {count}"
    else:
        raise LotteryError(f"{said} is neither a number of {kind}, as 24, nor a share, as 50%")
    if not 0 < count <= total:
        raise LotteryError(f"{said} is not among 1 to {total}, the {kind} of the model")
    return count

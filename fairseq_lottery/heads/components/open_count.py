"""Parse how many gates stay open: a number, or a share of a kind's components."""

from __future__ import annotations

import re
from fractions import Fraction

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import count_to_prune

_NUMBER = re.compile(r"[0-9]{1,9}")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s?%")


def parse_open_count(text: str, kind: str, total: int) -> int:
    """Return how many of ``total`` gates stay open, from text such as ``24`` or ``50%``.

    A share of 30% keeps as many components as ``heads choose --share 0.7``: the number of pruned
    components is rounded, halves up.
    """
    share, value = _SHARE.fullmatch(text), f"--open-{kind} {text[:40]!r}"
    if share:
        fraction = Fraction(share.group(1)) / 100  # 1 - 0.7 as floats would not be 0.3
        if fraction > 1:
            raise LotteryError(f"{value} exceeds 100%")
        count = total - count_to_prune(float(1 - fraction), total)
        value = f"--open-{kind} {text} rounds to {count}, which"
    elif _NUMBER.fullmatch(text):
        count = int(text)
        value = f"--open-{kind} {count}"
    else:
        raise LotteryError(
            f"{value} is neither a number of {kind}, such as 24, nor a share, such as 50%"
        )
    if not 0 < count <= total:
        raise LotteryError(f"{value} is out of range (1 to {total})")
    return count

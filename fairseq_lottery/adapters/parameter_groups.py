"""Groups of parameters by their names in fairseq."""

import re
from collections.abc import Mapping

from fairseq_lottery.errors import LotteryError

#: group -> pattern of parameter names in fairseq's Transformer, tried in this order
GROUPS: dict[str, re.Pattern[str]] = {
    "embedding": re.compile(r"\bembed_tokens\."),
    "output": re.compile(r"\boutput_projection\."),
    "classifier": re.compile(r"(?!)"),
    "enc_self": re.compile(r"^encoder\..*\bself_attn\."),
    "dec_self": re.compile(r"^decoder\..*\bself_attn\."),
    "enc_dec": re.compile(r"\bencoder_attn\."),
    "enc_ffn": re.compile(r"^encoder\..*\bfc[12]\."),
    "dec_ffn": re.compile(r"^decoder\..*\bfc[12]\."),
}
#: (group, pattern) of registered adapters. They are tried after ``GROUPS``, so an adapter cannot
#: change the groups of a Transformer
_REGISTERED: list[tuple[str, re.Pattern[str]]] = []


def register_groups(patterns: Mapping[str, str]) -> None:
    """Register group -> pattern of parameter names, besides those of fairseq's Transformer.

    Raises:
        LotteryError: a group is unknown.
    """
    for group, text in patterns.items():
        if group not in GROUPS:
            raise LotteryError(
                f"group {group!r} of parameters is unknown; choose one of {', '.join(GROUPS)}"
            )
        pattern = (group, re.compile(text))
        if pattern not in _REGISTERED:
            _REGISTERED.append(pattern)


def group_of(name: str) -> str:
    """Return the group of the parameter ``name``, or ``"other"``."""
    for group, pattern in (*GROUPS.items(), *_REGISTERED):
        if pattern.search(name):
            return group
    return "other"

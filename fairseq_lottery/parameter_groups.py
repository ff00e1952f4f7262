"""The part of a model that a parameter belongs to, by its fairseq name."""

import re
from collections.abc import Mapping

from fairseq_lottery.errors import LotteryError

#: group -> what its parameter names look like, tried in this order; these are the names of
#: fairseq's Transformer, and adapters of tasks register those of other models
GROUPS: dict[str, list[re.Pattern[str]]] = {
    "embedding": [re.compile(r"\bembed_tokens\.")],
    "output": [re.compile(r"\boutput_projection\.")],
    "classifier": [],
    "enc_self": [re.compile(r"^encoder\..*\bself_attn\.")],
    "dec_self": [re.compile(r"^decoder\..*\bself_attn\.")],
    "enc_dec": [re.compile(r"\bencoder_attn\.")],
    "enc_ffn": [re.compile(r"^encoder\..*\bfc[12]\.")],
    "dec_ffn": [re.compile(r"^decoder\..*\bfc[12]\.")],
}


def register_groups(patterns: Mapping[str, str]) -> None:
    """Register group -> pattern of parameter names, beside those that the group has.

    Raises:
        LotteryError: there is no such group.
    """
    for group, text in patterns.items():
        if group not in GROUPS:
            raise LotteryError(
                f"group {group!r} of parameters is unknown; choose one of {', '.join(GROUPS)}"
            )
        pattern = re.compile(text)
        if pattern not in GROUPS[group]:
            GROUPS[group].append(pattern)


def group_of(name: str) -> str:
    """Return the group of the parameter ``name``, ``"other"`` where none fits."""
    for group, patterns in GROUPS.items():
        if any(pattern.search(name) for pattern in patterns):
            return group
    return "other"

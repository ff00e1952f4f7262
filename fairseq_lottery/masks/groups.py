"""The part of the Transformer that a parameter belongs to, by its fairseq name."""

import re

#: group -> what its parameter names look like, tried in this order
GROUPS = {
    "embedding": re.compile(r"\bembed_tokens\."),
    "output": re.compile(r"\boutput_projection\."),
    "enc_self": re.compile(r"^encoder\..*\bself_attn\."),
    "dec_self": re.compile(r"^decoder\..*\bself_attn\."),
    "enc_dec": re.compile(r"\bencoder_attn\."),
    "enc_ffn": re.compile(r"^encoder\..*\bfc[12]\."),
    "dec_ffn": re.compile(r"^decoder\..*\bfc[12]\."),
}


def group_of(name: str) -> str:
    """Return the group of the parameter ``name``, ``"other"`` where none fits."""
    for group, pattern in GROUPS.items():
        if pattern.search(name):
            return group
    return "other"

"""What was cut out of a model, as its settings say it: text with a character for every part."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats.checkpoints.cut_model import CUT, has_cut
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.parts import Parts

_KINDS = ("heads", "units")
#: characters of the setting, about one a part; the largest Transformers have some 100,000 units
_MOST = 1 << 22


def parts_in(model: Any) -> Optional[Parts]:
    """What was cut, by the settings of a model; None where it is a whole one.

    Raises:
        LotteryError: the setting is none of ours.
    """
    if not has_cut(model):
        return None
    kept = _kept(vars(model)[CUT] if isinstance(model, Namespace) else model[CUT])
    sizes = ({name: len(characters) for name, characters in kept[kind].items()} for kind in _KINDS)
    opened = {
        kind: {name: torch.tensor([c == "1" for c in given]) for name, given in kept[kind].items()}
        for kind in _KINDS
    }
    return Parts.of(Anatomy(*sizes), opened)


def _kept(text: Any) -> dict[str, dict[str, str]]:
    try:
        found = read_json(text) if isinstance(text, str) and len(text) <= _MOST else None
    except ValueError:
        found = None
    known = isinstance(found, dict) and set(found) == set(_KINDS)
    if found is None or not known or not all(map(_is_kept, found.values())):
        raise LotteryError(
            "the checkpoint does not say which heads and units were cut out of it; export it again"
            " with fairseq-lottery export --to slim"
        )
    return dict(found)


def _is_kept(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(kept, str) and re.fullmatch("[01]+", kept) for kept in found.values()
    )


def kept_text(parts: Parts) -> str:
    """The inverse of ``parts_in``: what is open stays."""

    def characters(kept: Tensor) -> str:
        return "".join("01"[one] for one in kept.tolist())

    return json.dumps(
        {kind: {n: characters(kept) for n, kept in parts[kind].items()} for kind in _KINDS}
    )

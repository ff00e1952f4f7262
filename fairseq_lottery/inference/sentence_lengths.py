"""Sentences that are longer than a model takes, in translation: refused, with advice that works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.modules import LearnedPositionalEmbedding

from fairseq_lottery.errors import LotteryError


def refuse_too_long(
    dataset: Any, too_long: Sequence[int], limits: Any, has_learned_positions: bool
) -> None:
    """Refuse to translate a data set some of whose sentences fairseq would not translate.

    fairseq takes the lower of two limits: that of the task, which is a flag, and that of the
    model, whose setting is in its checkpoint.

    Args:
        too_long: numbers of these sentences; none is no reason to refuse.
        limits: tokens of a source and of a target.
    """
    if not len(too_long):
        return
    length = int(np.max(dataset.sizes))
    refused = (
        f"sentence {min(too_long)} (counted from 0) is too long: the longest one has {length}"
        f" tokens, and source and target may have {limits}; translation through this task drops no"
        " sentence,"
    )
    if has_learned_positions:
        raise LotteryError(
            f"{refused} and the positions of this model are learned, so they cannot be more; split"
            " the sentence"
        )
    names = ("max_source_positions", "max_target_positions")
    flags = " ".join(f"--{name.replace('_', '-')} {length}" for name in names)
    overrides = str(dict.fromkeys(names, length))
    raise LotteryError(
        f'{refused} so raise the limits of task and model: {flags} --model-overrides "{overrides}"'
    )


def has_learned_positions(model: Any) -> bool:
    """Whether a model has a table of positions that it was trained with, and no more of them."""
    return any(isinstance(module, LearnedPositionalEmbedding) for module in model.modules())

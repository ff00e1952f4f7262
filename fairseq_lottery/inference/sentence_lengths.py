"""Check that a model can translate sentences of their length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.modules import LearnedPositionalEmbedding

from fairseq_lottery.errors import LotteryError


def refuse_too_long(
    dataset: Any, too_long: Sequence[int], limits: Any, has_learned_positions: bool
) -> None:
    """Refuse to translate a data set with sentences that exceed the limits.

    fairseq takes the lower of two limits: the task's, which is a flag, and the model's, which is a
    setting in its checkpoint.

    Args:
        too_long: numbers of the sentences that exceed the limits; may be empty.
        limits: maximum tokens of a source and of a target.
        has_learned_positions: whether the model's limit cannot be raised.
    """
    if not len(too_long):
        return
    length = int(np.max(dataset.sizes))
    problem = (
        f"sentence {min(too_long)} (counted from 0) is too long: the longest one has {length}"
        f" tokens, and source and target may have {limits} in this task, which"
        " never skips a sentence;"
    )
    if has_learned_positions:
        raise LotteryError(
            f"{problem} split the sentence: the learned positions of this model cannot be extended"
        )
    names = ("max_source_positions", "max_target_positions")
    flags = " ".join(f"--{name.replace('_', '-')} {length}" for name in names)
    overrides = str(dict.fromkeys(names, length))
    raise LotteryError(
        f'{problem} raise the limits of task and model: {flags} --model-overrides "{overrides}"'
    )


def has_learned_positions(model: Any) -> bool:
    """Return whether a model has a learned table of positions, whose size is fixed."""
    return any(isinstance(module, LearnedPositionalEmbedding) for module in model.modules())

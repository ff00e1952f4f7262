"""Combine choices of several seeds: super-, anti- and average survivors.

Prasanna et al. 2020 call components that survive with every seed super-survivors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.stability import survival
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.component_mask import Component, ComponentMask

#: how choices are combined -> the components that are kept
SURVIVORS = {
    "super": "components that all choices keep",
    "anti": "components that all choices prune",
    "average": "components that the most choices keep",
}


def combine(
    choices: Sequence[ComponentMask],
    survivors: str,
    kind: Optional[str] = None,
    types: Optional[tuple[str, ...]] = None,
    fraction: Optional[float] = None,
    count: Optional[int] = None,
    seed: int = 1,
) -> ComponentMask:
    """Return the choice that keeps the survivors of several choices.

    Args:
        choices: at least two choices for one model.
        survivors: a name of ``SURVIVORS``.
        kind: kind of components; by default all kinds that some choice prunes. Other kinds are
            kept.
        types: types of modules; by default all that the kind has. Other types are kept.
        fraction, count: share or number of components to prune, of each kind, for ``average``. By
            default as many are kept as in the mean of the choices, halves rounded up.
        seed: seed of the order of components that equally many choices keep, for ``average``.

    Raises:
        LotteryError: the choices are for different models or modes, or prune nothing; or nothing
            would be kept.
    """
    if survivors not in SURVIVORS:
        raise LotteryError(
            f"survivors {survivors!r} are unknown; choose one of {', '.join(SURVIVORS)}"
        )
    if len(choices) < 2:
        raise LotteryError(f"survivors need at least two choices, not {len(choices)}")
    if survivors != "average" and not (fraction is None and count is None):
        raise LotteryError(f"{survivors}-survivors have one size; leave the share and count out")
    if len({one.mode for one in choices}) > 1:
        raise LotteryError("pruned heads of some choices output zero, and of others attend evenly")
    pruned = [one for one in KINDS if any(choice.count_pruned(one) for choice in choices)]
    kinds = pruned if kind is None else [kind]
    if not kinds:
        raise LotteryError("the choices prune nothing, so there is nothing to combine")
    combined = ComponentMask(choices[0].anatomy, {}, choices[0].mode)
    for one in kinds:
        table = survival(choices, one, types)
        inputs = StrategyInput(combined, one, fraction, count, types, seed=seed)
        combined = inputs.prune(_to_prune(inputs, table, survivors))
    return combined


def _to_prune(inputs: StrategyInput, table: np.ndarray, survivors: str) -> list[Component]:
    """Return the components of a kind that are not survivors."""
    votes = dict(zip(inputs.kept, table.sum(axis=1).tolist()))  # in the order of the table
    if survivors == "average":
        size = table.shape[1]
        kept = (2 * int(table.sum()) + size) // (2 * size)  # the mean, halves rounded up
        number = len(votes) - kept
        if inputs.fraction is not None or inputs.count is not None:
            number = inputs.to_prune
        return sorted(inputs.shuffled(), key=votes.__getitem__)[:number]
    wanted = table.shape[1] if survivors == "super" else 0
    chosen = [component for component, number in votes.items() if number != wanted]
    if len(chosen) == len(votes):
        verb = "keep" if survivors == "super" else "prune"
        raise LotteryError(
            f"the choices {verb} no {inputs.kind} in common, so all {inputs.kind} would be pruned;"
            " combine choices of fewer seeds, or choose average"
        )
    return chosen

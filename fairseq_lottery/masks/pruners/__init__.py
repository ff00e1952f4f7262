"""Pruners, which change the mask during training; one file each.

A pruner is a dataclass that defines the updates at which the mask changes, the new mask, and the
inputs that it needs. Only ``LotteryRun`` calls it.
"""

from fairseq_lottery.masks.pruners.exchange import Exchange
from fairseq_lottery.masks.pruners.gradual import Gradual
from fairseq_lottery.masks.pruners.gradual_regrow import GradualRegrow
from fairseq_lottery.masks.pruners.granet import GraNet
from fairseq_lottery.masks.pruners.movement import Movement
from fairseq_lottery.masks.pruners.pruner import (
    OPTIONS,
    Pruner,
    PrunerInput,
    WeightMovement,
    options_of,
    settings_of,
)
from fairseq_lottery.masks.pruners.registry import (
    DEFAULT_PRUNER,
    PRUNERS,
    find_pruner,
    only_shrinks,
    read_pruner,
    store_pruner,
    stored_name,
)
from fairseq_lottery.masks.pruners.rigl import InTimeRigL, RigL
from fairseq_lottery.masks.pruners.soft_movement import SoftMovement
from fairseq_lottery.masks.pruners.sparse_evolutionary import SparseEvolutionary

__all__ = [
    "DEFAULT_PRUNER",
    "Exchange",
    "GraNet",
    "Gradual",
    "GradualRegrow",
    "InTimeRigL",
    "Movement",
    "OPTIONS",
    "PRUNERS",
    "Pruner",
    "PrunerInput",
    "RigL",
    "SoftMovement",
    "SparseEvolutionary",
    "WeightMovement",
    "find_pruner",
    "only_shrinks",
    "options_of",
    "read_pruner",
    "settings_of",
    "store_pruner",
    "stored_name",
]

"""Masks, scores, selection and pruners, with torch and without fairseq.

A ``Mask`` selects the survivors of matrices. Scores rank weights, a scope and the exact selection
turn ranks into a mask, and pruners change a mask during training.
"""

from fairseq_lottery.masks.mask import Mask, above_chance, collapse_of, overlap
from fairseq_lottery.masks.nm_selection import densest, pattern_of
from fairseq_lottery.masks.pair_masks import PairMasks
from fairseq_lottery.masks.prunable import (
    PAD_ROW,
    PRUNABLE_SETS,
    PrunableShare,
    full_mask,
    prunable_matrices,
    shapes_of,
)
from fairseq_lottery.masks.pruners import (
    PRUNERS,
    Exchange,
    Gradual,
    GradualRegrow,
    GraNet,
    InTimeRigL,
    Movement,
    Pruner,
    PrunerInput,
    RigL,
    SoftMovement,
    SparseEvolutionary,
    WeightMovement,
    find_pruner,
    read_pruner,
    store_pruner,
)
from fairseq_lottery.masks.schedules import SCHEDULES, rounds
from fairseq_lottery.masks.score_input import ScoreInput, needed_by, needs
from fairseq_lottery.masks.scores import SCORES, find_score, score_all
from fairseq_lottery.masks.selection import (
    SCOPES,
    check_scope,
    count_to_prune,
    droppable,
    has_sparsity,
    rounds_to,
    select,
)

__all__ = [
    "Exchange",
    "GraNet",
    "Gradual",
    "GradualRegrow",
    "InTimeRigL",
    "Mask",
    "Movement",
    "PAD_ROW",
    "PRUNABLE_SETS",
    "PRUNERS",
    "PairMasks",
    "PrunableShare",
    "Pruner",
    "PrunerInput",
    "RigL",
    "SCHEDULES",
    "SCOPES",
    "SCORES",
    "ScoreInput",
    "SoftMovement",
    "SparseEvolutionary",
    "WeightMovement",
    "above_chance",
    "check_scope",
    "collapse_of",
    "count_to_prune",
    "densest",
    "droppable",
    "find_pruner",
    "find_score",
    "full_mask",
    "has_sparsity",
    "needed_by",
    "needs",
    "overlap",
    "prunable_matrices",
    "pattern_of",
    "read_pruner",
    "rounds",
    "rounds_to",
    "score_all",
    "select",
    "shapes_of",
    "store_pruner",
]

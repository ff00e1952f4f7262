"""Which weights stay: pure torch, no fairseq.

``Mask`` says which weights of which matrices survive; scores rank weights, a scope and
the exact selection turn ranks into a mask, schedules say when and how much.
"""

from fairseq_lottery.masks.groups import GROUPS, group_of
from fairseq_lottery.masks.mask import Mask, overlap
from fairseq_lottery.masks.nm import densest
from fairseq_lottery.masks.prunable import (
    PAD_ROW,
    PRUNABLE_SETS,
    PrunableShare,
    full_mask,
    prunable_matrices,
)
from fairseq_lottery.masks.schedules import SCHEDULES, Gradual, rounds
from fairseq_lottery.masks.scores import (
    SCORES,
    ScoreInput,
    find_score,
    needed_by,
    needs,
    score_all,
)
from fairseq_lottery.masks.select import SCOPES, check_scope, count_to_prune, droppable, select

__all__ = [
    "GROUPS",
    "Gradual",
    "Mask",
    "PAD_ROW",
    "PRUNABLE_SETS",
    "PrunableShare",
    "SCHEDULES",
    "SCOPES",
    "SCORES",
    "ScoreInput",
    "check_scope",
    "count_to_prune",
    "densest",
    "droppable",
    "find_score",
    "full_mask",
    "group_of",
    "needed_by",
    "needs",
    "overlap",
    "prunable_matrices",
    "rounds",
    "score_all",
    "select",
]

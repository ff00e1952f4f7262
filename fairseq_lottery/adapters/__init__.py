"""Adapters, which describe the differences between fairseq's tasks; one for each task.

fairseq is not imported, so files of all tasks can be read without it. Users' tasks register their
adapter in the user directory that registers the task.
"""

from fairseq_lottery.adapters.adapter import (
    ADAPTERS,
    DataFolder,
    PairTokens,
    Preprocessing,
    Stack,
    TaskAdapter,
    Vocabulary,
    adapter_of,
    register_adapter,
    stored_adapter,
)
from fairseq_lottery.adapters.masked_lm import MASKED_LM
from fairseq_lottery.adapters.multilingual import MULTILINGUAL, PRETRAINED_BART
from fairseq_lottery.adapters.parameter_groups import GROUPS, group_of
from fairseq_lottery.adapters.sentence_prediction import SENTENCE_PREDICTION
from fairseq_lottery.adapters.translation import TRANSLATION

__all__ = [
    "ADAPTERS",
    "GROUPS",
    "MASKED_LM",
    "MULTILINGUAL",
    "PRETRAINED_BART",
    "SENTENCE_PREDICTION",
    "TRANSLATION",
    "DataFolder",
    "PairTokens",
    "Preprocessing",
    "Stack",
    "TaskAdapter",
    "Vocabulary",
    "adapter_of",
    "group_of",
    "register_adapter",
    "stored_adapter",
]

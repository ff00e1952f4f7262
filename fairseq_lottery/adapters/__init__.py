"""What differs between fairseq's tasks: one adapter for each task, found by the task's name.

fairseq is not imported, so that files of every task are read without it. A task of a user's own
registers its adapter in the user directory that registers the task.
"""

from fairseq_lottery.adapters.adapter import (
    ADAPTERS,
    Preprocessing,
    Stack,
    TaskAdapter,
    Vocabulary,
    adapter_of,
    register_adapter,
    stored_adapter,
)
from fairseq_lottery.adapters.data_folder import DataFolder
from fairseq_lottery.adapters.masked_lm import MASKED_LM
from fairseq_lottery.adapters.parameter_groups import GROUPS, group_of
from fairseq_lottery.adapters.translation import TRANSLATION

__all__ = [
    "ADAPTERS",
    "GROUPS",
    "MASKED_LM",
    "TRANSLATION",
    "DataFolder",
    "Preprocessing",
    "Stack",
    "TaskAdapter",
    "Vocabulary",
    "adapter_of",
    "group_of",
    "register_adapter",
    "stored_adapter",
]

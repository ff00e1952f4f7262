"""Every option defined once, without torch: what it is, where it may be given, how it is stored.

Command lines, fairseq's configuration, keys of a workflow and of records, fingerprints and the
table in the documents follow from the groups.
"""

from fairseq_lottery.options.groups import (
    GROUPS,
    Choice,
    Gradients,
    Importance,
    Prunable,
    Pruning,
    Ranking,
    Reset,
    Run,
    Schedule,
    Scope,
    Score,
    Seed,
    Sources,
    check_scope,
)
from fairseq_lottery.options.option import (
    DRAW,
    HEADS,
    TRAINING,
    WORKFLOW,
    Option,
    add_flags,
    changed,
    options,
    stored_values,
    values,
    words,
)

__all__ = [
    "Choice",
    "DRAW",
    "GROUPS",
    "Gradients",
    "HEADS",
    "Importance",
    "Option",
    "Prunable",
    "Pruning",
    "Ranking",
    "Reset",
    "Run",
    "Schedule",
    "Scope",
    "Score",
    "Seed",
    "Sources",
    "TRAINING",
    "WORKFLOW",
    "add_flags",
    "changed",
    "check_scope",
    "options",
    "stored_values",
    "values",
    "words",
]

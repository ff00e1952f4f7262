"""Options, each defined once: type, default, help, places and stored key.

Command lines, fairseq's configuration, keys of workflows and records, fingerprints and the table
in the documents are derived from the groups. torch is not imported.
"""

from fairseq_lottery.options.groups import (
    GROUPS,
    Choice,
    Gradients,
    Importance,
    MaskControl,
    Prunable,
    Pruning,
    Ranking,
    Reset,
    Run,
    Schedule,
    Scope,
    Score,
    ScoreBatches,
    ScoreRounds,
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

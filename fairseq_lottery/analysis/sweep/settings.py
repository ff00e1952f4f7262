"""Settings of an analysis of runs: flags of ``analyze``, and the key ``analyze:`` of the workflow.

Nothing is imported that loads torch or numpy: the workflow reads its configuration without them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.schema import Rule, Size, Text

#: folder of an analysis in the folder of its run
FOLDER = "analysis"
#: file of that folder with the record, which is written last
RECORD = "analysis.json"

#: labels of roles of heads; others are tasks of probes
ROLE_LABELS = (
    *("source-conllu", "target-conllu"),
    *("source-boundaries", "target-boundaries", "alignment"),
)

_Name = Annotated[
    str, Rule("the name of a set, as valid or test1", lambda text: bool(re.fullmatch(r"\w+", text)))
]


@dataclass(frozen=True)
class Settings:
    """What is recorded, and what is computed from it.

    Attributes:
        against: technique that each other cell is compared with: ``dense``, or one with the same
            sparsities as the others.
        measures: names of measures, or a user's ``package.module:function``; empty for all.
        words: number of source words of the recordings.
        subset: subset of the data.
        half: whether recordings have half precision.
        discard: whether a recording is deleted once no measure requires it.
        labels: name of ``ROLE_LABELS``, or of a probing task -> file.
        sieves: names of the roles of heads that are tested.
    """

    against: Text = DENSE
    measures: tuple[Text, ...] = ()
    words: Size = 10_000
    subset: _Name = "valid"
    half: bool = False
    discard: bool = False
    labels: dict[Text, Text] = field(default_factory=dict)
    sieves: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Device:
    """How models are run.

    Attributes:
        data: data folder; None for that of the training.
        tokens: maximum tokens of a batch.
        cpu: whether GPUs are not used.
    """

    data: Optional[str] = None
    tokens: int = 4096
    cpu: bool = False

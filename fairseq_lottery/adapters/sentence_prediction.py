"""fairseq's ``sentence_prediction``: a RoBERTa that classifies or rates sentences and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_lottery.adapters.adapter import TaskAdapter, register_adapter
from fairseq_lottery.adapters.masked_lm import MASKED_LM


def dictionary_files(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the file of the dictionary; the second sentence of a pair has the same dictionary."""
    return {"source": "input0/dict.txt"}


#: the encoder is that of ``masked_lm``, so tickets of either task train models of both
SENTENCE_PREDICTION = register_adapter(
    TaskAdapter(
        name="sentence_prediction",
        vocabularies=MASKED_LM.vocabularies,
        stacks=MASKED_LM.stacks,
        dictionary_files=dictionary_files,
        settings=MASKED_LM.settings,
        examples=(
            r"num_classes|(init|separator)_token|max_positions|shorten_(method|data_split_list)"
            r"|no_shuffle|add_prev_output_tokens|regression_target|classification_head_name"
        ),
        criterion="sentence_prediction",
        folders=("input0", "input1", "label"),
        head=r"^classification_heads\.",
        metrics={
            **dict.fromkeys(("accuracy", "f1", "f1_macro", "mcc", "pearson", "spearman"), True),
            "loss": False,
        },
    )
)

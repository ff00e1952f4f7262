"""fairseq's ``masked_lm``: an encoder that predicts masked tokens, such as BERT and RoBERTa."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_lottery.adapters.adapter import (
    Preprocessing,
    Stack,
    TaskAdapter,
    Vocabulary,
    register_adapter,
)


def dictionary_files(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the file of the only dictionary, which has the same name in every folder."""
    return {"source": "dict.txt"}


MASKED_LM = register_adapter(
    TaskAdapter(
        name="masked_lm",
        vocabularies={
            "source": Vocabulary(
                ("source_dictionary",), "encoder.sentence_encoder.embed_tokens.weight", ("<mask>",)
            )
        },
        stacks={"encoder": Stack("encoder.sentence_encoder", "max_positions")},
        dictionary_files=dictionary_files,
        settings=r"max_positions|untie_weights_roberta",
        examples=(
            r"sample_break_mode|tokens_per_sample|shorten_method|mask_(prob|multiple_length|stdev)"
            r"|(leave_unmasked|random_token)_prob|freq_weighted_replacement"
        ),
        criterion="masked_lm",
        masks_tokens=True,
        groups={
            "output": r"^encoder\.lm_head\.weight$",
            "classifier": r"^encoder\.lm_head\.dense\.|^classification_heads\.",
        },
        preprocessing=Preprocessing(("train", "valid"), ("--srcdict",), ("--only-source",)),
    )
)

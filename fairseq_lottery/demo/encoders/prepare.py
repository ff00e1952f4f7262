"""Create the data of ``demo --kind encoders``; skip stages that are finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fairseq_lottery.demo.stages import make_encoder_data, make_once, open_folder, words_of

#: documents to pre-train on, and examples of each task
DOCUMENTS = {"valid": 500, "train": 24000}
EXAMPLES = {"test": 500, "valid": 500, "train": 2000}
#: BPE has almost all words as one symbol, so that fine-tuning can compare words of two sentences
SUBWORDS, VOCABULARY = "bpe", 600


def prepare(
    out: Path,
    seed: int,
    documents: Mapping[str, int] = DOCUMENTS,
    examples: Mapping[str, int] = EXAMPLES,
) -> None:
    """Create text, subwords, data to pre-train on and tasks in ``out``.

    Args:
        seed: seed of the text.
        documents: part of the text to pre-train on -> number of its documents.
        examples: part of each task -> number of its examples.

    Raises:
        LotteryError: ``out`` has other files or another seed, or cannot be written; or a command
            failed.
    """
    open_folder(out, f"encoders, seed {seed}")
    make_once(out, "text", "fairseq_lottery.demo.encoders.text_stage", "--seed", seed,
              "--documents", *words_of(documents), "--examples", *words_of(examples))  # fmt: skip
    make_encoder_data(out, SUBWORDS, VOCABULARY)

"""Create the data of ``demo --kind languages``; skip stages that are finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fairseq_lottery.demo.stages import make_encoder_data, make_once, open_folder, words_of

#: sentences of the largest languages, documents to pre-train on, examples in each language
SENTENCES = {"test": 200, "valid": 100, "train": 6000}
DOCUMENTS = {"valid": 500, "train": 20000}
EXAMPLES = {"test": 500, "valid": 500, "train": 2000}
#: BPE has most words as one symbol, and more of them in the languages with more text
SUBWORDS, VOCABULARY = "bpe", 2500


def prepare(
    out: Path,
    seed: int,
    sentences: Mapping[str, int] = SENTENCES,
    documents: Mapping[str, int] = DOCUMENTS,
    examples: Mapping[str, int] = EXAMPLES,
) -> None:
    """Create text, subwords, translation data, data to pre-train on, and tasks in ``out``.

    Args:
        seed: seed of the text.
        sentences: part of the parallel text -> number of sentences of the largest languages.
        documents: part of the text to pre-train on -> number of its documents.
        examples: part of each task -> number of its examples in each language.

    Raises:
        LotteryError: ``out`` has other files or other data, or cannot be written; or a command
            failed.
    """
    open_folder(out, f"languages, seed {seed}")
    make_once(out, "text", "fairseq_lottery.demo.languages.text_stage", "--seed", seed,
              "--sentences", *words_of(sentences), "--documents", *words_of(documents),
              "--examples", *words_of(examples))  # fmt: skip
    make_encoder_data(out, SUBWORDS, VOCABULARY, "parallel/*")
    make_once(out, "evaluation", "fairseq_lottery.demo.languages.evaluation_stage",
              "--tasks", "tasks")  # fmt: skip
    make_once(out, "translation", "fairseq_lottery.demo.languages.pair_stage",
              "--subwords", "subwords")  # fmt: skip

"""Load a folder that ``export --to ctranslate2`` wrote, and translate with it.

Sentences are lists of the dictionary's symbols without ``</s>``. The search is fairseq's beam
search: scores are divided by the length with ``</s>``, and a search ends when it has as many
finished hypotheses as the beam size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

Sentences = Sequence[Sequence[str]]

#: CTranslate2's name of ``<pad>``, which fairseq never selects
_PAD = "<blank>"


def load_translator(
    folder: Union[str, Path], quantization: Optional[str] = None, threads: int = 0
) -> Any:
    """Load a folder as a ``ctranslate2.Translator`` on the CPU.

    Args:
        quantization: type of weights with which the folder was exported. The translator computes
            in this type if the CPU supports it, otherwise in int8 with float32, or in float32.
            CTranslate2 alone would choose the same type, but would print a warning.
        threads: number of threads; 0 for CTranslate2's default.
    """
    import ctranslate2

    kind = quantization or "float32"
    if kind not in ctranslate2.get_supported_compute_types("cpu"):
        kind = "int8_float32" if kind.startswith("int8") else "float32"
    return ctranslate2.Translator(
        str(folder), device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads
    )


def translate(
    translator: Any,
    sentences: Sentences,
    beam: int = 5,
    shortest: int = 1,
    longest: int = 200,
    batch: int = 16,
) -> list[list[str]]:
    """Return the best hypothesis of each sentence, in the order of ``sentences``.

    Args:
        shortest, longest: limits in tokens without ``</s>``; equal limits force the length.
        batch: number of sentences in a batch.
    """
    results = translator.translate_batch(
        [*map(list, sentences)],
        beam_size=beam,
        length_penalty=1.0,
        min_decoding_length=shortest,
        max_decoding_length=longest,
        max_batch_size=batch,
        max_input_length=0,  # the default truncates sentences
        suppress_sequences=[[_PAD]],
    )
    return [result.hypotheses[0] for result in results]


def score(
    translator: Any, sentences: Sentences, translations: Sentences, batch: int = 16
) -> list[list[float]]:
    """Return the log-probabilities of all tokens of translations, including ``</s>``."""
    results = translator.score_batch(
        [*map(list, sentences)],
        [*map(list, translations)],
        max_batch_size=batch,
        max_input_length=0,
    )
    return [list(result.log_probs) for result in results]

"""Translate with the model of any file on a CPU.

``open_translator`` opens a compact file without making its matrices dense.
"""

from fairseq_lottery.inference.translation.translator import (
    TranslationOptions,
    Translator,
    open_translator,
)

__all__ = ["TranslationOptions", "Translator", "open_translator"]

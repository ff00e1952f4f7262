"""Parallel text of many languages with English: TED talks and OPUS-100.

``corpora`` says what the archives contain, ``ted`` and ``opus`` take pairs of sentences from them,
and ``job`` has the stages to the binary data of fairseq's translation_multi_simple_epoch.
"""

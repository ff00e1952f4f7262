"""Similarity of layers and attention heads, from arrays or from recordings.

``LayerPair.of(x, y)`` sums up two layers' activations on the same words in one pass. The functions
of ``neurons``, ``alignment`` and ``canonical`` take such a pair, and those of ``heads`` take the
attention weights of sentences.
"""

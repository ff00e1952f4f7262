"""Recordings: activations and attention of a model on a corpus, by word, as files."""

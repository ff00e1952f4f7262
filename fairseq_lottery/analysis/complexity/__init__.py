"""Complexity of activations and weight matrices: how many directions they use."""

"""Roles of attention heads: sieves and their test, argmax roles, patterns, and comparisons."""

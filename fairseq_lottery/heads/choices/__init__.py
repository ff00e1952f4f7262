"""Strategies that choose what is pruned, and how far choices agree."""

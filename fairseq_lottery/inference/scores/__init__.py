"""Scores of predictions and losses on labelled or masked examples."""

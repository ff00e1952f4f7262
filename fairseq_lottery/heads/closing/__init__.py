"""Closed heads and units in draws and in checkpoints."""

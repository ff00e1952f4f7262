"""Techniques and stages of a workflow that prune heads, FFN units and FFN blocks."""

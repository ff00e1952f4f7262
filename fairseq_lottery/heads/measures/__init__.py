"""Measures of the importance of heads, FFN units and FFN blocks."""

"""Masks and values in little more space than information theory asks for; see docs/format.md."""

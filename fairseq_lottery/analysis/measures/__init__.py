"""Measures of the inside of models; each module here registers its own."""

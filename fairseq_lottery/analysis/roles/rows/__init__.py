"""Rows of a tidy table: the scores and roles of every head of a recording."""

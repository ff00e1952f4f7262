"""Stages of a plan: command lines, with the files that each reads and writes."""

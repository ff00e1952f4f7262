"""Carry the stages out: checks before the start, Snakemake or a script, what is shown meanwhile."""

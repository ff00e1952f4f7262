"""From one configuration to all trainings of a paper's table, carried out by Snakemake.

A configuration names techniques, sparsities and seeds. Techniques describe trainings by their
axes (``techniques``, ``training``), a plan collects them and lets equal ones run once
(``plan``), stages are their command lines (``stages``), and Snakemake runs what is not
finished (``engine``). Nothing here imports torch or fairseq, except what a stage runs in the
training's own environment.
"""

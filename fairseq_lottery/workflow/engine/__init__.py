"""Check the start, run stages by Snakemake or a script, and show their progress."""

"""Run all trainings of a paper's table from one configuration, with Snakemake.

Five rooms, each of which imports only those before it:

- ``trainings``: descriptions of trainings, and the techniques that consist of them;
- ``reading``: the configuration, validated line by line;
- ``planning``: the distinct trainings of a configuration, their stages as command lines, the
  finished stages, and the cost of the others;
- ``stages``: code that runs around each command line, in the training's environment;
- ``engine``: checks before the start, and Snakemake or a script that runs the stages.

Only ``stages`` imports torch or fairseq, and only where a stage needs them.
"""

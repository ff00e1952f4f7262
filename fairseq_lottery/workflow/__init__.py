"""From one configuration to all trainings of a paper's table, carried out by Snakemake.

Five rooms, each of which imports only those before it:

- ``trainings``: what a training is, by its axes, and the trainings that a technique is made of;
- ``reading``: the configuration, checked line by line;
- ``planning``: the trainings of a configuration, each once; their stages as command lines; what
  of them is finished, and what the rest will cost;
- ``stages``: what runs around each command line, in the training's own environment;
- ``engine``: the checks before a start, Snakemake, or a script in its place.

Nothing here imports torch or fairseq except ``stages``, and that only where a stage needs it.
"""

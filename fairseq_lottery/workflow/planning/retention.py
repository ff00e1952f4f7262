"""Checkpoints that a running training keeps on disk: those that evaluations need."""

from __future__ import annotations

from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.trainings.training import Training


def retention_flags(training: Training, configuration: Configuration) -> list[object]:
    """Return flags that limit the checkpoints on disk, unless the user's flags do so."""
    flags = training.flags
    words: list[object] = []
    by_update = "--save-interval-updates" in flags
    interval = "--keep-interval-updates" if by_update else "--keep-last-epochs"
    if interval not in flags and "checkpoints" not in configuration.keep:
        words += [interval, _averaged(configuration)]
    if by_update and not {"--no-epoch-checkpoints", "--keep-last-epochs"} & set(flags.names):
        words += ["--no-epoch-checkpoints"]
    return words


def _averaged(configuration: Configuration) -> int:
    """Return how many numbered checkpoints the evaluations need."""
    kinds = [e.checkpoint.partition(":") for e in configuration.evaluations]
    return max([1, *(int(count) for _, _, count in kinds if count)])


def numbered_checkpoints(configuration: Configuration) -> int:
    """Return the maximum number of numbered checkpoints of a training."""
    flags = configuration.train
    every = int(flags.number("--save-interval-updates") or 0)
    kept = flags.number("--keep-interval-updates" if every else "--keep-last-epochs")
    if kept is not None and kept > 0:
        return int(kept)
    if "checkpoints" in configuration.keep and every:
        return configuration.updates // every
    return _averaged(configuration)

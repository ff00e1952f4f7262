"""The dense training, from which tickets are drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from fairseq_lottery.files import sha256_of
from fairseq_lottery.options import Prunable, options
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import Training, Weights


def dense_training(configuration: Configuration, seed: int) -> Training:
    """Return the dense training of a data set: trained, adopted, or from pre-trained weights."""
    resources = configuration.resources
    dense = Training(
        flags=configuration.train,
        seed=seed,
        updates=configuration.updates,
        processes=resources.processes * resources.nodes,
        adopted=_adopted(configuration.adopt.format(seed=seed)) if configuration.adopt else None,
        task=configuration.task,
        data=configuration.data_name,
    )
    if configuration.pretrained is None:
        return dense
    start = _pretrained_weights(str(configuration.pretrained))
    prunable = {option.name: configuration.pruning[option.name] for option in options(Prunable)}
    ticket = Draw(mask_from=start.training, start=start, sparsity=0.0, **prunable)
    return replace(dense, ticket=ticket)


def _pretrained_weights(file: str) -> Weights:
    """Return the weights of a checkpoint that exists before the plan."""
    return Training(Flags(), seed=0, updates=0, pretrained=(file, _digest(file))).at(0)


@cache
def _digest(file: str) -> str:
    """Return the SHA-256 of a file; empty if it is missing."""
    try:
        return sha256_of(Path(file))
    except OSError:
        return ""


def _adopted(folder: str) -> tuple[str, str]:
    """Return a run's folder and the SHA-256 of its last checkpoint, empty if it is missing."""
    return folder, _digest(f"{folder}/checkpoint_last.pt")

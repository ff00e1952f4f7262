"""The stage that computes the measures of all cells: it calls ``fairseq-lottery analyze``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fairseq_lottery.analysis.sweep.settings import FOLDER, RECORD, Settings
from fairseq_lottery.records.plan import Stage

#: words of ``fairseq-lottery`` -> a command line
Lottery = Callable[..., tuple[str, ...]]


def analysis_stage(
    settings: Settings,
    models: Sequence[str],
    scores: Sequence[str],
    lottery: Lottery,
    where: Sequence[str],
    digests: Mapping[str, Any],
) -> Stage:
    """Return the stage that analyzes the models of all cells.

    Args:
        settings: the key ``analyze`` of the configuration, with absolute paths of labels.
        models: selected model of each cell.
        scores: files of the evaluations, which the stage waits for: they complete the records that
            name the models.
        lottery: returns a command line of ``fairseq-lottery``.
        where: flags of the data and of the device.
        digests: digests of the subset and of the labels.
    """
    words: list[object] = ["--against", settings.against, "--words", settings.words]
    words += ["--subset", settings.subset]
    words += ["--half"] if settings.half else []
    words += ["--discard"] if settings.discard else []
    words += ["--measures", *settings.measures] if settings.measures else []
    words += ["--sieves", *settings.sieves] if settings.sieves else []
    if settings.labels:
        words += ["--labels", *(f"{task}={file}" for task, file in settings.labels.items())]
    stated = {name: value for name, value in asdict(settings).items() if name != "discard"}
    facts = {"settings": {**stated, "models": list(models), "digests": dict(digests)}}
    return Stage(
        kind="analyze",
        folder=FOLDER,
        title=f"analyze {len(models)} models",
        command=lottery("analyze", ".", *where, *words),
        needs=(*models, *scores),
        leaves=(f"{FOLDER}/{RECORD}",),
        facts=json.loads(json.dumps(facts)),  # as in the plan's file, where tuples are lists
    )

"""The recipe of a configuration, which reports compare with other runs and published ones."""

from __future__ import annotations

from typing import Any

from fairseq_lottery.workflow.reading.configuration import Configuration

#: name in the table of recipes -> flag of the training
_RECIPE = {
    "architecture": "--arch",
    "optimizer": "--optimizer",
    "learning rate": "--lr",
    "schedule": "--lr-scheduler",
    "warm-up": "--warmup-updates",
    "tokens per batch and process": "--max-tokens",
    "update frequency": "--update-freq",
    "dropout": "--dropout",
    "label smoothing": "--label-smoothing",
    "clipping": "--clip-norm",
}


def recipe(configuration: Configuration) -> dict[str, Any]:
    """Return the settings that reports compare with other runs and published ones."""
    flags = configuration.train
    pre_norm = "--encoder-normalize-before" in flags
    budgets = sorted({request.budget for request in configuration.requests if request.budget})
    rewinds = sorted({t for request in configuration.requests for t in request.rewinds})
    shown = {
        **configuration.task.record,
        **{name: flags.get(flag) for name, flag in _RECIPE.items() if flag in flags},
        "normalisation": "pre-norm" if pre_norm else "post-norm, unless the architecture says so",
        "processes": configuration.resources.processes * configuration.resources.nodes,
        "updates": configuration.updates,
        **({"budget": [f"{budget:g}x" for budget in budgets]} if budgets else {}),
        "rewind": rewinds[0] if len(rewinds) == 1 else rewinds,
        "scope": configuration.pruning["scope"],
        "prunable": configuration.pruning["prunable"],
        **({"start": "pre-trained weights"} if configuration.pretrained is not None else {}),
        "checkpoint": [evaluation.checkpoint for evaluation in configuration.evaluations],
    }
    if configuration.translations:
        shown["beam"] = [evaluation.beam for evaluation in configuration.translations]
        shown["length penalty"] = [evaluation.lenpen for evaluation in configuration.translations]
    return shown

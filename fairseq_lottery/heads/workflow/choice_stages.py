"""Stages that choose what a ticket prunes: they call ``fairseq-lottery heads``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from fairseq_lottery.heads.workflow.techniques import SUBNETWORKS
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.training import Training

#: words of ``fairseq-lottery`` -> a command line
Lottery = Callable[..., tuple[str, ...]]


def choice_path(training: Training) -> Optional[str]:
    """Return the file of the choice that a training's ticket prunes; None without a choice.

    For m-pruning it is the ticket whose mask is taken.
    """
    choice = training.components
    if choice is None:
        return None
    if choice.way == "choose":
        return f"{training.folder}/parts.json"
    return _search_output(choice, choice.strategy)


def prune_words(training: Training, models: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of ``prune_stage`` for a training's models, and the files it reads.

    Of a run whose gates learn only the last model has its final gates.
    """
    choice = training.components
    path = training.ticket_file if choice is None else str(choice_path(training))
    assert training.ticket is not None
    words = ["--mask" if choice is None or choice.kind == "weights" else "--components", path]
    needs = [path]
    for model in models:
        source = training.ticket.mask_from.model("last" if training.has_gates else model)
        words += ["--prune", source, training.model(model)]
        needs.append(source)
    return words, list(dict.fromkeys(needs))


def choice_stages(training: Training, lottery: Lottery, where: tuple[str, ...]) -> Iterator[Stage]:
    """Yield the stages that score components and choose among them, or search.

    Trainings may share stages, which are then yielded for each of them.

    Args:
        where: flags of the data that a model is run on, and of the device.
    """
    choice = training.components
    if choice is None:
        return
    # a choice that was made on the validation set is not evaluated on it
    where = (*where, "--subset", choice.subset)
    if choice.way != "choose":
        yield _search(choice, lottery, where)
        return
    source = choice.of.model("last")
    if choice.measure is not None:
        rank = _rank(choice, lottery, where)
        yield rank
        (source,) = rank.leaves
    yield _choose(training, choice, lottery, source)


def _rank(choice: ComponentChoice, lottery: Lottery, where: tuple[str, ...]) -> Stage:
    folder, model = f"{choice.of.folder}/{choice.scores}", choice.of.model("last")
    words: list[object] = ["heads", "importance", model, *where]
    words += ["--measure", choice.measure, "--per", choice.per]
    words += ["--normalise"] if choice.normalise else []
    file = f"{folder}/scores.json"
    return Stage(
        kind="rank",
        folder=folder,
        title=f"rank the components of {choice.of.title}, by {choice.scores}",
        command=lottery(*words, "--out", file, "--overwrite"),
        needs=(model,),
        leaves=(file,),
        facts={"measure": choice.scores, "seed": choice.of.seed, "of": choice.of.folder},
    )


def _choose(training: Training, choice: ComponentChoice, lottery: Lottery, source: str) -> Stage:
    words: list[object] = ["heads", "choose", "--strategy", choice.strategy, "--kind", choice.kind]
    words += ["--of" if choice.measure is None else "--scores", source]
    words += ["--share", f"{choice.share:.10g}", "--seed", training.seed]
    words += ["--at-least", choice.at_least] if choice.at_least else []
    words += ["--types", choice.types] if choice.types else []
    file = f"{training.folder}/parts.json"
    return Stage(
        kind="choose",
        folder=training.folder,
        title=f"choose what {training.label} prunes, seed {training.seed}",
        command=lottery(*words, "--out", file, "--overwrite"),
        needs=(source,),
        leaves=(file,),
    )


def _search(choice: ComponentChoice, lottery: Lottery, where: tuple[str, ...]) -> Stage:
    folder, model = _search_folder(choice), choice.of.model("last")
    words: list[object] = ["heads", "search", model, *where]
    words += ["--kind", choice.kind] if choice.way != "phases" else []
    if choice.share_pruned is None:
        words += ["--enough", f"{choice.share:.10g}"]
        words += ["--metric", choice.metric] if choice.metric else []
    else:
        words += ["--to", f"{choice.share:.10g}", "--enough", 0]
    if choice.kind != "weights":
        words += ["--per", choice.per, *(["--normalise"] if choice.normalise else [])]
    words += ["--at-least", choice.at_least] if choice.at_least else []
    words += ["--seed", choice.of.seed, "--out", _search_output(choice), "--overwrite"]
    noun = "weights" if choice.kind == "weights" else "components"
    return Stage(
        kind="search",
        folder=folder,
        title=f"search the {noun} of {choice.of.title}",
        command=lottery(*words),
        needs=(model,),
        leaves=tuple(_search_output(choice, name) for name in SUBNETWORKS),
    )


def _search_folder(choice: ComponentChoice) -> str:
    least = f"-least{choice.at_least}" if choice.at_least else ""
    scores = f"-{choice.scores}" if choice.measure is not None else ""
    metric = f"-{choice.metric}" if choice.metric else ""
    return f"{choice.of.folder}/search-{choice.family}-{choice.share:g}{metric}{scores}{least}"


def _search_output(choice: ComponentChoice, subnetwork: str = "") -> str:
    """Return a file that a search writes: a choice of components, or a ticket."""
    suffix = "safetensors" if choice.kind == "weights" else "json"
    which = f"-{subnetwork}" if subnetwork else ""
    return f"{_search_folder(choice)}/found{which}.{suffix}"

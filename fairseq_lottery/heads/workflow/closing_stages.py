"""Stages that find what a ticket closes or prunes: ``fairseq-lottery heads``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from fairseq_lottery.heads.workflow.techniques import SUBNETWORKS
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.trainings.training import Closing, Training

#: words of ``fairseq-lottery`` -> a command line
Lottery = Callable[..., tuple[str, ...]]


def parts_file(training: Training) -> Optional[str]:
    """Return the file of the choice that a training's ticket closes; None where it closes none.

    Of m-pruning it is the ticket whose mask is taken.
    """
    parts = training.parts
    if parts is None:
        return None
    if parts.way == "choose":
        return f"{training.folder}/parts.json"
    return _found(parts, parts.strategy)


def close_words(training: Training, models: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of ``close_stage`` for a training's models, and the files it reads.

    Of a run whose gates learn only the last model has settled.
    """
    parts, closes = training.parts, str(parts_file(training))
    assert parts is not None and training.ticket is not None
    words = ["--mask" if parts.kind == "weights" else "--parts", closes]
    needs = [closes]
    for model in models:
        whole = training.ticket.mask_from.model("last" if parts.measure == "gates" else model)
        words += ["--close", whole, training.model(model)]
        needs.append(whole)
    return words, list(dict.fromkeys(needs))


def closing_stages(training: Training, lottery: Lottery, where: tuple[str, ...]) -> Iterator[Stage]:
    """Score all parts and choose among them, or search; stages that several share come again.

    Args:
        where: flags of the data that a model is run on, and of the device.
    """
    parts = training.parts
    if parts is None:
        return
    # what is chosen on the validation set is not judged by it
    where = (*where, "--subset", parts.subset)
    if parts.way != "choose":
        yield _search(parts, lottery, where)
        return
    source = parts.of.model("last")
    if parts.measure is not None:
        rank = _rank(parts, lottery, where)
        yield rank
        (source,) = rank.leaves
    yield _choose(training, parts, lottery, source)


def _rank(parts: Closing, lottery: Lottery, where: tuple[str, ...]) -> Stage:
    folder, model = f"{parts.of.folder}/{parts.scores}", parts.of.model("last")
    words: list[object] = ["heads", "importance", model, *where]
    words += ["--measure", parts.measure, "--per", parts.per]
    words += ["--normalise"] if parts.normalise else []
    file = f"{folder}/scores.json"
    return Stage(
        kind="rank",
        folder=folder,
        title=f"rank the parts of {parts.of.title}, by {parts.scores}",
        command=lottery(*words, "--out", file, "--overwrite"),
        needs=(model,),
        leaves=(file,),
        facts={"measure": parts.scores, "seed": parts.of.seed, "of": parts.of.folder},
    )


def _choose(training: Training, parts: Closing, lottery: Lottery, source: str) -> Stage:
    words: list[object] = ["heads", "choose", "--strategy", parts.strategy, "--kind", parts.kind]
    words += ["--of" if parts.measure is None else "--scores", source]
    words += ["--share", f"{parts.share:.10g}", "--seed", training.seed]
    words += ["--at-least", parts.at_least] if parts.at_least else []
    words += ["--types", parts.types] if parts.types else []
    file = f"{training.folder}/parts.json"
    return Stage(
        kind="choose",
        folder=training.folder,
        title=f"choose what {training.label} closes, seed {training.seed}",
        command=lottery(*words, "--out", file, "--overwrite"),
        needs=(source,),
        leaves=(file,),
    )


def _search(parts: Closing, lottery: Lottery, where: tuple[str, ...]) -> Stage:
    folder, model = _search_folder(parts), parts.of.model("last")
    words: list[object] = ["heads", "search", model, *where]
    words += ["--kind", parts.kind] if parts.way != "phases" else []
    if parts.share_closed is None:
        words += ["--enough", f"{parts.share:.10g}"]
    else:
        words += ["--to", f"{parts.share:.10g}", "--enough", 0]
    if parts.kind != "weights":
        words += ["--per", parts.per, *(["--normalise"] if parts.normalise else [])]
    words += ["--at-least", parts.at_least] if parts.at_least else []
    words += ["--seed", parts.of.seed, "--out", _found(parts), "--overwrite"]
    what = "weights" if parts.kind == "weights" else "parts"
    return Stage(
        kind="search",
        folder=folder,
        title=f"search the {what} of {parts.of.title}",
        command=lottery(*words),
        needs=(model,),
        leaves=tuple(_found(parts, name) for name in SUBNETWORKS),
    )


def _search_folder(parts: Closing) -> str:
    least = f"-least{parts.at_least}" if parts.at_least else ""
    scores = f"-{parts.scores}" if parts.measure is not None else ""
    return f"{parts.of.folder}/search-{parts.what}-{parts.share:g}{scores}{least}"


def _found(parts: Closing, subnetwork: str = "") -> str:
    """What a search writes: a choice of parts, or a ticket."""
    suffix = "safetensors" if parts.kind == "weights" else "json"
    which = f"-{subnetwork}" if subnetwork else ""
    return f"{_search_folder(parts)}/found{which}.{suffix}"

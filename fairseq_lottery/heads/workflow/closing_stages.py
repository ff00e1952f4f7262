"""Stages that find what a ticket closes or prunes: ``fairseq-lottery heads``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Optional

from fairseq_lottery.heads.workflow.techniques import SUBNETWORKS
from fairseq_lottery.workflow.planning.stage import Stage, stage_name
from fairseq_lottery.workflow.trainings.training import Closing, Training, model_file

#: words of ``fairseq-lottery`` -> a command line
Lottery = Callable[..., tuple[str, ...]]


def parts_file(training: Training) -> Optional[str]:
    """Where the choice stands that a training's ticket closes; None where it closes none.

    Of m-pruning it is the ticket whose mask is taken.
    """
    parts = training.parts
    if parts is None:
        return None
    if parts.way == "choose":
        return f"{training.folder}/parts.json"
    return _found(parts, parts.strategy)


def looked_at(parts: Closing) -> str:
    """The model that is ranked, or searched in: the last one."""
    return f"{parts.of.folder}/{model_file('last')}"


def closing_stages(
    training: Training, lottery: Lottery, where: tuple[str, ...]
) -> Iterator[Stage]:
    """Score all parts and choose among them, or search; stages that several share come again.

    Args:
        where: flags of the data that a model is run on, and of the device.
    """
    parts = training.parts
    if parts is None:
        return
    if parts.way != "choose":
        yield _search(parts, lottery, where)
        return
    if parts.measure is not None:
        yield _rank(parts, lottery, where)
    yield _choose(training, parts, lottery)


def _rank(parts: Closing, lottery: Lottery, where: tuple[str, ...]) -> Stage:
    folder = f"{parts.of.folder}/{parts.scores}"
    words: list[object] = ["heads", "importance", looked_at(parts), *_sentences(parts, where)]
    words += ["--measure", parts.measure, "--per", parts.per]
    words += ["--normalise"] if parts.normalise else []
    file = f"{folder}/scores.json"
    return Stage(
        name=stage_name("rank", folder),
        kind="rank",
        folder=folder,
        title=f"rank the parts of {parts.of.label}, seed {parts.of.seed}, by {parts.scores}",
        command=lottery(*words, "--out", file, "--overwrite"),
        needs=(looked_at(parts),),
        leaves=(file,),
        facts={"measure": parts.scores, "seed": parts.of.seed, "of": parts.of.folder},
    )


def _choose(training: Training, parts: Closing, lottery: Lottery) -> Stage:
    words: list[object] = ["heads", "choose", "--strategy", parts.strategy, "--kind", parts.kind]
    needs = looked_at(parts)
    if parts.measure is not None:
        needs = f"{parts.of.folder}/{parts.scores}/scores.json"
    words += ["--of" if parts.measure is None else "--scores", needs]
    words += ["--share", f"{parts.share:.10g}", "--seed", training.seed]
    words += ["--at-least", parts.at_least] if parts.at_least else []
    words += ["--types", parts.types] if parts.types else []
    file = f"{training.folder}/parts.json"
    return Stage(
        name=stage_name("choose", training.folder),
        kind="choose",
        folder=training.folder,
        title=f"choose what {training.label} closes, seed {training.seed}",
        command=lottery(*words, "--out", file, "--overwrite"),
        needs=(needs,),
        leaves=(file,),
    )


def _search(parts: Closing, lottery: Lottery, where: tuple[str, ...]) -> Stage:
    folder = _search_folder(parts)
    what = "weights" if parts.kind == "weights" else "parts"
    words: list[object] = ["heads", "search", looked_at(parts), *_sentences(parts, where)]
    words += ["--kind", parts.kind] if parts.way != "phases" else []
    if parts.share_closed is None:
        words += ["--enough", f"{parts.share:.10g}"]
    else:
        words += ["--to", f"{parts.share:.10g}", "--enough", 0]
    if parts.kind != "weights":
        words += ["--per", parts.per, *(["--normalise"] if parts.normalise else [])]
    words += ["--at-least", parts.at_least] if parts.at_least else []
    words += ["--seed", parts.of.seed, "--out", _found(parts), "--overwrite"]
    return Stage(
        name=stage_name("search", folder),
        kind="search",
        folder=folder,
        title=f"search the {what} of {parts.of.label}, seed {parts.of.seed}",
        command=lottery(*words),
        needs=(looked_at(parts),),
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


def _sentences(parts: Closing, where: tuple[str, ...]) -> list[object]:
    """The validation set: what is chosen on it is not judged by it."""
    return [*where, "--subset", parts.subset]

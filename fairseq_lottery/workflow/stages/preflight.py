"""Check a plan in the training's environment before its first stage starts.

Run as ``python -m fairseq_lottery.workflow.stages.preflight``. Reads the question as JSON from
stdin, and answers with JSON: ``problem``, the flag it is ``about``, ``gpus``, and ``notes``.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return whether fairseq accepts the flags and test sets, and how many GPUs it sees.

    Args:
        question: a mapping with these keys.
            ``task``: name of the task.
            ``words``: arguments of the command ``train`` and, if the task translates, ``generate``.
            ``weights``: the flags of ``train`` that decide the weights.
            ``adopt``: ``run``, ``updates`` and ``last`` of every run to adopt.
            ``scores``: names of all scores; users' own ones must be importable.
            ``scheduled``: scores of pruning schedules.
            ``at_once``: scores of pruning schedules that start at the first update.
            ``masks``: scope and prunable set of every mask, which must fit the model.
            ``component_choices``: choices of components, which the model must have.
            ``tests``: ``subset`` and ``references`` of every test set, and ``where`` they are
            in the configuration.
    """
    from fairseq_lottery.environment import require
    from fairseq_lottery.errors import LotteryError

    try:
        require("torch", "numpy", "safetensors", "fairseq", "sacrebleu")
    except LotteryError as error:
        return {"problem": f"the training's environment: {error}"}
    import torch
    from fairseq import options as fairseq_options

    from fairseq_lottery import plugin  # noqa: F401 - the names that --user-dir registers
    from fairseq_lottery.adapters import ADAPTERS
    from fairseq_lottery.formats.source import read_source
    from fairseq_lottery.masks.prunable import prunable_matrices
    from fairseq_lottery.masks.scores import find_score, needed_by
    from fairseq_lottery.options import Prunable, options
    from fairseq_lottery.options.nm_pattern import Pattern
    from fairseq_lottery.workflow.stages.adopt import adoptable, dictionaries_in, differences

    parsers = {
        "train": fairseq_options.get_training_parser,
        "generate": fairseq_options.get_generation_parser,
    }
    gpus = torch.cuda.device_count()
    task = ADAPTERS[question["task"]]
    parsed = {}
    for kind, words in question["words"].items():
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                parser = parsers[kind]()
                parsed[kind] = fairseq_options.parse_args_and_arch(parser, input_args=words)
        except SystemExit:
            lines = said.getvalue().strip().splitlines() or ["it refuses the flags"]
            text = re.sub(r"^.*?error: ", "", lines[-1])
            flag = re.search(r"--[\w-]+", text)
            return {"problem": f"{kind}: {text}", "about": flag.group() if flag else "",
                    "where": kind}  # fmt: skip
    for score in question["scores"]:
        try:
            needs = needed_by(find_score(score)[0])
        except LotteryError as error:
            return {"problem": str(error), "where": "score"}
        if score in question["scheduled"] and "start" in needs:
            return {"problem": f"the score {score} needs start weights, which no pruning schedule"
                    " during training has; choose another, or techniques that draw tickets",
                    "where": "score"}  # fmt: skip
        if score in question["at_once"] and "gradient" in needs:
            return {"problem": f"the score {score} needs gradients, and there are none before the"
                    " first update, where pruning starts; set prune: start to a later update",
                    "where": ["prune", "start"]}  # fmt: skip
    names = {flag: flag.lstrip("-").replace("-", "_") for flag in question["weights"]}
    given = vars(parsed["train"])
    meant = {flag: given[name] for flag, name in names.items() if name in given}
    notes = []
    try:
        for one in question["adopt"]:
            run = Path(one["run"])
            adoptable(run, one["updates"], one["last"])
            last = read_source(run / "checkpoint_last.pt")
            dictionaries_in(task.find_folder(given), last)
            other = differences(run, meant)
            notes += [f"the run in {run} was trained with {', '.join(other)}"] if other else []
    except LotteryError as error:
        return {"problem": str(error), "where": "adopt"}
    try:
        model = _model(parsed["train"], task.name)
    except Exception as error:  # noqa: BLE001 - a model refuses its flags in any way it likes
        why = f"{type(error).__name__}: {error}"
        return {"problem": f"train: the model cannot be built ({why})", "where": "train"}
    for one in question["tests"]:
        try:
            _refuse_unfit(parsed["generate"], task.name, model.max_positions(), one)
        except LotteryError as error:
            return {"problem": str(error), "where": one["where"]}
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for mask in question["masks"]:
        scope, settings = mask["scope"], options(Prunable)
        prunable = {one.name: mask[one.name] for one in settings}
        try:
            matrices = prunable_matrices(shapes, **prunable)
        except LotteryError as error:
            written = [one.name for one in settings if prunable[one.name] != one.default]
            return {"problem": str(error), "where": [settings[0].name, *written][-1]}
        pattern = Pattern.parse(scope)
        odd = [n for n in matrices if pattern and shapes[n][1] % pattern.group]
        if pattern and odd:
            return {"problem": f"scope: {scope} needs rows of a multiple of {pattern.group}"
                    f" weights, and those of {odd[0]} have {shapes[odd[0]][1]}; leave the matrix"
                    f" out by {' or '.join(prunable)}", "where": "scope"}  # fmt: skip
    try:
        _refuse_choices(question["component_choices"], shapes, given)
    except LotteryError as error:
        return {"problem": str(error), "where": "techniques"}
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return {"gpus": gpus, "notes": notes, "parameters": parameters}


def _model(args: Any, task: str) -> Any:
    """Build the model as plain fairseq would, without any mask."""
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.tasks import TASK_REGISTRY

    cfg = convert_namespace_to_omegaconf(args)
    return TASK_REGISTRY[task].setup_task(cfg.task).build_model(cfg.model)


def _refuse_unfit(args: Any, task: str, positions: Any, test: dict[str, Any]) -> None:
    """Refuse a test set that would stop the workflow after its trainings."""
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    from fairseq_lottery.errors import LotteryError
    from fairseq_lottery.workflow.stages.test_set import refuse_unfit

    try:
        cfg = convert_namespace_to_omegaconf(args)
        refuse_unfit(cfg, task, positions, test["subset"], Path(test["references"]))
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - fairseq refuses data and flags in any way
        raise LotteryError(
            f"the set {test['subset']} cannot be read ({type(error).__name__}: {error}); compare"
            " the flags in generate with the data"
        ) from error


def _refuse_choices(
    choices: list[dict[str, Any]], shapes: dict[str, tuple[int, ...]], given: dict[str, Any]
) -> None:
    """Refuse choices that prune too many components, or none: choose once, by equal scores."""
    import torch

    from fairseq_lottery.errors import LotteryError
    from fairseq_lottery.heads.choices.strategies import STRATEGIES
    from fairseq_lottery.heads.choices.strategy_input import StrategyInput
    from fairseq_lottery.heads.components.anatomy import Anatomy
    from fairseq_lottery.heads.components.component_mask import ComponentMask
    from fairseq_lottery.heads.components.open_count import parse_open_count
    from fairseq_lottery.masks import count_to_prune
    from fairseq_lottery.workflow.trainings.vocabulary import open_share

    if not choices:
        return  # a model without heads is none that this is about
    anatomy = Anatomy.of(shapes, given)
    alike = {
        kind: {name: torch.zeros(size) for name, size in sizes.items()}
        for kind, sizes in anatomy.sizes.items()
    }
    for one in choices:
        kind, share, total = one["kind"], one["share"], sum(anatomy.sizes[one["kind"]].values())
        strategy = one["strategy"] if one["way"] == "choose" else "lowest"
        try:
            wanted = StrategyInput(
                ComponentMask(anatomy, {}), kind, share, scores=alike, at_least=one["at_least"]
            )
            STRATEGIES[strategy](wanted)
            if one["measure"] == "gates":
                parse_open_count(open_share(share), kind, total)
            elif not count_to_prune(share, total):
                raise LotteryError(f"{share:g} of {total} {kind} is none; give a larger share")
        except LotteryError as error:
            name = "gates" if one["measure"] == "gates" else one["strategy"]
            raise LotteryError(f"{kind}-{name}: {error}") from error


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)

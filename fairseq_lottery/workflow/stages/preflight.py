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
from typing import Any, Optional


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return whether fairseq accepts the flags and test sets, and how many GPUs it sees.

    Args:
        question: a mapping with these keys.
            ``task``: name of the task.
            ``words``: arguments of the command ``train`` and, if the task translates, ``generate``
            or, for every pair of languages, ``generate PAIR``.
            ``weights``: the flags of ``train`` that decide the weights.
            ``adopt``: ``run``, ``updates`` and ``last`` of every run to adopt, and ``moments``
            if its optimizer state is read.
            ``scores``: names of all scores; users' own ones must be importable.
            ``scheduled``: scores of pruning schedules.
            ``at_once``: scores of pruning schedules that start at the first update.
            ``masks``: scope, sparsity and prunable set of every mask, which must fit the model.
            ``component_choices``: choices of components, which the model must have.
            ``analysis``: settings of the analysis, whose measures must exist; None without one.
            ``pretrained``: checkpoint that trainings start from; None without one.
            ``tests``: ``subset``, ``pair`` and ``references`` of every test set, and ``where``
            they are in the configuration.
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
    from fairseq_lottery.masks import count_to_prune
    from fairseq_lottery.masks.distributions import DISTRIBUTIONS, Matrix
    from fairseq_lottery.masks.prunable import prunable_matrices
    from fairseq_lottery.masks.scores import find_score, needed_by
    from fairseq_lottery.options import Prunable, options
    from fairseq_lottery.options.nm_pattern import Pattern
    from fairseq_lottery.workflow.stages.adopt import adoptable, dictionaries_in, differences
    from fairseq_lottery.workflow.stages.pretrained import refuse_other_pretrained

    parsers = {
        "train": fairseq_options.get_training_parser,
        "generate": fairseq_options.get_generation_parser,
    }
    try:
        _refuse_measures(question["analysis"], question["task"])
    except LotteryError as error:
        return {"problem": str(error), "where": ["analyze", "measures"]}
    gpus = torch.cuda.device_count()
    task = ADAPTERS[question["task"]]
    parsed = {}
    for name, words in question["words"].items():
        kind = name.split()[0]
        output = io.StringIO()
        try:
            with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
                parser = parsers[kind]()
                parsed[name] = fairseq_options.parse_args_and_arch(parser, input_args=words)
        except SystemExit:
            lines = output.getvalue().strip().splitlines() or ["fairseq rejects the flags"]
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
            return {"problem": f"score {score} requires start weights, which pruning schedules do"
                    " not have; choose another score, or techniques that draw tickets",
                    "where": "score"}  # fmt: skip
        if score in question["at_once"] and "gradient" in needs:
            return {"problem": f"score {score} requires gradients, which do not exist before the"
                    " first update; set prune: start to a later update",
                    "where": ["prune", "start"]}  # fmt: skip
    names = {flag: flag.lstrip("-").replace("-", "_") for flag in question["weights"]}
    settings = vars(parsed["train"])
    expected = {flag: settings[name] for flag, name in names.items() if name in settings}
    notes = []
    try:
        for request in question["adopt"]:
            run = Path(request["run"])
            adoptable(run, request["updates"], request["last"])
            last = read_source(run / "checkpoint_last.pt")
            if request.get("moments"):
                last.optimizer_state()  # plain fairseq's does not name parameters
            dictionaries_in(task.find_folder(settings), last)
            differing = ", ".join(differences(run, expected))
            notes += [f"the run in {run} was trained with {differing}"] if differing else []
    except LotteryError as error:
        return {"problem": str(error), "where": "adopt"}
    try:
        model = _model(parsed["train"], task.name)
    except Exception as error:  # noqa: BLE001 - a model may raise anything for its flags
        reason = f"{type(error).__name__}: {error}"
        return {"problem": f"train: the model cannot be built ({reason})", "where": "train"}
    try:
        if question["pretrained"] is not None:
            refuse_other_pretrained(question["pretrained"], model, task, settings)
    except LotteryError as error:
        return {"problem": str(error), "where": "pretrained"}
    for test in question["tests"]:
        try:
            command = parsed[f"generate {test['pair'] or ''}".strip()]
            _refuse_unfit(command, task.name, model.max_positions(), test)
        except LotteryError as error:
            return {"problem": str(error), "where": test["where"]}
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for mask in question["masks"]:
        scope, fields = mask["scope"], options(Prunable)
        prunable = {field.name: mask[field.name] for field in fields}
        try:
            matrices = prunable_matrices(shapes, **prunable)
        except LotteryError as error:
            changed = [field.name for field in fields if prunable[field.name] != field.default]
            return {"problem": str(error), "where": [fields[0].name, *changed][-1]}
        pattern = Pattern.parse(scope)
        uneven = [n for n in matrices if pattern and shapes[n][1] % pattern.group]
        if pattern and uneven:
            return {"problem": f"scope: {scope} requires rows of a multiple of {pattern.group}"
                    f" weights, but those of {uneven[0]} have {shapes[uneven[0]][1]}; exclude the"
                    f" matrix by {' or '.join(prunable)}", "where": "scope"}  # fmt: skip
        if scope in DISTRIBUTIONS:
            sizes = {name: Matrix.of(shapes[name], row) for name, row in matrices.items()}
            total = sum(matrix.size for matrix in sizes.values())
            try:
                DISTRIBUTIONS[scope](sizes, total - count_to_prune(mask["sparsity"], total))
            except LotteryError as error:
                return {"problem": str(error), "where": "scope"}
    try:
        _refuse_choices(question["component_choices"], shapes, settings)
    except LotteryError as error:
        return {"problem": str(error), "where": "techniques"}
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return {"gpus": gpus, "notes": notes, "parameters": parameters}


def _model(args: Any, task: str) -> Any:
    """Build the model as fairseq does, without a mask."""
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    from fairseq_lottery.training.task_mixin import LotteryTask
    from fairseq_lottery.workflow.stages.test_set import set_up

    cfg = convert_namespace_to_omegaconf(args)
    built = set_up(task, cfg.task)
    more = {"from_checkpoint": True} if isinstance(built, LotteryTask) else {}
    return built.build_model(cfg.model, **more)


def _refuse_unfit(args: Any, task: str, positions: Any, test: dict[str, Any]) -> None:
    """Raise an error for a test set that could not be translated and scored."""
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    from fairseq_lottery.errors import LotteryError
    from fairseq_lottery.workflow.stages.test_set import refuse_unfit

    try:
        cfg = convert_namespace_to_omegaconf(args)
        refuse_unfit(cfg, task, positions, test["subset"], Path(test["references"]))
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - fairseq may raise anything for data and flags
        raise LotteryError(
            f"the set {test['subset']} cannot be read ({type(error).__name__}: {error}); compare"
            " the flags in generate with the data"
        ) from error


def _refuse_measures(settings: Optional[dict[str, Any]], task: str) -> None:
    """Raise an error for unknown measures, or if a package that measures require is missing."""
    if settings is None:
        return
    from fairseq_lottery.adapters import adapter_of
    from fairseq_lottery.analysis.commands.analyze import REQUIRES
    from fairseq_lottery.analysis.sweep.chosen_measures import choose_measures
    from fairseq_lottery.analysis.sweep.settings import Settings
    from fairseq_lottery.environment import require
    from fairseq_lottery.records.schema import parse

    require(*REQUIRES)
    choose_measures(parse(Settings, settings), is_encoder=adapter_of(task).is_encoder)


def _refuse_choices(
    choices: list[dict[str, Any]], shapes: dict[str, tuple[int, ...]], settings: dict[str, Any]
) -> None:
    """Raise an error for choices that would prune too many components, or none."""
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
        return  # the model may have no heads
    anatomy = Anatomy.of(shapes, settings)
    equal_scores = {
        kind: {name: torch.zeros(size) for name, size in sizes.items()}
        for kind, sizes in anatomy.sizes.items()
    }
    for choice in choices:
        kind, share = choice["kind"], choice["share"]
        total = sum(anatomy.sizes[kind].values())
        strategy = choice["strategy"] if choice["way"] == "choose" else "lowest"
        none_pruned, least = ComponentMask(anatomy, {}), choice["at_least"]
        try:
            STRATEGIES[strategy](
                StrategyInput(none_pruned, kind, share, scores=equal_scores, at_least=least)
            )
            if choice["measure"] == "gates":
                parse_open_count(open_share(share), kind, total)
            elif not count_to_prune(share, total):
                message = f"{share:g} of {total} {kind} rounds to 0; give a larger share"
                raise LotteryError(message)
        except LotteryError as error:
            name = "gates" if choice["measure"] == "gates" else choice["strategy"]
            raise LotteryError(f"{kind}-{name}: {error}") from error


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)

"""Children of an update in a workflow's folder: trainings of one ticket in several orders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.report.reading.records import Run, read_run


@dataclass(frozen=True)
class Children:
    """Models that were trained from the same weights, each in another order of the examples.

    Attributes:
        update: update t of the weights that they start from.
        sparsity: sparsity of their mask; 0 for dense children.
        seed: seed of the training that t belongs to.
        models: ``--data-seed`` -> file of the model.
    """

    update: int
    sparsity: float
    seed: int
    models: Mapping[int, Path]

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of seeds of the order."""
        return combinations(sorted(self.models), 2)


def find_children(folder: Union[str, Path]) -> list[Children]:
    """Return the children in a folder of ``fairseq-lottery run``, by update and sparsity.

    Tickets of one group were drawn by the same command, so only the order differs.

    Raises:
        LotteryError: the folder cannot be read, a model is missing, or it has no two children.
    """
    run = read_run(folder)
    stages = {(stage.kind, stage.folder): stage for stage in run.plan.stages}
    groups: dict[tuple[object, ...], dict[int, Path]] = {}
    for training, (sparsity, seed, file) in _models(run).items():
        drawn, trained = stages.get(("draw", training)), stages.get(("train", training))
        order = _value(trained, "--data-seed")
        start = re.search(r"snapshot_(\d+)\.", _value(drawn, "--start-from") or "")
        if drawn is None or start is None or order is None or not order.isdigit():
            continue
        if not is_plain(file):
            raise LotteryError(f"there is no model {file}; resume fairseq-lottery run")
        key = (int(start.group(1)), sparsity, seed, _without_output(drawn.command))
        groups.setdefault(key, {})[int(order)] = file
    children = [
        Children(int(str(key[0])), float(str(key[1])), int(str(key[2])), models)
        for key, models in groups.items()
        if len(models) > 1
    ]
    if not children:
        raise LotteryError(
            f"{folder} has no two children of an update; add the technique children with data_seed:"
            " [1, 2] to its configuration"
        )
    return sorted(children, key=lambda one: (one.update, one.sparsity, one.seed))


def _models(run: Run) -> dict[str, tuple[float, int, Path]]:
    """Return training -> sparsity, seed and file of the model of its first evaluation."""
    models: dict[str, tuple[float, int, Path]] = {}
    for model in run.models:
        file = run.folder / model.file
        models.setdefault(model.training, (model.sparsity, model.seed, file))
    return models


def _value(stage: Optional[Stage], flag: str) -> Optional[str]:
    words = stage.command if stage is not None else ()
    return next((value for name, value in zip(words, words[1:]) if name == flag), None)


def _without_output(command: Sequence[str]) -> tuple[str, ...]:
    place = command.index("--out") if "--out" in command else len(command)
    return (*command[:place], *command[place + 2 :])

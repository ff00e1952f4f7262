"""Children of an update in a workflow's folder: trainings of one ticket in several orders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.records.cells import Model
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.report.reading.records import Run, read_run


@dataclass(frozen=True)
class Children:
    """Models that were trained from the same weights, each in another order of the examples.

    Attributes:
        update: update t of the weights that they start from.
        sparsity: sparsity of their mask; 0 for dense children.
        seed: seed of the training that t belongs to.
        models: ``--data-seed`` -> last checkpoint of the training.
        techniques: ``--data-seed`` -> name of the technique.
    """

    update: int
    sparsity: float
    seed: int
    models: Mapping[int, Path]
    techniques: Mapping[int, str]

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of seeds of the order."""
        return combinations(sorted(self.models), 2)

    def columns(self, orders: tuple[int, int]) -> Row:
        """Return the columns of rows that name a pair."""
        pair = f"seed {self.seed}, orders {orders[0]} and {orders[1]}"
        return {"component": self.update, "threshold": self.sparsity, "pair": pair}


def find_children(folder: Union[str, Path]) -> list[Children]:
    """Return the children in a folder of ``fairseq-lottery run``, by update and sparsity.

    Tickets of one group were drawn by the same command, so only the order differs. The models are
    the ends of the trainings, which Frankle et al. 2020 compare, whichever checkpoint was
    evaluated: the best ones are of different updates.

    Raises:
        LotteryError: the folder cannot be read, a last checkpoint is not kept, or it has no two
            children.
    """
    children = children_of(read_run(folder))
    if not children:
        raise LotteryError(
            f"{folder} has no two children of an update; add the technique children with data_seed:"
            " [1, 2] to its configuration"
        )
    return children


def children_of(run: Run) -> list[Children]:
    """Return the children of ``find_children``; empty if a run has none.

    Raises:
        LotteryError: a last checkpoint is not kept.
    """
    stages = {(stage.kind, stage.folder): stage for stage in run.plan.stages}
    groups: dict[tuple[object, ...], dict[int, Model]] = {}
    for training, model in {model.training: model for model in run.models}.items():
        drawn, trained = stages.get(("draw", training)), stages.get(("train", training))
        order = _value(trained, "--data-seed")
        start = re.search(r"snapshot_(\d+)\.", _value(drawn, "--start-from") or "")
        if drawn is None or start is None or order is None or not order.isdigit():
            continue
        key = (int(start.group(1)), model.sparsity, model.seed, _without_output(drawn.command))
        groups.setdefault(key, {})[int(order)] = model
    children = [
        Children(
            update=int(str(key[0])),
            sparsity=float(str(key[1])),
            seed=int(str(key[2])),
            models={n: _last_checkpoint(run.folder / one.training) for n, one in own.items()},
            techniques={n: one.technique for n, one in own.items()},
        )
        for key, own in groups.items()
        if len(own) > 1
    ]
    return sorted(children, key=lambda one: (one.update, one.sparsity, one.seed))


def _last_checkpoint(training: Path) -> Path:
    """Return the model at the end of a training: as evaluated, or fairseq's own."""
    for name in ("last.pt", "checkpoint_last.pt"):
        if is_plain(training / name):
            return training / name
    raise LotteryError(
        f"{training} has no last checkpoint; add checkpoint: last to evaluate, or checkpoints to"
        " keep, in the configuration and resume fairseq-lottery run"
    )


def _value(stage: Optional[Stage], flag: str) -> Optional[str]:
    words = stage.command if stage is not None else ()
    return next((value for name, value in zip(words, words[1:]) if name == flag), None)


def _without_output(command: Sequence[str]) -> tuple[str, ...]:
    place = command.index("--out") if "--out" in command else len(command)
    return (*command[:place], *command[place + 2 :])

"""The mean of several checkpoints under one mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.tickets.maskstate import mask_from_state
from fairseq_lottery.tickets.sources import read_checkpoint
from fairseq_lottery.tickets.ticket import refuse_other_shapes

_EPOCH = re.compile(r"^checkpoint(\d+)\.pt$")
_UPDATE = re.compile(r"^checkpoint_\d+_(\d+)\.pt$")


def last_checkpoints(folders: Sequence[Union[str, Path]], count: int) -> list[Path]:
    """The ``count`` latest checkpoints of a save-dir: by update where it has such, else by epoch.

    ``checkpoint_last.pt`` and ``checkpoint_best.pt`` are copies of others and not counted.
    """
    if len(folders) != 1 or not Path(folders[0]).is_dir():
        raise LotteryError("--last wants exactly one folder")
    if count < 1:
        raise LotteryError(f"--last {count} must be at least 1")
    for pattern in (_UPDATE, _EPOCH):
        found = [(pattern.match(path.name), path) for path in Path(folders[0]).iterdir()]
        ranked = sorted((int(match.group(1)), path) for match, path in found if match)
        if len(ranked) >= count:
            return [path for _, path in ranked[-count:]]
    raise LotteryError(f"{folders[0]} has fewer than {count} numbered checkpoints")


def average(
    paths: Sequence[Union[str, Path]], out: Union[str, Path], overwrite: bool = False
) -> None:
    """Write the mean of the weights, in fp32, as a checkpoint without optimizer state.

    Raises:
        LotteryError: checkpoints of different models or under different masks.
    """
    total: dict[str, Tensor] = {}
    first: dict[str, Any] = {}
    digest = None
    for path in paths:
        state = read_checkpoint(path)
        mask = _mask_digest(state)
        if not first:
            first, digest = state, mask
            total = {name: tensor.double() for name, tensor in state["model"].items()}
            continue
        if mask != digest:
            raise LotteryError(
                f"{path} and {paths[0]} have different masks; average only within one run after"
                " its mask has stopped growing"
            )
        shapes = [{n: tuple(t.shape) for n, t in s["model"].items()} for s in (first, state)]
        refuse_other_shapes(shapes[0], shapes[1], str(paths[0]))
        for name, tensor in state["model"].items():
            total[name] += tensor.double()
    model = {
        name: (tensor / len(paths)).to(first["model"][name].dtype) for name, tensor in total.items()
    }
    kept = ("args", "cfg", "criterion", "optimizer_history", "task_state", "extra_state")
    averaged = {key: first[key] for key in kept if key in first}
    with replacing(out, overwrite) as temporary:
        torch.save({**averaged, "model": model, "last_optimizer_state": None}, temporary)


def _mask_digest(state: dict[str, Any]) -> str:
    stored = ((state.get("task_state") or {}).get("lottery") or {}).get("mask")
    return mask_from_state(stored).digest() if stored else "dense"

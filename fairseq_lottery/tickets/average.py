"""The mean of several checkpoints under one mask."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.formats.checkpoints.checkpoint import (
    read_checkpoint,
    refuse_not_finite,
)
from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_entries, stored_update
from fairseq_lottery.formats.checkpoints.cut_model import CUT
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.formats.checkpoints.settings import read_settings
from fairseq_lottery.formats.checkpoints.tied_parameters import is_parameter
from fairseq_lottery.formats.mask_leaks import refuse_leaking, stored_mask
from fairseq_lottery.formats.pair_masks import stored_pair_masks
from fairseq_lottery.formats.ticket import refuse_other_shapes
from fairseq_lottery.masks import shapes_of

logger = logging.getLogger(__name__)

_EPOCH = re.compile(r"^checkpoint(\d+)\.pt$")
_UPDATE = re.compile(r"^checkpoint_\d+_(\d+)\.pt$")


def last_checkpoints(folders: Sequence[Union[str, Path]], count: int) -> list[Path]:
    """Return the ``count`` latest checkpoints of a save-dir, by update or else by epoch.

    ``checkpoint_last.pt`` and ``checkpoint_best.pt`` are copies and do not count.
    """
    if len(folders) != 1 or not Path(folders[0]).is_dir():
        raise LotteryError(f"--last expects one folder, found {len(folders)} paths or a file")
    if count < 1:
        raise LotteryError(f"--last {count} must be at least 1")
    largest = 0
    for pattern in (_UPDATE, _EPOCH):
        matches = [(pattern.match(path.name), path) for path in Path(folders[0]).iterdir()]
        ranked = sorted((int(match.group(1)), path) for match, path in matches if match)
        if len(ranked) >= count:
            return [path for _, path in ranked[-count:]]
        largest = max(largest, len(ranked))
    raise LotteryError(
        f"{folders[0]} has fewer than {count} numbered checkpoints ({largest}); train with"
        " --save-interval-updates N --keep-interval-updates -1 to keep one every N updates, or"
        " without --no-epoch-checkpoints to keep one an epoch"
    )


def average(
    paths: Sequence[Union[str, Path]], out: Union[str, Path], overwrite: bool = False
) -> None:
    """Write the mean of the weights as a checkpoint without optimizer state.

    All other entries, such as the update counter, are those of the latest checkpoint. Learned
    gates are left out.

    Raises:
        LotteryError: the models or masks differ, or a checkpoint has weights that are not finite
            or that its mask prunes.
    """
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise LotteryError("a checkpoint is listed twice; list each once")
    total: dict[str, Tensor] = {}
    first: dict[str, Any] = {}
    latest: dict[str, Any] = {}
    for path in paths:
        if Path(path).is_dir():
            raise LotteryError(f"{path} is a folder; select its last N checkpoints with --last N")
        state = read_checkpoint(path)
        # fairseq does not initialise its buffers
        refuse_not_finite({n: t for n, t in state["model"].items() if is_parameter(n)}, path)
        refuse_leaking(state, path)
        if not first:
            first = latest = state
            total = {name: tensor.double() for name, tensor in state["model"].items()}
            continue
        _refuse_other(state, first, path, paths[0])
        for name, tensor in state["model"].items():
            total[name] += tensor.double()
        if (stored_update(state) or 0) > (stored_update(latest) or 0):
            latest = state
    model = {
        name: (tensor / len(paths)).to(first["model"][name].dtype) for name, tensor in total.items()
    }
    keys = ("args", "cfg", "criterion", "optimizer_history", "task_state", "extra_state")
    averaged = {key: latest[key] for key in keys if key in latest}
    if has_gates(averaged.get("criterion")):
        logger.info("the learned gates of %s are left out", paths[0])
        averaged["criterion"] = None
    with replacing(out, overwrite) as temporary:
        torch.save({**averaged, "model": model, "last_optimizer_state": None}, temporary)


def _refuse_other(
    state: dict[str, Any],
    first: dict[str, Any],
    path: Union[str, Path],
    first_path: Union[str, Path],
) -> None:
    """Refuse a checkpoint whose mask, cut or shapes differ from those of the first one."""
    both, states = f"{path} and {first_path}", (first, state)
    masks = [stored_mask(checkpoint) for checkpoint in states]
    pairs = [stored_pair_masks(stored_entries(checkpoint)) for checkpoint in states]
    if masks[0] != masks[1] or pairs[0] != pairs[1]:
        raise LotteryError(
            f"{both} have different masks; average checkpoints of one run after its last pruning"
            " step"
        )
    cuts = [read_settings(checkpoint).model.get(CUT) for checkpoint in states]
    if cuts[0] != cuts[1]:
        raise LotteryError(
            f"{both} had different heads or units cut out; average first, then export --to slim"
        )
    shapes = [shapes_of(s["model"]) for s in states]
    refuse_other_shapes(shapes[0], shapes[1], str(first_path))

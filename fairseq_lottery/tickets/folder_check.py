"""Checking the files that a training has left: whole, at their sparsity, and truly zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import components
from fairseq_lottery.formats import container
from fairseq_lottery.formats.checkpoints.checkpoint import settings_of
from fairseq_lottery.formats.checkpoints.optimizer_moments import moments_per_weight
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.formats.checkpoints.tied_parameters import is_parameter
from fairseq_lottery.formats.mask_leaks import count_leaks
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.masks import Mask, has_sparsity, read_pruner, rounds_to
from fairseq_lottery.masks.pruners import only_shrinks

#: what has an entry for every matrix; moments only where there was a gradient already
_WHOLE = ("weights", "masters", "ema", "ema_fp32_params")
#: settings of a task whose run has a mask
_MASKED = ("ticket", "mask_from", "prune_to")
#: the ticket that a run has drawn, or was started from
_TICKET = "ticket.safetensors"


@dataclass(frozen=True)
class Checked:
    """What was found in one file.

    Attributes:
        file: its path.
        kind: ``checkpoint``, ``snapshot``, ``ticket``; ``unreadable`` where it is none.
        update: updates behind it.
        pruned, prunable: of its mask; None for a dense file.
        looked_at: the tensors whose pruned entries were looked at: ``weights``, ``masters``,
            the optimizer's moments, ``ema``, ``ema_fp32_params``.
        problems: a sentence each; empty where all is well.
    """

    file: str
    kind: str
    update: Optional[int]
    pruned: Optional[int]
    prunable: Optional[int]
    looked_at: tuple[str, ...]
    problems: tuple[str, ...]


def check_folder(folder: Union[str, Path]) -> list[Checked]:
    """Check every checkpoint, snapshot and ticket in a folder and in those below it.

    Each file has to be whole, and finite and zero wherever its mask prunes (weights, masters,
    optimizer state and EMA, each of all matrices), and at the sparsity that its ticket or its
    pruner says; a snapshot, that the next checkpoint's say. In one folder masks only shrink,
    unless a checkpoint names a pruner that regrows weights, and its ``ticket.safetensors`` is the
    one that its checkpoints name; tickets of other names belong to no run there.

    Raises:
        LotteryError: there is no such folder, or nothing in it to check.
    """
    root = Path(folder)
    if not root.is_dir():
        raise LotteryError(f"{root} is no folder; name the save-dir of a run, or one above it")
    found: list[Checked] = []
    for place in sorted({path.parent for path in _files(root)}):
        found += _Run(place).check()
    if not found:
        raise LotteryError(f"{root} holds no checkpoint, snapshot or ticket")
    return found


def _files(root: Path) -> Iterator[Path]:
    for pattern in ("*.pt", "*.safetensors"):
        yield from (path for path in root.rglob(pattern) if not path.name.startswith("."))


class _Run:
    """The files of one folder; one at a time is in memory, of the others only the masks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: path -> update and mask; of a file without one None
        self.masks: dict[str, tuple[int, Optional[Mask]]] = {}
        #: digest of its ticket.safetensors
        self.ticket: Optional[str] = None
        #: whether a snapshot names a pruner that regrows weights
        self.regrows = False
        #: update -> what checkpoints keep of the run
        self.stored: list[tuple[int, Mapping[str, Any]]] = []

    def check(self) -> list[Checked]:
        """Check the ticket that all others are compared with, checkpoints, then what asks them."""
        paths = [path for path in _files(self.folder) if path.parent == self.folder]
        paths.sort(key=lambda path: (path.name != _TICKET, path.suffix != ".pt", path))
        found = [self._check(path) for path in paths]
        # whether masks only shrink is known when all checkpoints were read
        return [replace(one, problems=(*one.problems, *self._grown(one.file))) for one in found]

    def _check(self, path: Path) -> Checked:
        try:
            source = read_source(path)
        except LotteryError as error:
            return Checked(str(path), "unreadable", None, None, None, (), (str(error),))
        mask, update, stored = source.mask, int(source.update or 0), source.lottery
        problems: list[str] = []
        groups: dict[str, Any] = {}
        if mask is not None:
            try:
                groups = _groups(source)
            except LotteryError as error:
                problems.append(str(error))
                groups = dict(source.groups)
            for group, tensors in groups.items():
                problems += _problems_in(group, tensors, groups, mask)
            is_snapshot = source.kind == "snapshot"
            since = update - 1 if is_snapshot else update
            asked = self._stored_at(update) if is_snapshot else stored
            problems += _other_count(mask, since, update, asked)
        elif _had_mask(source):
            problems.append("it was trained under a mask, which has been taken out of it")
        # a ticket is what its run starts from, whatever update its values are of; those of other
        # names, as a search leaves three, are of runs elsewhere
        if source.kind != "ticket":
            self.masks[str(path)] = (update, mask)
        elif path.name == _TICKET:
            self.masks[str(path)] = (0, mask)
            self.ticket = container.digest_of(path)
        problems += self._note(source, update)
        return Checked(
            file=str(path),
            kind=source.kind,
            update=source.update,
            pruned=mask.pruned if mask is not None else None,
            prunable=mask.prunable if mask is not None else None,
            looked_at=tuple(groups),
            problems=tuple(problems),
        )

    def _note(self, source: Source, update: int) -> list[str]:
        """Note what a file says of its run; return what is wrong with that."""
        if source.kind == "snapshot":
            pruner = source.record.get("pruner")  # not said where it is gradual
            self.regrows |= pruner is not None and not only_shrinks(pruner)
        if source.kind != "checkpoint":
            return []
        self.stored.append((update, source.lottery))
        problems = []
        criterion = source.state.get("criterion")
        if has_gates(criterion):
            problems.append(components().problem_of_gates(source, criterion))
        named = source.lottery.get("ticket_digest")
        if self.ticket and named and self.ticket != named:
            problems.append(f"it was trained from another ticket than the {_TICKET} beside it")
        return [problem for problem in problems if problem]

    def _stored_at(self, update: int) -> Mapping[str, Any]:
        """What the next checkpoint after ``update`` says of the run, or the last one before."""
        known = sorted(self.stored, key=lambda one: one[0])
        later = [stored for at, stored in known if at >= update]
        return (later or [stored for _, stored in known[-1:]] or [{}])[0]

    def _grown(self, file: str) -> list[str]:
        """Held against every file of this folder that was looked at before."""
        problems: list[str] = []
        if file not in self.masks:
            return problems
        update, mask = self.masks[file]
        for path, (other_update, before) in self.masks.items():
            if path == file:
                break
            other = Path(path).name
            first, second = (before, mask) if other_update <= update else (mask, before)
            if first is None:
                continue
            if second is None:
                problems.append(f"one of it and {other} has lost its mask")
            elif other_update == update and first != second and "ticket" not in other:
                problems.append(f"its mask is not that of {other}, of the same update")
            elif self._only_shrinks and not second.is_subset_of(first):
                problems.append(f"weights are pruned in one of it and {other} that were back later")
        return problems

    @property
    def _only_shrinks(self) -> bool:
        """Whether no file names a pruner that regrows weights."""
        stored = [state["growth"] for _, state in self.stored if state.get("growth")]
        return not self.regrows and all(read_pruner(pruning).only_shrinks for pruning in stored)


def _groups(source: Source) -> dict[str, Any]:
    """Everything of the weights' shapes that a file holds, by name: it may be anything.

    Raises:
        LotteryError: the optimizer's state is not the model's, or was taken out.
    """
    groups: dict[str, Any] = {**source.groups, **moments_per_weight(source.state, source.path)}
    extra = source.state.get("extra_state") or {}
    groups.update({n: extra[n] for n in ("ema", "ema_fp32_params") if extra.get(n) is not None})
    return groups


def _problems_in(group: str, tensors: Any, groups: Mapping[str, Any], mask: Mask) -> list[str]:
    """What is not as it should be: all matrices of the mask, finite, zero where it prunes."""
    if not isinstance(tensors, Mapping):
        return [f"its {group} is a {type(tensors).__name__}"]
    moments = [groups[one] for one in groups if one not in _WHOLE]
    for name, keep in mask.items():
        found = tensors.get(name)
        # a weight that had no gradient yet, as of a layer that was dropped, has no moments
        if found is None and (group in _WHOLE or any(name in one for one in moments)):
            return [f"its {group} has no {name}"]
        is_tensor = isinstance(found, Tensor) and found.layout == torch.strided
        if found is not None and not (is_tensor and found.shape == keep.shape):
            return [f"its {group} has a {name} that is no tensor of the shape {tuple(keep.shape)}"]
    for name, tensor in tensors.items():
        # fairseq does not initialise its buffers
        known = isinstance(name, str) and is_parameter(name) and isinstance(tensor, Tensor)
        if known and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return [f"its {group} has a {name} with entries that are NaN or infinite"]
    return [
        f"{count} pruned entries of {name} are not zero in its {group}"
        for name, count in count_leaks(tensors, mask).items()
    ]


def _had_mask(source: Source) -> bool:
    """Whether a checkpoint without a mask says that it had one."""
    task = settings_of(settings_of(source.state.get("cfg")).get("task"))
    asked = any(task.get(name) not in (None, "") for name in _MASKED)
    return asked or any(source.lottery.get(name) for name in ("growth", "ticket"))


def _other_count(mask: Mask, since: int, update: int, stored: Mapping[str, Any]) -> list[str]:
    """Whether exactly as much is pruned as the schedule or the ticket says.

    Args:
        since: the last update at which the schedule may have begun; a snapshot of that very
            update may be of the training before it.
    """
    if stored.get("growth") is not None:
        pruner = read_pruner(stored["growth"])
        due = pruner.sparsity_at(update)
        if due is not None and since >= pruner.start and not has_sparsity(mask, due):
            return [f"{mask.pruned} of {mask.prunable} weights are pruned, and {due:g} is due"]
        return []
    asked = (stored.get("ticket") or {}).get("sparsity")
    if asked is not None and not rounds_to(mask.pruned, mask.prunable, asked):
        return [f"its sparsity is {mask.sparsity:.6f}, and its ticket's is {asked:.6f}"]
    return []

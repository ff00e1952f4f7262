"""Check the files of a training: readable, at their sparsity, zero where they are pruned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import components
from fairseq_lottery.formats import container, mask_from_state
from fairseq_lottery.formats.checkpoints.optimizer_moments import moments_per_weight
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.formats.checkpoints.tied_parameters import is_parameter
from fairseq_lottery.formats.mask_leaks import count_leaks
from fairseq_lottery.formats.pair_masks import stored_pair_masks
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.masks import Mask, has_sparsity, read_pruner, rounds_to
from fairseq_lottery.masks.pruners import only_shrinks

#: groups with an entry for every matrix; moments exist only after a first gradient
_COMPLETE = ("weights", "masters", "ema", "ema_fp32_params")
#: settings of a task that give its run a mask
_MASK_SETTINGS = ("ticket", "mask_from", "prune_to")
#: file of the ticket that a run has drawn or was started from
_TICKET = "ticket.safetensors"


@dataclass(frozen=True)
class CheckedFile:
    """Result of checking one file.

    Attributes:
        file: path.
        kind: ``checkpoint``, ``snapshot``, ``ticket`` or ``unreadable``.
        update: number of updates before it was written.
        pruned, prunable: weight counts of its mask; None for a dense file.
        checked: groups of tensors whose pruned entries were checked: ``weights``, ``masters``,
            the optimizer's moments, ``ema``, ``ema_fp32_params``.
        problems: one sentence per problem.
    """

    file: str
    kind: str
    update: Optional[int]
    pruned: Optional[int]
    prunable: Optional[int]
    checked: tuple[str, ...]
    problems: tuple[str, ...]


def check_folder(folder: Union[str, Path]) -> list[CheckedFile]:
    """Check every checkpoint, snapshot and ticket in a folder and in those below it.

    Each file must be readable and finite. Wherever its mask prunes, it must be zero: in weights,
    masters, optimizer state and EMA of all matrices. Its sparsity must be that of its ticket or
    pruner; the pruner of a snapshot is read from the next checkpoint.

    The masks in one folder must only shrink, unless a file names a pruner that regrows weights.
    ``ticket.safetensors`` must be the ticket that the checkpoints name. Tickets with other file
    names are checked alone.

    Raises:
        LotteryError: the folder does not exist, or has no file to check.
    """
    root = Path(folder)
    if not root.is_dir():
        raise LotteryError(
            f"{root} is not a folder; give the save-dir of a run, or a folder above it"
        )
    checked: list[CheckedFile] = []
    for place in sorted({path.parent for path in _files(root)}):
        checked += _Run(place).check()
    if not checked:
        raise LotteryError(f"{root} contains no checkpoint, snapshot or ticket")
    return checked


def _files(root: Path) -> Iterator[Path]:
    for pattern in ("*.pt", "*.safetensors"):
        yield from (path for path in root.rglob(pattern) if not path.name.startswith("."))


class _Run:
    """The files of one folder; only one is in memory at a time, besides all masks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: path -> update and mask, None for a dense file
        self.masks: dict[str, tuple[int, Optional[Mask]]] = {}
        #: digest of its ticket.safetensors
        self.ticket: Optional[str] = None
        #: whether a snapshot names a pruner that regrows weights
        self.regrows = False
        #: update and stored entries of each checkpoint
        self.stored: list[tuple[int, Mapping[str, Any]]] = []

    def check(self) -> list[CheckedFile]:
        """Check the ticket first, then checkpoints, then the files that are compared with both."""
        paths = [path for path in _files(self.folder) if path.parent == self.folder]
        paths.sort(key=lambda path: (path.name != _TICKET, path.suffix != ".pt", path))
        checked = [self._check(path) for path in paths]
        # whether masks only shrink is known only after all checkpoints were read
        return [
            replace(file, problems=(*file.problems, *self._mask_changes(file.file)))
            for file in checked
        ]

    def _check(self, path: Path) -> CheckedFile:
        try:
            source = read_source(path)
        except LotteryError as error:
            return CheckedFile(str(path), "unreadable", None, None, None, (), (str(error),))
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
            run = self._stored_at(update) if is_snapshot else stored
            problems += _sparsity_problems(mask, since, update, run)
            problems += _pair_problems(mask, stored)
            problems += _exploration_problems(mask, stored)
        elif _had_mask(source):
            problems.append("it was trained under a mask but contains none")
        # a run starts from its ticket, so the ticket counts as update 0, whichever update its
        # values have; tickets with other file names, such as the three of a search, belong to
        # other runs
        if source.kind != "ticket":
            self.masks[str(path)] = (update, mask)
        elif path.name == _TICKET:
            self.masks[str(path)] = (0, mask)
            self.ticket = container.digest_of(path)
        problems += self._note(source, update)
        return CheckedFile(
            file=str(path),
            kind=source.kind,
            update=source.update,
            pruned=mask.pruned if mask is not None else None,
            prunable=mask.prunable if mask is not None else None,
            checked=tuple(groups),
            problems=tuple(problems),
        )

    def _note(self, source: Source, update: int) -> list[str]:
        """Record the entries of a file about its run; return their problems."""
        if source.kind == "snapshot":
            pruner = source.record.get("pruner")  # missing for gradual
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
            problems.append(f"its ticket is not the {_TICKET} in its folder")
        return [problem for problem in problems if problem]

    def _stored_at(self, update: int) -> Mapping[str, Any]:
        """Return the entries of the next checkpoint from ``update`` on, else of the last one."""
        ordered = sorted(self.stored, key=lambda pair: pair[0])
        later = [stored for stored_update, stored in ordered if stored_update >= update]
        return (later or [stored for _, stored in ordered[-1:]] or [{}])[0]

    def _mask_changes(self, file: str) -> list[str]:
        """Compare the mask with those of all files that were checked before."""
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
                problems.append(f"its mask or that of {other} is missing")
            elif other_update == update and first != second and "ticket" not in other:
                problems.append(f"its mask differs from that of {other}, which has the same update")
            elif self._only_shrinks and not second.is_subset_of(first):
                problems.append(f"between it and {other}, pruned weights were regrown")
        return problems

    @property
    def _only_shrinks(self) -> bool:
        """Whether no file names a pruner that regrows weights."""
        stored = [state["growth"] for _, state in self.stored if state.get("growth")]
        return not self.regrows and all(read_pruner(pruning).only_shrinks for pruning in stored)


def _groups(source: Source) -> dict[str, Any]:
    """Return weights, masters, moments and EMA by name, not validated yet.

    Raises:
        LotteryError: the optimizer's state is missing or not that of the model.
    """
    groups: dict[str, Any] = {**source.groups, **moments_per_weight(source.state, source.path)}
    extra = source.state.get("extra_state") or {}
    groups.update({n: extra[n] for n in ("ema", "ema_fp32_params") if extra.get(n) is not None})
    return groups


def _problems_in(group: str, tensors: Any, groups: Mapping[str, Any], mask: Mask) -> list[str]:
    """Return the first malformed tensor, or else every matrix with nonzero pruned entries."""
    if not isinstance(tensors, Mapping):
        return [f"its {group} is a {type(tensors).__name__}"]
    moments = [tensors for name, tensors in groups.items() if name not in _COMPLETE]
    for name, keep in mask.items():
        entry = tensors.get(name)
        # weights that had no gradient so far, as under LayerDrop, have no moments
        if entry is None and (group in _COMPLETE or any(name in moment for moment in moments)):
            return [f"its {group} has no {name}"]
        is_tensor = isinstance(entry, Tensor) and entry.layout == torch.strided
        if entry is not None and not (is_tensor and entry.shape == keep.shape):
            return [f"its {group} of {name} is not a tensor of shape {tuple(keep.shape)}"]
    for name, tensor in tensors.items():
        # fairseq does not initialise its buffers
        is_checked = isinstance(name, str) and is_parameter(name) and isinstance(tensor, Tensor)
        if is_checked and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return [f"its {group} has a {name} with entries that are NaN or infinite"]
    return [
        f"{count} pruned entries of {name} are not zero in its {group}"
        for name, count in count_leaks(tensors, mask).items()
    ]


def _exploration_problems(mask: Mask, stored: Mapping[str, Any]) -> list[str]:
    """Compare the mask with the weights that the run has explored, which include it."""
    if not stored.get("explored"):
        return []
    try:
        both = mask_from_state(stored["explored"]).intersection(mask)
    except LotteryError as error:
        return [str(error)]
    return [] if both == mask else ["its explored weights do not include its mask"]


def _pair_problems(mask: Mask, stored: Mapping[str, Any]) -> list[str]:
    """Compare the mask with the union of the masks of pairs."""
    pairs = stored_pair_masks(stored)
    if pairs is None or pairs.union == mask:
        return []
    return ["its mask is not the union of its masks of pairs"]


def _had_mask(source: Source) -> bool:
    """Return whether the settings of a checkpoint without a mask require one."""
    task = source.settings.task
    is_masked = any(task.get(name) not in (None, "") for name in _MASK_SETTINGS)
    return is_masked or any(source.lottery.get(name) for name in ("growth", "ticket"))


def _sparsity_problems(mask: Mask, since: int, update: int, stored: Mapping[str, Any]) -> list[str]:
    """Compare the sparsity of the mask with that of the schedule or the ticket.

    Args:
        since: the schedule is checked only if it starts by this update. It is ``update`` - 1 for a
            snapshot, because the previous training may have written a snapshot at the start.
    """
    if stored.get("growth") is not None:
        pruner = read_pruner(stored["growth"])
        due = pruner.sparsity_at(update)
        if due is not None and since >= pruner.start and not has_sparsity(mask, due):
            return [
                f"its sparsity is {mask.pruned}/{mask.prunable}, expected {due:g} by the schedule"
            ]
        return []
    sparsity = (stored.get("ticket") or {}).get("sparsity")
    if sparsity is not None and not rounds_to(mask.pruned, mask.prunable, sparsity):
        return [f"its sparsity is {mask.sparsity:.6f}, expected {sparsity:.6f} as in its ticket"]
    return []

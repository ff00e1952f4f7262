"""Checking the files that a training has left: whole, at their sparsity, and truly zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Gradual, Mask, count_to_prune
from fairseq_lottery.tickets import container
from fairseq_lottery.tickets.moments import read_moments
from fairseq_lottery.tickets.parameters import untie
from fairseq_lottery.tickets.sources import read_checkpoint, read_source


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

    Each file has to be whole and finite, zero wherever its mask prunes (weights, masters,
    optimizer state and EMA), and at the sparsity that its ticket or its schedule says. In one
    folder masks only shrink, and its ticket is the one that its checkpoints name.

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
        self.masks: list[tuple[int, str, Optional[Mask]]] = []
        self.tickets: dict[str, str] = {}

    def check(self) -> list[Checked]:
        paths = sorted(path for path in _files(self.folder) if path.parent == self.folder)
        tickets = [path for path in paths if path.name == "ticket.safetensors"]
        found = [self._check(path) for path in tickets]  # what all others are held against
        return found + [self._check(path) for path in paths if path not in tickets]

    def _check(self, path: Path) -> Checked:
        try:
            source = read_source(path)
        except LotteryError as error:
            return Checked(str(path), "unreadable", None, None, None, (), (str(error),))
        problems: list[str] = []
        state: dict[str, Any] = {}
        stored: dict[str, Any] = {}
        if source.kind == "checkpoint":
            state = read_checkpoint(path)
            stored = (state.get("task_state") or {}).get("lottery") or {}
        elif source.kind == "ticket":
            self.tickets[path.name] = container.digest_of(path)
        mask, update = source.mask, int(source.update or 0)
        groups = _tensors(source.weights, state, path) if mask is not None else {}
        for group, tensors in groups.items():
            problems += _not_zero(group, tensors, mask) if mask is not None else []
        if mask is not None:
            problems += _other_count(mask, update, stored)
        problems += self._other_ticket(stored)
        # a ticket is what its run starts from, whatever update its values are of
        problems += self._grown(0 if source.kind == "ticket" else update, path.name, mask)
        return Checked(
            file=str(path),
            kind=source.kind,
            update=source.update,
            pruned=mask.pruned if mask is not None else None,
            prunable=mask.prunable if mask is not None else None,
            looked_at=tuple(groups),
            problems=tuple(problems),
        )

    def _other_ticket(self, stored: Mapping[str, Any]) -> list[str]:
        here, named = self.tickets.get("ticket.safetensors"), stored.get("ticket_digest")
        if here and named and here != named:
            return ["it was trained from another ticket than the ticket.safetensors beside it"]
        return []

    def _grown(self, update: int, name: str, mask: Optional[Mask]) -> list[str]:
        """Held against every file of this folder that was looked at before."""
        problems = []
        for other_update, other, before in self.masks:
            first, second = (before, mask) if other_update <= update else (mask, before)
            if first is None:
                continue
            if second is None:
                problems.append(f"one of it and {other} has lost its mask")
            elif other_update == update and first != second and "ticket" not in other:
                problems.append(f"its mask is not that of {other}, of the same update")
            elif not second.is_subset_of(first):
                problems.append(f"weights are pruned in one of it and {other} that were back later")
        self.masks.append((update, name, mask))
        return problems


def _tensors(
    weights: Mapping[str, Tensor], state: Mapping[str, Any], path: Path
) -> dict[str, Mapping[str, Tensor]]:
    """Every group of tensors of the weights' shapes that a file holds, by name."""
    groups: dict[str, Mapping[str, Tensor]] = {"weights": weights}
    if not state:
        return groups
    groups["weights"] = untie(state["model"])[0]
    optimizer = state.get("last_optimizer_state") or {}
    masters = (optimizer.get("lottery") or {}).get("masters")
    if masters:
        groups["masters"] = masters
    try:
        groups.update(read_moments(dict(state), path)[0])
    except LotteryError:
        pass  # none was saved, or it is factored: then there is no entry for each weight
    extra = state.get("extra_state") or {}
    for name in ("ema", "ema_fp32_params"):
        if extra.get(name):
            groups[name] = extra[name]
    return groups


def _not_zero(group: str, tensors: Mapping[str, Tensor], mask: Mask) -> list[str]:
    problems = []
    for name, keep in mask.items():
        if name not in tensors:
            continue
        count = int(torch.count_nonzero(tensors[name][~keep]))
        if count:
            problems.append(f"{count} pruned entries of {name} are not zero in its {group}")
    return problems


def _other_count(mask: Mask, update: int, stored: Mapping[str, Any]) -> list[str]:
    """Whether exactly as much is pruned as the schedule or the ticket says."""
    if stored.get("growth"):
        gradual = Gradual(**stored["growth"])
        if update < gradual.start:
            return []
        due = gradual.reached(update)
        together = mask.pruned == count_to_prune(due, mask.prunable)
        if not together and any(
            mask.pruned_in(name) != count_to_prune(due, mask.size(name)) for name in mask
        ):
            return [f"{mask.pruned} of {mask.prunable} weights are pruned, and {due:g} is due"]
        return []
    asked = (stored.get("ticket") or {}).get("sparsity")
    if asked is not None and abs(asked - mask.sparsity) * mask.prunable >= 0.5:
        return [f"its sparsity is {mask.sparsity:.6f}, and its ticket's is {asked:.6f}"]
    return []

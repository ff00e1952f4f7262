"""The evaluated model of a cell: best, last or averaged, with the cell's sparsity."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.formats import Source, read_checkpoint, read_source, save_mask
from fairseq_lottery.formats.mask_leaks import count_leaks
from fairseq_lottery.formats.pair_masks import stored_pair_masks
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import find_pruned, weight_masks
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of
from fairseq_lottery.masks import Mask, PairMasks, count_to_prune, full_mask, rounds_to
from fairseq_lottery.masks.prunable import PRUNABLE_SETS, prunable_matrices
from fairseq_lottery.records.cells import mask_file
from fairseq_lottery.tickets.average import average, last_checkpoints
from fairseq_lottery.workflow.trainings.training import model_file


@dataclass(frozen=True)
class Measured:
    """Counts of pruned weights or components in a model, under the names of records.

    Attributes:
        pruned, prunable: numbers of weights, or of components.
        denominator: the prunable set, or the kind of components.
        signature: signature of the model's ticket; None without one.
        matrices: matrix -> share of its prunable weights that is kept.
        closed: kind -> share of components that is pruned; None if the row prunes none.
        mask: mask of the model; None if it has none, or a mask for each pair of languages.
        pairs: pair -> sparsity of its mask; None if the model has one mask. The counts are then
            those of one pair's mask, and ``matrices`` has the means of all pairs.
        pair_mask: pair or combination whose mask is counted; None if the model has one mask.
    """

    update: int
    pruned: int
    prunable: int
    denominator: str
    signature: Optional[str]
    matrices: dict[str, float]
    closed: Optional[dict[str, float]] = None
    mask: Optional[Mask] = None
    pairs: Optional[dict[str, float]] = None
    pair_mask: Optional[str] = None

    @property
    def record(self) -> dict[str, Any]:
        """Entries of the training's record."""
        omitted = ("mask",) if self.pairs is not None else ("mask", "pairs", "pair_mask")
        names = [field.name for field in fields(self) if field.name not in omitted]
        return {name: getattr(self, name) for name in names}

    @property
    def row(self) -> dict[str, Any]:
        """Entries of each row of scores."""
        facts = {**self.record, "signature_of_ticket": self.signature}
        omitted = ("matrices", "signature", "pairs") + (("closed",) if self.closed is None else ())
        return {name: value for name, value in facts.items() if name not in omitted}


def choose(folder: Path, checkpoint: str, out: Optional[Path] = None) -> Path:
    """Write the model ``best``, ``last`` or ``average:N`` without its optimizer.

    Args:
        folder: the save-dir.
        out: folder of the model, by default the save-dir.

    Raises:
        LotteryError: the checkpoint is missing.
    """
    kind, _, count = checkpoint.partition(":")
    target = (out or folder) / model_file(checkpoint)
    if kind == "average":
        average(last_checkpoints([folder], int(count)), target, overwrite=True)
        return target
    source = folder / f"checkpoint_{kind}.pt"
    if not source.is_file():
        hint = (
            "; a validation after the last pruning step writes it, so give"
            " --validate-interval-updates"
        )
        raise LotteryError(f"{folder} has no {source.name}{hint if kind == 'best' else ''}")
    state = read_checkpoint(source)
    with replacing(target) as temporary, open(temporary, "wb") as file:
        # torch.save would store a file name in the file
        torch.save({**state, "last_optimizer_state": None}, file)
    return target


def write_mask(model: Path, mask: Optional[Mask]) -> None:
    """Write the mask of a model to a file in its folder, with one bit per weight, for reports."""
    if mask is not None:
        save_mask(mask_file(model), mask)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``measure`` to the command line of a stage."""
    add = parser.add_argument
    add("--model", type=Path, required=True)
    add("--sparsity", type=float, required=True)
    add("--components", help="choice of pruned heads and FFN units, or ticket with the mask")
    add("--kind", help="kind of the components that the row counts")
    add("--share", type=float, help="share of these components that is pruned")
    add("--pair-mask", help="mask that is counted of a model with masks of pairs of languages")


def measure(
    model: Path,
    sparsity: float,
    components: Optional[str] = None,
    kind: Optional[str] = None,
    share: Optional[float] = None,
    pair_mask: Optional[str] = None,
) -> Measured:
    """Count the pruned weights or components of a model, and check them against its row.

    Args:
        sparsity: sparsity of the row; with ``components``, of the weights of kept components.
        components: choice of the pruned components, or ticket with the required mask.
        kind: kind of the components that the row counts; ``weights`` for a mask.
        share: share of these components that is pruned; None if a search determined it.
        pair_mask: pair or combination whose mask is counted, of a model with masks of pairs; by
            default the first pair.

    Raises:
        LotteryError: the sparsity differs by more than rounding each matrix, the share differs,
            or a pruned weight is not zero.
    """
    source = read_source(model)
    mask = source.mask if source.mask is not None else full_mask(source.shapes)
    _refuse_weights(source, mask, "its mask prunes")
    if kind == "weights":
        return _measure_search(source, str(components))
    masks = stored_pair_masks(source.lottery)
    if masks is not None:
        return _measure_pairs(source, masks, sparsity, pair_mask)
    measured = _count(mask, source)
    if components is not None:
        choice, _ = load_choice(components)
        _refuse_other_choice(source, mask, choice, components, str(kind), share, sparsity)
        return replace(
            measured,
            pruned=choice.count_pruned(str(kind)),
            prunable=choice.count(str(kind)),
            denominator=str(kind),
            closed={name: choice.count_pruned(name) / choice.count(name) for name in KINDS},
        )
    if not _has_sparsity(mask, sparsity):
        raise LotteryError(
            f"sparsity of {model} is {mask.sparsity:.4f} ({mask.pruned} of {mask.prunable}),"
            f" expected {sparsity:g}; it was saved before the last pruning step, so train again or"
            " evaluate checkpoint: last"
        )
    return measured


def _has_sparsity(mask: Mask, sparsity: float) -> bool:
    return rounds_to(mask.pruned, mask.prunable, sparsity, len(mask) + 1)


def _measure_pairs(
    source: Source, masks: PairMasks, sparsity: float, pair_mask: Optional[str]
) -> Measured:
    """Return the counts of the mask of a pair, after all of them are checked."""
    for pair, mask in masks.items():
        if not _has_sparsity(mask, sparsity):
            raise LotteryError(
                f"mask of {pair} in {source.path} has sparsity {mask.sparsity:.4f}, expected"
                f" {sparsity:g}; train again"
            )
    rule = pair_mask or next(iter(masks))
    kept = {name: [1 - mask.sparsity_of(name) for mask in masks.values()] for name in masks.union}
    return replace(
        _count(masks.find(rule, rule), source),
        matrices={name: statistics.fmean(shares) for name, shares in kept.items()},
        mask=None,
        pairs={pair: mask.sparsity for pair, mask in masks.items()},
        pair_mask=rule,
    )


def _refuse_weights(source: Source, kept: Mapping[str, Tensor], cause: str) -> None:
    """Raise an error if a weight is not zero where ``kept`` is false."""
    for name in count_leaks(source.weights, kept):
        raise LotteryError(f"{source.path}: {name} has nonzero weights that {cause}; train again")


def _refuse_other_choice(
    source: Source,
    mask: Mask,
    choice: ComponentMask,
    path: str,
    kind: str,
    share: Optional[float],
    sparsity: float,
) -> None:
    """Raise an error if a model's pruned components or the sparsity of the others differ."""
    pruned, total = choice.count_pruned(kind), choice.count(kind)
    if share is not None and pruned != count_to_prune(share, total):
        raise LotteryError(
            f"{path} prunes {pruned} of {total} {kind}, expected a share of {share:g}; delete it"
        )
    component_masks = weight_masks(choice, source.shapes)
    _refuse_weights(source, component_masks, f"{path} prunes")
    count = lost = 0
    for name, keep in mask.items():
        in_kept = component_masks.get(name)
        extra = int((~keep if in_kept is None else ~keep & in_kept).sum())
        if extra and not sparsity:
            raise LotteryError(
                f"{source.path}: {extra} pruned weights of {name} are in components that {path}"
                " keeps; train again"
            )
        count += mask.size(name) - (0 if in_kept is None else int((~in_kept).sum()))
        lost += extra
    if not rounds_to(lost, count, sparsity, len(mask) + 1):
        raise LotteryError(
            f"{source.path} prunes {lost} of {count} weights in components that {path} keeps,"
            f" expected a sparsity of {sparsity:g}; train again"
        )


def _count(mask: Mask, source: Source) -> Measured:
    return Measured(
        update=int(source.update or 0),
        pruned=mask.pruned,
        prunable=mask.prunable,
        denominator=_set_of(mask, source.shapes),
        signature=source.record.get("signature"),
        matrices={name: 1 - mask.sparsity_of(name) for name in mask},
        mask=source.mask,
    )


def _measure_search(source: Source, path: str) -> Measured:
    """Return the counts of a search: pruned weights, and components without used weights."""
    mask = read_source(path).mask
    if mask is None:
        raise LotteryError(f"{path} has no mask; delete it")
    _refuse_weights(source, mask, f"{path} prunes")
    if source.is_pruned and source.mask != mask:
        raise LotteryError(f"mask of {source.path} does not match {path}; train again")
    # a head without queries and keys attends evenly, so its values and biases still count
    read = {name: keep.float() for name, keep in mask.items() if "q_proj" not in name}
    empty = find_pruned(read, anatomy_of(source))
    closed = {kind: empty.count_pruned(kind) / empty.count(kind) for kind in KINDS}
    return replace(_count(mask, source), closed={**closed, "weights": mask.sparsity})


def _set_of(mask: Mask, shapes: dict[str, tuple[int, ...]]) -> str:
    """Return the name of the prunable set that a mask covers."""
    for name in PRUNABLE_SETS:
        if set(prunable_matrices(shapes, name)) == set(mask):
            return name
    return "selected-matrices"

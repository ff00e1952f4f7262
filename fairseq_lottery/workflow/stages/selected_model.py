"""The weights that a cell is judged by: best, last or averaged, at the cell's own sparsity."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import mask_file
from fairseq_lottery.workflow.trainings.training import model_file

if TYPE_CHECKING:
    from torch import Tensor

    from fairseq_lottery.formats import Source
    from fairseq_lottery.heads.components.component_mask import ComponentMask
    from fairseq_lottery.masks import Mask


@dataclass(frozen=True)
class Measured:
    """What a model is, counted in the model itself.

    Attributes:
        pruned, prunable: weights that its mask removes, of how many; or pruned components, of how
            many.
        denominator: the prunable set, or the kind of components.
        signature: of the ticket that it started from, None without one.
        matrices: matrix -> share of its prunable weights that is left.
        closed: kind -> share of these components that is pruned; None where none was to be.
        mask: its own, None for a model that has none.
    """

    update: int
    pruned: int
    prunable: int
    denominator: str
    signature: Optional[str]
    matrices: dict[str, float]
    closed: Optional[dict[str, float]] = None
    mask: Optional[Mask] = None

    @property
    def record(self) -> dict[str, Any]:
        """What the record of its training says of it."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "mask"}

    @property
    def row(self) -> dict[str, Any]:
        """What each row of its scores says of it."""
        facts = {**self.record, "signature_of_ticket": self.signature}
        left_out = ("matrices", "signature") + (("closed",) if self.closed is None else ())
        return {name: value for name, value in facts.items() if name not in left_out}


def choose(folder: Path, checkpoint: str, out: Optional[Path] = None) -> Path:
    """Write the model that ``checkpoint`` (best, last, average:N) names, without its optimizer.

    Args:
        folder: the save-dir.
        out: where to; beside it unless given.

    Raises:
        LotteryError: fairseq left no such checkpoint.
    """
    import torch

    from fairseq_lottery.files import replacing
    from fairseq_lottery.formats import read_checkpoint
    from fairseq_lottery.tickets.average import average, last_checkpoints

    kind, _, count = checkpoint.partition(":")
    target = (out or folder) / model_file(checkpoint)
    if kind == "average":
        average(last_checkpoints([folder], int(count)), target, overwrite=True)
        return target
    source = folder / f"checkpoint_{kind}.pt"
    if not source.is_file():
        hint = (
            "; it is written when a validation finds one, so give --validate-interval-updates"
            " (none counts while the sparsity increases)"
        )
        raise LotteryError(f"{folder} has no {source.name}{hint if kind == 'best' else ''}")
    state = read_checkpoint(source)
    with replacing(target) as temporary, open(temporary, "wb") as file:
        torch.save({**state, "last_optimizer_state": None}, file)  # a name would be stored in it
    return target


def leave_mask(model: Path, mask: Optional[Mask]) -> None:
    """Write the mask of a model beside it, in a file of a bit per weight, for reports."""
    from fairseq_lottery.formats import save_mask

    if mask is not None:
        save_mask(mask_file(model), mask)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``measure`` to the command line of a stage."""
    add = parser.add_argument
    add("--model", type=Path, required=True)
    add("--sparsity", type=float, required=True)
    add("--components", help="choice of the heads and FFN units that the model has pruned")
    add("--kind", help="of the components that its row counts")
    add("--share", type=float, help="of these components, that its row says is pruned")


def measure(
    model: Path,
    sparsity: float,
    components: Optional[str] = None,
    kind: Optional[str] = None,
    share: Optional[float] = None,
) -> Measured:
    """Count what a model's mask removes, and refuse a model that is not its row's.

    Args:
        sparsity: the row's; with ``components`` of the weights of the components that are kept.
        components: choice of the heads and FFN units that it shall have pruned, or the ticket
            whose mask it shall have.
        kind: of the components that the row counts; ``weights`` for a mask.
        share: of them that the row says is pruned; None where a search has found it.

    Raises:
        LotteryError: it is denser or sparser than ``sparsity``, beyond rounding each matrix to
            whole weights, or has another share pruned; weights that its mask removes, or of
            components that are pruned, are not zero.
    """
    from fairseq_lottery.formats import read_source
    from fairseq_lottery.heads.components.anatomy import KINDS
    from fairseq_lottery.heads.components.choice_file import load_choice
    from fairseq_lottery.masks import full_mask, rounds_to

    source = read_source(model)
    mask = source.mask if source.mask is not None else full_mask(source.shapes)
    _refuse_weights(source, mask, "that its mask removes")
    found = Measured(
        update=int(source.update or 0),
        pruned=mask.pruned,
        prunable=mask.prunable,
        denominator=_set_of(mask, source.shapes),
        signature=source.record.get("signature"),
        matrices={name: 1 - mask.sparsity_of(name) for name in mask},
        mask=source.mask,
    )
    if kind == "weights":
        return _with_mask(found, source, str(components))
    if components is not None:
        choice, _ = load_choice(components)
        _refuse_other_choice(source, mask, choice, components, str(kind), share, sparsity)
        return replace(
            found,
            pruned=choice.count_pruned(str(kind)),
            prunable=choice.count(str(kind)),
            denominator=str(kind),
            closed={one: choice.count_pruned(one) / choice.count(one) for one in KINDS},
        )
    if not rounds_to(mask.pruned, mask.prunable, sparsity, len(mask) + 1):
        raise LotteryError(
            f"{model} has lost {mask.pruned} of {mask.prunable} weights ({mask.sparsity:.4f}), but"
            f" its row is {sparsity:g}; it was saved before its mask was complete, so train again"
            " or evaluate checkpoint: last"
        )
    return found


def _refuse_weights(source: Source, kept: Mapping[str, Tensor], which: str) -> None:
    """Refuse weights where ``kept`` is false."""
    from fairseq_lottery.formats.mask_leaks import count_leaks

    for name in count_leaks(source.weights, kept):
        raise LotteryError(f"{source.path}: {name} has weights {which}")


def _refuse_other_choice(
    source: Source,
    mask: Mask,
    choice: ComponentMask,
    path: str,
    kind: str,
    share: Optional[float],
    sparsity: float,
) -> None:
    """Refuse a model without this choice pruned, or with another share of the rest pruned."""
    from fairseq_lottery.heads.components.pruned_weights import weight_masks
    from fairseq_lottery.masks import count_to_prune, rounds_to

    pruned, total = choice.count_pruned(kind), choice.count(kind)
    if share is not None and pruned != count_to_prune(share, total):
        raise LotteryError(
            f"{path} prunes {pruned} of {total} {kind}, but its row is {share:g}; delete it"
        )
    kept = weight_masks(choice, source.shapes)
    _refuse_weights(source, kept, f"of components that {path} prunes")
    count = lost = 0
    for name, keep in mask.items():
        left = kept.get(name)
        gone = int((~keep if left is None else ~keep & left).sum())
        if gone and not sparsity:
            raise LotteryError(
                f"{source.path}: {name} has lost weights of components that {path} keeps"
            )
        count += mask.size(name) - (0 if left is None else int((~left).sum()))
        lost += gone
    if not rounds_to(lost, count, sparsity, len(mask) + 1):
        raise LotteryError(
            f"{source.path} has lost {lost} of {count} weights that {path} keeps, but its"
            f" row is {sparsity:g} of them; train it again"
        )


def _with_mask(found: Measured, source: Source, path: str) -> Measured:
    """Count the weights that a search has pruned, and the components that nothing reads any more.

    The model's own mask is the search's, if it has one.
    """
    from fairseq_lottery.formats import read_source
    from fairseq_lottery.heads.components.anatomy import KINDS
    from fairseq_lottery.heads.components.pruned_weights import find_pruned
    from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of

    mask = read_source(path).mask
    if mask is None:
        raise LotteryError(f"{path} has no mask; delete it")
    _refuse_weights(source, mask, f"that {path} prunes")
    if source.is_pruned and source.mask != mask:
        raise LotteryError(f"{source.path} has another mask than {path}; train it again")
    # heads without queries and keys are no empty ones: their values count, and so do biases
    read = {name: keep.float() for name, keep in mask.items() if "q_proj" not in name}
    empty = find_pruned(read, anatomy_of(source))
    return replace(
        found,
        pruned=mask.pruned,
        prunable=mask.prunable,
        denominator=_set_of(mask, source.shapes),
        matrices={name: 1 - mask.sparsity_of(name) for name in mask},
        closed={**{k: empty.count_pruned(k) / empty.count(k) for k in KINDS},
                "weights": mask.sparsity},
    )  # fmt: skip


def _set_of(mask: Mask, shapes: dict[str, tuple[int, ...]]) -> str:
    """The name of the prunable set that a mask covers."""
    from fairseq_lottery.masks.prunable import PRUNABLE_SETS, prunable_matrices

    for name in PRUNABLE_SETS:
        if set(prunable_matrices(shapes, name)) == set(mask):
            return name
    return "selected-matrices"

"""The weights that a cell is judged by: best, last or averaged, at the cell's own sparsity."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.trainings.training import model_file


@dataclass(frozen=True)
class Measured:
    """What a model is, counted in the model itself.

    Attributes:
        update: updates behind it.
        pruned, prunable: weights that its mask removes, of how many; or closed parts, of how many.
        denominator: the prunable set, or the kind of parts.
        signature: of the ticket that it started from, None without one.
        matrices: matrix -> share of its prunable weights that is left.
        closed: kind -> share of these parts that is closed; None where nothing was to be.
    """

    update: int
    pruned: int
    prunable: int
    denominator: str
    signature: Optional[str]
    matrices: dict[str, float]
    closed: Optional[dict[str, float]] = None


def record_of(measured: Measured) -> dict[str, Any]:
    """Return what each row of a model's scores says of the model."""
    facts = asdict(measured)
    facts.pop("matrices")
    facts["signature_of_ticket"] = facts.pop("signature")
    if facts["closed"] is None:
        facts.pop("closed")
    return facts


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
    from fairseq_lottery.formats.source import read_checkpoint
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
            " (while a mask grows none counts)"
        )
        raise LotteryError(f"{folder} has no {source.name}{hint if kind == 'best' else ''}")
    state = read_checkpoint(source)
    with replacing(target) as temporary, open(temporary, "wb") as file:
        torch.save({**state, "last_optimizer_state": None}, file)  # a name would be stored in it
    return target


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``measure`` to the command line of a stage."""
    add = parser.add_argument
    add("--model", type=Path, required=True)
    add("--sparsity", type=float, required=True)
    add("--parts", help="file of the heads and FFN units that the model has closed")
    add("--kind", help="of the parts that its row counts")
    add("--share", type=float, help="of these parts, that its row says is closed")


def measure(
    model: Path,
    sparsity: float,
    parts: Optional[str] = None,
    kind: Optional[str] = None,
    share: Optional[float] = None,
) -> Measured:
    """Count what a model's mask removes, and refuse a model that is not its row's.

    Args:
        sparsity: the row's; with ``parts`` of the weights that they leave open.
        parts: file of the heads and FFN units that it shall have closed, or the ticket whose
            mask it shall have.
        kind: of the parts that the row counts; ``weights`` for a mask.
        share: of them that the row says is closed; None where a search has found it.

    Raises:
        LotteryError: it is denser or sparser than ``sparsity``, beyond rounding each matrix to
            whole weights, or has another share closed; weights that its mask removes, or of parts
            that are closed, are not zero.
    """
    from fairseq_lottery.formats.source import read_checkpoint, read_source
    from fairseq_lottery.heads.components.anatomy import KINDS
    from fairseq_lottery.heads.components.parts_file import load_parts
    from fairseq_lottery.masks import full_mask

    state = read_checkpoint(model)
    source = read_source(model)
    lottery: dict[str, Any] = (state.get("task_state") or {}).get("lottery") or {}
    mask = source.mask if source.mask is not None else full_mask(source.shapes)
    for name, keep in mask.items():
        if bool((source.weights[name][~keep] != 0).any()):
            raise LotteryError(f"{model}: {name} has weights that its mask removes")
    found = Measured(
        update=int(source.update or 0),
        pruned=mask.pruned,
        prunable=mask.prunable,
        denominator=_set_of(mask, source.shapes),
        signature=(lottery.get("ticket") or {}).get("signature"),
        matrices={name: 1 - mask.sparsity_of(name) for name in mask},
    )
    if kind == "weights":
        return _with_mask(found, model, source, str(parts))
    if parts is not None:
        choice, _ = load_parts(parts)
        closed = _closed(model, source, choice, parts, str(kind), share)
        _refuse_other_share(model, mask, closed, parts, sparsity)
        return replace(
            found,
            pruned=choice.count_closed(str(kind)),
            prunable=choice.count(str(kind)),
            denominator=str(kind),
            closed={one: choice.count_closed(one) / choice.count(one) for one in KINDS},
        )
    if abs(mask.pruned - sparsity * mask.prunable) > 0.5 * len(list(mask)) + 0.5:
        raise LotteryError(
            f"{model} has lost {mask.pruned} of {mask.prunable} weights ({mask.sparsity:.4f}), but"
            f" its row is {sparsity:g}; it was saved before its mask was complete, so train again"
            " or evaluate checkpoint: last"
        )
    return found


def _closed(
    model: Path, source: Any, parts: Any, path: str, kind: str, share: Optional[float]
) -> dict[str, Any]:
    """Matrix -> False where ``parts``, of ``path``, closes it; all these weights are zero."""
    from fairseq_lottery.heads.components.pruned_weights import pruned_by
    from fairseq_lottery.masks import count_to_prune

    if share is not None and parts.count_closed(kind) != count_to_prune(share, parts.count(kind)):
        raise LotteryError(
            f"{path} closes {parts.count_closed(kind)} of {parts.count(kind)} {kind}, but its row"
            f" is {share:g}; delete it"
        )
    closed = pruned_by(parts, source.shapes)
    for name, keep in closed.items():
        if bool((source.weights[name][~keep] != 0).any()):
            raise LotteryError(f"{model}: {name} has weights of parts that {path} closes")
    return closed


def _refuse_other_share(
    model: Path, mask: Any, closed: dict[str, Any], path: str, sparsity: float
) -> None:
    """Refuse a mask that prunes more or fewer of the weights that are left open."""
    opened = lost = 0
    for name, keep in mask.items():
        left = closed.get(name)
        gone = int((~keep).sum()) if left is None else int((~keep & left).sum())
        if gone and not sparsity:
            raise LotteryError(f"{model}: {name} has lost weights of parts that {path} leaves open")
        opened += mask.size(name) - (0 if left is None else int((~left).sum()))
        lost += gone
    if abs(lost - sparsity * opened) > 0.5 * len(mask) + 0.5:
        raise LotteryError(
            f"{model} has lost {lost} of {opened} weights that {path} leaves open, but its row is"
            f" {sparsity:g} of them; train it again"
        )


def _with_mask(found: Measured, model: Path, source: Any, path: str) -> Measured:
    """Count the weights that a search has pruned, and the parts that nothing reads any more.

    The model's own mask is the search's, if it has one.
    """
    from fairseq_lottery.formats.source import read_source
    from fairseq_lottery.heads.closing.closed_draw import anatomy_of
    from fairseq_lottery.heads.components.anatomy import KINDS
    from fairseq_lottery.heads.components.pruned_weights import closed_in

    mask = read_source(path).mask
    if mask is None:
        raise LotteryError(f"{path} has no mask; delete it")
    for name, keep in mask.items():
        if bool((source.weights[name][~keep] != 0).any()):
            raise LotteryError(f"{model}: {name} has weights that {path} prunes")
    if source.is_pruned and source.mask != mask:
        raise LotteryError(f"{model} has another mask than {path}; train it again")
    anatomy = anatomy_of(source)
    # heads without queries and keys are no empty ones: their values count, and so do biases
    read = {name: keep.float() for name, keep in mask.items() if "q_proj" not in name}
    empty = closed_in(read, anatomy)
    return replace(
        found,
        pruned=mask.pruned,
        prunable=mask.prunable,
        denominator=_set_of(mask, source.shapes),
        matrices={name: 1 - mask.sparsity_of(name) for name in mask},
        closed={**{k: empty.count_closed(k) / empty.count(k) for k in KINDS},
                "weights": mask.sparsity},
    )


def _set_of(mask: Any, shapes: dict[str, tuple[int, ...]]) -> str:
    """The name of the prunable set that a mask covers."""
    from fairseq_lottery.masks.prunable import PRUNABLE_SETS, prunable_matrices

    for name in PRUNABLE_SETS:
        if set(prunable_matrices(shapes, name)) == set(mask):
            return name
    return "selected-matrices"

"""Planning of a run's pruning steps, and checks that the plan can be carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Ticket
from fairseq_lottery.masks import (
    Mask,
    Pruner,
    check_scope,
    count_to_prune,
    droppable,
    find_pruner,
    find_score,
    needed_by,
    pattern_of,
)
from fairseq_lottery.masks.distributions import DISTRIBUTIONS, distribute
from fairseq_lottery.masks.nm_selection import has_pattern
from fairseq_lottery.masks.pruners import DEFAULT_PRUNER, settings_of
from fairseq_lottery.options import Scope, Score, values
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.saliency import SALIENCIES
from fairseq_lottery.training.pruning_steps import GRADIENTS, PruningSteps
from fairseq_lottery.training.start.restored_checkpoint import Restored


def plan_pruning(
    cfg: Any,
    training: Any,
    mask: Mask,
    ticket: Optional[Ticket],
    restored: Optional[Restored],
    resumed: Optional[Pruner],
) -> Optional[PruningSteps]:
    """Return the pruning steps of ``cfg``; None if the mask does not change.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.
        mask: mask at the start of the run.
        ticket: ticket of a fresh run.
        restored: checkpoint of a resumed run.
        resumed: pruner of ``restored``; None if a new one starts.

    Raises:
        LotteryError: the schedule cannot be carried out.
    """
    if cfg.prune_to is None:
        return None
    kind = find_pruner(cfg.pruner)[0]
    needs = frozenset({*needed_by(find_score(cfg.score)[0]), *kind.needs})
    first = restored.update if restored else (ticket.first_update if ticket else 0)
    _refuse_needs(cfg, training, kind, restored, first)
    if resumed and restored and resumed.is_active(restored.update):
        _refuse_missing_state(restored, resumed, cfg.pruner)
    pruning = PruningSteps(
        name=cfg.pruner,
        pruner=resumed or _build(cfg, kind, mask, ticket),
        score=cfg.score,
        scope=Scope(**values(cfg, Scope)),
        seed=cfg.draw_seed,
        needs=needs,
        begins=resumed is None,
        rounds=cfg.score_rounds,
        batches=cfg.score_batches,
    )
    if pruning.begins:
        _refuse_scope(cfg, mask, pruning.pruner)
        if not pruning.pruner.only_shrinks:
            record = ticket.record if ticket else (restored.state.get("ticket") if restored else {})
            refuse_structure(mask, record or {}, cfg.pruner, cfg.scope, kind.keeps_pattern)
        pruning.refuse_start(mask, first)
    return pruning


def _refuse_needs(
    cfg: Any, training: Any, kind: type[Pruner], restored: Optional[Restored], first: int
) -> None:
    """Refuse a pruner or a score whose inputs the run does not store.

    Args:
        first: update at which the run starts.
    """
    of_score = needed_by(find_score(cfg.score)[0])
    is_once = cfg.pruner == DEFAULT_PRUNER and cfg.prune_schedule == "one-shot"
    if cfg.score in SALIENCIES and is_once and cfg.prune_start <= first:
        of_score = ()  # its sums are computed before the first update
    if cfg.score == "random" and not (kind.only_shrinks or kind.keeps_values):
        raise LotteryError(
            f"--score random ranks weights the same at every update, so --pruner {cfg.pruner} would"
            " prune the weights it has regrown; choose another score"
        )
    if kind.learned and cfg.score != Score.score:
        raise LotteryError(
            f"--score {cfg.score} is not used by --pruner {cfg.pruner}, which learns its scores;"
            " leave it out"
        )
    if "start" in of_score and "start" not in kind.needs:
        raise LotteryError(
            f"--score {cfg.score} needs start weights, which pruning during training does not"
            " store; choose --score magnitude, or draw a ticket with this score"
        )
    if "start" in kind.needs and restored and not restored.state.get("start_weights"):
        raise LotteryError(
            f"--pruner {cfg.pruner} needs start weights, which {restored.path} lacks; train"
            " with this pruner from the start, or choose another"
        )
    # a sum over one update is never in a checkpoint
    is_stored = settings_of(kind, cfg).get("gradient_updates") != 1
    if is_stored and GRADIENTS & {*of_score, *kind.needs} and training.common.get("amp"):
        flag = f"--score {cfg.score}" if "gradient" in of_score else f"--pruner {cfg.pruner}"
        raise LotteryError(
            f"{flag} sums gradients, which fairseq does not save in checkpoints under"
            " --amp; train in fp32 or with --fp16"
        )
    if training.ema.store_ema and training.ema.ema_fp32:
        raise LotteryError(
            "--ema-fp32 stores weights that pruning during training cannot prune; leave it out, or"
            " train a ticket"
        )


def _refuse_missing_state(restored: Restored, pruner: Pruner, name: str) -> None:
    """Refuse to resume a pruner without the values or scores that its checkpoints have."""
    learned = (restored.state.get("learned") or {}).get("tensors") or {}
    missing = {
        "values of pruned weights": pruner.keeps_values and not restored.state.get("pruned_values"),
        "learned scores": set(pruner.learned) != set(learned),
    }
    for part, is_missing in missing.items():
        if is_missing:
            raise LotteryError(
                f"{restored.path} lacks the {part} of --pruner {name}; resume from another"
                " checkpoint of the run"
            )


def _build(cfg: Any, kind: type[Pruner], mask: Mask, ticket: Optional[Ticket]) -> Pruner:
    """Return the pruner of ``cfg``, starting at ``mask``."""
    settings = settings_of(kind, cfg)
    if "initial" in {field.name for field in fields(kind)}:  # type: ignore[arg-type]
        settings["initial"] = initial_sparsity(cfg.scope, mask, ticket)
    try:
        return kind(**settings)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's pruner raises any error
        raise LotteryError(f"pruner {cfg.pruner} cannot be built: {error}") from error


def initial_sparsity(scope: str, mask: Mask, ticket: Optional[Ticket]) -> float:
    """Return the sparsity at which a schedule starts, so that no matrix regrows.

    Rounding gives matrices of one ticket slightly different sparsities. So the schedule starts at
    the requested sparsity of the ticket, or at the highest one. With pruned components the
    requested sparsity is a share of the other weights only, and is not used.

    Raises:
        LotteryError: the matrices' sparsities differ too much for ``scope`` layer or row, or are
            not those of a distribution.
    """
    record = ticket.record if ticket else {}
    has_requested = record.get("asked") is not None and not record.get("parts")
    if record.get("scope") == scope and has_requested:
        return float(record["asked"])
    if scope in DISTRIBUTIONS:
        distribute(scope, mask, mask.prunable - mask.pruned)
    if scope not in ("layer", "row"):
        return mask.sparsity
    highest = max(mask.sparsity_of(name) for name in mask)
    if highest - mask.sparsity > 0.01:
        raise LotteryError(
            f"the sparsity of a matrix is {highest:.2f}, but that of the mask {mask.sparsity:.2f};"
            " set --scope global"
        )
    return highest


def _refuse_scope(cfg: Any, mask: Mask, pruner: Pruner) -> None:
    """Refuse a target that ``select`` would refuse at a later step, or that prunes no weight."""
    check_scope(cfg.scope, cfg.min_density)
    count = count_to_prune(cfg.prune_to, mask.prunable)
    if cfg.prune_to and not count:
        raise LotteryError(
            f"--prune-to {cfg.prune_to:g} of {mask.prunable} prunable weights rounds to 0; use at"
            f" least {1 / mask.prunable:.1g}"
        )
    pattern = Pattern.parse(cfg.scope)
    if pattern is not None:
        _refuse_other_sparsity(cfg.prune_to, mask.prunable, pattern)
    if cfg.scope in DISTRIBUTIONS and (hasattr(pruner, "initial") or not mask.pruned):
        distribute(cfg.scope, mask, mask.prunable - max(count, mask.pruned))
    most = sum(droppable(mask, name, cfg.min_density) for name in mask)
    if count > most:
        raise LotteryError(
            f"--min-density {cfg.min_density:g} allows to prune {most} weights, fewer than"
            f" --prune-to {cfg.prune_to:g} requires; lower one of them"
        )


def _refuse_other_sparsity(sparsity: float, prunable: int, pattern: Pattern) -> None:
    """Refuse a sparsity that does not prune exactly the weights that a pattern prunes."""
    count = prunable * (pattern.group - pattern.kept) // pattern.group

    def is_exact(share: float) -> bool:
        return pattern.has(share) and count_to_prune(share, prunable) == count

    if not is_exact(sparsity):
        texts = (f"{pattern.sparsity:.{digits}g}" for digits in range(1, 18))
        exact = next(text for text in texts if is_exact(float(text)))
        raise LotteryError(
            f"--prune-to {sparsity:g} is not the sparsity of --scope {pattern}; set --prune-to"
            f" {exact}"
        )


def refuse_structure(
    mask: Mask,
    record: Mapping[str, Any],
    pruner: str,
    scope: str = Scope.scope,
    keeps_pattern: bool = False,
) -> None:
    """Refuse to regrow weights in a mask with pruned heads or FFN units, or an N:M pattern.

    Args:
        record: record of the mask's ticket; a mask alone does not determine whether heads were
            pruned as components.
        pruner: value of ``--pruner``.
        scope: value of ``--scope``; a pruner keeps the pattern of a scope N:M.
        keeps_pattern: whether the pruner keeps a pattern if the scope is N:M.
    """
    wanted = Pattern.parse(scope)
    pattern = pattern_of(mask) if wanted is None else None
    structures = [f"the pattern {pattern}"] if pattern else []
    if record.get("parts") or record.get("closes"):
        structures.append("pruned heads or FFN units")
    if structures:
        keep = f"--scope {pattern} to keep the pattern, or " if keeps_pattern and pattern else ""
        raise LotteryError(
            f"the mask has {' and '.join(structures)}, but --pruner {pruner} would regrow their"
            f" weights; choose {keep if len(structures) == 1 else ''}--pruner gradual, or start"
            " from another mask"
        )
    if wanted is not None and mask.pruned and not has_pattern(mask, wanted):
        raise LotteryError(
            f"--scope {wanted} with --pruner {pruner} requires a mask that keeps {wanted.kept} of"
            f" every {wanted.group} weights; start from a ticket of --scope {wanted}, or from none"
        )

"""The pruner that a resumed run goes on with, and what checkpoints keep for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Pruner, find_pruner, find_score, read_pruner
from fairseq_lottery.masks.pruners import DEFAULT_PRUNER, OPTIONS, stored_name
from fairseq_lottery.options import TRAINING, Prunable, Ranking, Seed, options, stored_values
from fairseq_lottery.training.pruning_steps import PruningSteps
from fairseq_lottery.training.start.restored_checkpoint import Restored

#: what decides which weights a pruning step prunes; which weights are prunable
_RANKING = options(Ranking, Seed)
_PRUNABLE = options(Prunable)


def refuse_unfinished(restored: Restored) -> None:
    """Refuse to resume a run that was pruning without saying how it goes on."""
    stored = restored.state.get("growth") if restored.same_run else None
    if stored and read_pruner(stored).is_active(restored.behind):
        raise LotteryError(
            f"{restored.path} is of a run that was pruning to {stored['final']:g} until update"
            f" {stored['end']}; give its --prune flags again"
        )


def resumed_pruner(cfg: Any, own: Mapping[str, Any], restored: Restored) -> Optional[Pruner]:
    """Return the pruner of a checkpoint where ``cfg`` asks for the same; None for a new one.

    Refuses another one, or another way to rank weights, in the middle of a schedule.

    Args:
        own: values of the options of the pruner that ``cfg`` asks for.
    """
    stored = restored.state.get("growth") if restored.counts_on else None
    if not stored:
        return None
    kind, source = find_pruner(cfg.pruner)
    name = stored_name(stored)
    then = read_pruner(stored, kind if name == cfg.pruner and source else None)
    is_same = name == cfg.pruner and own == pruner_options(kind, then)
    is_active = then.is_active(restored.update)
    if is_active and not is_same:
        whose = "" if name == DEFAULT_PRUNER else f"by {name[:50]} "
        raise LotteryError(
            f"the run was pruning {whose}{then.describe()}; finish that schedule before another"
        )
    _refuse_other_ranking(cfg, restored, is_active)
    return then if is_same else None


def schedule_state(
    cfg: Any, pruning: Optional[PruningSteps], restored: Optional[Restored]
) -> dict[str, Any]:
    """``growth`` and ``ranking`` as every checkpoint of the run keeps them.

    Also of a schedule that had ended when the run was resumed: the mask is held against it.
    """
    stored = restored.state if restored and restored.goes_on else {}
    if pruning is None:
        return {"growth": stored.get("growth"), "ranking": stored.get("ranking")}
    ranking = None if pruning.begins else stored.get("ranking")
    return {"growth": pruning.stored(), "ranking": ranking or _ranking(cfg)}


def pruner_options(kind: type[Pruner], source: Any) -> dict[str, Any]:
    """Values of the options that a kind of pruner has: from flags, or from a pruner."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return {
        name: getattr(source, name if isinstance(source, Pruner) else one.name_in(TRAINING))
        for name, one in OPTIONS.items()
        if name in known
    }


def _refuse_other_ranking(cfg: Any, restored: Restored, is_active: bool) -> None:
    """Refuse to rank otherwise in the middle of a schedule, or over other matrices ever.

    Checkpoints of versions that did not keep how they ranked are taken as they are.
    """
    then, now = restored.state.get("ranking") or {}, _ranking(cfg)
    names = _PRUNABLE if is_active or restored.same_run else ()
    for one in (*names, *(_RANKING if is_active else ())):
        key, flag = one.key(TRAINING), one.flag_in(TRAINING)
        if key in then and then[key] != now[key]:
            raise LotteryError(
                f"{restored.path} is of a run that was pruning with {flag} {then[key]}, not"
                f" {now[key]}; go on as it began, or choose another --save-dir"
            )
    for flag in ("score", "pruner"):
        source = then.get(f"{flag}_source")
        if is_active and source and source != now.get(f"{flag}_source"):
            raise LotteryError(
                f"the {flag} {getattr(cfg, flag)} is not the one that {restored.path} was pruning"
                " with; give it its source back, or choose another --save-dir"
            )


def _ranking(cfg: Any) -> dict[str, Any]:
    """How ``cfg`` ranks; the source of a score or pruner of ours may change with the version."""
    own = find_score(cfg.score)[1] if ":" in cfg.score else None
    ranking = stored_values(cfg, Ranking, Seed, Prunable, place=TRAINING)
    source = find_pruner(cfg.pruner)[1]
    return {**ranking, "score_source": own, **({"pruner_source": source} if source else {})}

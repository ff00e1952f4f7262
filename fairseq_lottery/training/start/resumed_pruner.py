"""The pruner of a resumed run, and the state that checkpoints store for it."""

from __future__ import annotations

from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Pruner, find_pruner, find_score, read_pruner
from fairseq_lottery.masks.pruners import DEFAULT_PRUNER, settings_of, stored_name
from fairseq_lottery.options import (
    TRAINING,
    Prunable,
    Ranking,
    ScoreBatches,
    ScoreRounds,
    Seed,
    options,
    stored_values,
)
from fairseq_lottery.saliency import SALIENCIES
from fairseq_lottery.training.start.restored_checkpoint import Restored

#: options that rank weights in a pruning step, and those that select prunable weights
_RANKING = options(Ranking, Seed)
_PRUNABLE = options(Prunable)


def resumed_pruner(cfg: Any, restored: Restored) -> Optional[Pruner]:
    """Return the pruner of a checkpoint if ``cfg`` has the same; None if none or a new one starts.

    Raises:
        LotteryError: the pruner or the ranking of weights changes in the middle of a schedule.
    """
    stored = restored.state.get("growth") if restored.keeps_counter else None
    if not stored or cfg.prune_to is None:
        return None
    kind, source = find_pruner(cfg.pruner)
    name = stored_name(stored)
    then = read_pruner(stored, kind if name == cfg.pruner and source else None)
    settings = settings_of(kind, cfg)
    is_same = name == cfg.pruner and all(
        getattr(then, field) == value for field, value in settings.items()
    )
    is_active = then.is_active(restored.update)
    if is_active and not is_same:
        whose = "" if name == DEFAULT_PRUNER else f"by {name[:50]} "
        raise LotteryError(
            f"the run was pruning {whose}{then.describe()}; finish that schedule before another"
        )
    _refuse_other_ranking(cfg, restored, is_active)
    return then if is_same else None


def stored_schedule(
    cfg: Any, resumed: Optional[Pruner], restored: Optional[Restored]
) -> dict[str, Any]:
    """Return ``growth`` and ``ranking`` for the checkpoints of a run.

    A schedule that ended before the run was resumed is stored, too, to check the mask against it.

    Args:
        resumed: pruner that the run resumes; None if none or a new one starts.
    """
    stored = restored.state if restored and restored.is_resumed else {}
    schedule = {name: stored.get(name) for name in ("growth", "ranking")}
    if cfg.prune_to is not None and (resumed is None or not schedule["ranking"]):
        schedule["ranking"] = _ranking(cfg)
    return schedule


def _refuse_other_ranking(cfg: Any, restored: Restored, is_active: bool) -> None:
    """Refuse another ranking in the middle of a schedule, or other matrices in the same run.

    Checkpoints of versions that did not store the ranking are accepted.
    """
    then, now = restored.state.get("ranking") or {}, _ranking(cfg)
    shared = _PRUNABLE if is_active or restored.is_same_run else ()
    for option in (*shared, *(_RANKING if is_active else ())):
        key, flag = option.key(TRAINING), option.flag_in(TRAINING)
        if key in then and then[key] != now[key]:
            raise LotteryError(
                f"{restored.path} is from a run that was pruning with {flag} {then[key]}, not"
                f" {now[key]}; resume with the same value, or choose another --save-dir"
            )
    for flag in ("score", "pruner"):
        source = then.get(f"{flag}_source")
        if is_active and source and source != now.get(f"{flag}_source"):
            raise LotteryError(
                f"the source of the {flag} {getattr(cfg, flag)} has changed since {restored.path};"
                " restore it, or choose another --save-dir"
            )


def _ranking(cfg: Any) -> dict[str, Any]:
    """Return the ranking of ``cfg``; only a user's scores and pruners are stored as source."""
    of_score = find_score(cfg.score)[1] if ":" in cfg.score else None
    ranking = stored_values(cfg, Ranking, Seed, Prunable, place=TRAINING)
    if cfg.score in SALIENCIES:
        ranking.update(stored_values(cfg, ScoreBatches, ScoreRounds, place=TRAINING))
    source = find_pruner(cfg.pruner)[1]
    return {**ranking, "score_source": of_score, **({"pruner_source": source} if source else {})}

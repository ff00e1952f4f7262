"""How the mask of a run grows: a schedule of its own, or the one that it was killed in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import (
    Gradual,
    Mask,
    check_scope,
    count_to_prune,
    droppable,
    find_score,
    needed_by,
)
from fairseq_lottery.options import TRAINING, Prunable, Ranking, Seed, options, stored_values
from fairseq_lottery.tasks.checks import refuse_unreachable
from fairseq_lottery.tasks.restore import Restored
from fairseq_lottery.tasks.settings import Settings
from fairseq_lottery.tickets import Ticket

#: what decides which weights a growing mask prunes; which there are to choose from
_RANKING = options(Ranking, Seed)
_PRUNABLE = options(Prunable)


@dataclass(frozen=True)
class Growth:
    """A schedule, and whether it begins with this start of the training."""

    gradual: Gradual
    begins: bool


def plan_growth(
    cfg: Any,
    settings: Settings,
    mask: Mask,
    ticket: Optional[Ticket],
    restored: Optional[Restored],
) -> Optional[Growth]:
    """The growth that ``cfg`` asks for, from the sparsity of ``mask``; None if it does not grow.

    Raises:
        LotteryError: a schedule that cannot be carried out; or another one than that in the
            middle of which ``restored`` was saved, or another way to rank its weights.
    """
    first = restored.update if restored else (ticket.clock_update if ticket else 0)
    if cfg.prune_to is None:
        _refuse_unfinished(restored)
        return None
    stored = restored.state.get("growth") if restored and first else None
    _refuse_score(cfg, settings)
    refuse_unreachable(cfg, settings)
    asked = (cfg.prune_to, cfg.prune_start, cfg.prune_end, cfg.prune_every, cfg.prune_schedule)
    if stored:
        then = Gradual(**stored)
        same = (then.final, then.start, then.end, then.every, then.schedule) == asked
        if then.is_growing(first) and not same:
            raise LotteryError(
                f"the run was pruning to {then.final:g} from update {then.start} to {then.end},"
                f" every {then.every}, {then.schedule}; finish that schedule before another"
            )
        if restored:
            _refuse_other_ranking(cfg, restored, then.is_growing(first))
        if same:
            return Growth(then, begins=False)
    gradual = Gradual(_sparsity_now(cfg.scope, mask, ticket), *asked)
    if gradual.start < first:
        raise LotteryError(
            f"--prune-start {gradual.start} lies before update {first}, where the run starts;"
            " start pruning there or later"
        )
    if settings.ema and settings.ema_fp32:
        raise LotteryError(
            "--ema-fp32 keeps weights that a growing mask cannot reach; drop it, or prune with a"
            " ticket"
        )
    _refuse_scope(cfg, mask)
    if gradual.is_due(first) and "gradient" in needed_by(find_score(cfg.score)[0]):
        raise LotteryError(
            f"--score {cfg.score} needs gradients, and there are none at update {first}, where"
            f" pruning starts; set --prune-start to {first + 1} or later"
        )
    return Growth(gradual, begins=True)


def _refuse_unfinished(restored: Optional[Restored]) -> None:
    """Refuse to resume a run that was pruning without saying how it goes on."""
    stored = restored.state.get("growth") if restored and restored.same_run else None
    if restored and stored and Gradual(**stored).is_growing(restored.behind):
        raise LotteryError(
            f"{restored.path} is of a run that was pruning to {stored['final']:g} until update"
            f" {stored['end']}; give its --prune flags again"
        )


def _refuse_other_ranking(cfg: Any, restored: Restored, is_growing: bool) -> None:
    """Refuse to rank otherwise in the middle of a schedule, or over other matrices ever.

    Checkpoints of versions that did not keep how they ranked are taken as they are.
    """
    then, now = restored.state.get("ranking") or {}, _ranking(cfg)
    names = _PRUNABLE if is_growing or restored.same_run else ()
    for one in (*names, *(_RANKING if is_growing else ())):
        key, flag = one.key(TRAINING), one.flag_in(TRAINING)
        if key in then and then[key] != now[key]:
            raise LotteryError(
                f"{restored.path} is of a run that was pruning with {flag} {then[key]}, not"
                f" {now[key]}; go on as it began, or choose another --save-dir"
            )
    source = then.get("score_source")
    if is_growing and source and source != now["score_source"]:
        raise LotteryError(
            f"the score {cfg.score} is not the one that {restored.path} was pruning with; give it"
            " its source back, or choose another --save-dir"
        )


def _ranking(cfg: Any) -> dict[str, Any]:
    """How ``cfg`` ranks; the source of a score of ours may change with the version."""
    own = find_score(cfg.score)[1] if ":" in cfg.score else None
    ranking = stored_values(cfg, Ranking, Seed, Prunable, place=TRAINING)
    return {**ranking, "score_source": own}


def growth_state(gradual: Gradual) -> dict[str, Any]:
    """The schedule as a checkpoint keeps it."""
    return asdict(gradual)


def schedule_state(
    cfg: Any, growth: Optional[Growth], restored: Optional[Restored]
) -> dict[str, Any]:
    """``growth`` and ``ranking`` as every checkpoint of the run keeps them.

    Also of a schedule that had ended when the run was resumed: the mask is held against it.
    """
    stored = restored.state if restored and restored.goes_on else {}
    if growth is None:
        return {"growth": stored.get("growth"), "ranking": stored.get("ranking")}
    ranking = None if growth.begins else stored.get("ranking")
    return {"growth": growth_state(growth.gradual), "ranking": ranking or _ranking(cfg)}


def _sparsity_now(scope: str, mask: Mask, ticket: Optional[Ticket]) -> float:
    """What the schedule goes on from, so that no matrix has to grow back.

    Rounding leaves matrices of one ticket at slightly different sparsities: then the sparsity
    that was asked for, or the highest of them, is the one to go on from. With closed parts the
    one that was asked for is a share of what these leave open, not the mask's sparsity.
    """
    record = ticket.record if ticket else {}
    asked = record.get("asked") is not None and not record.get("parts")
    if record.get("scope") == scope and asked:
        return float(record["asked"])
    if scope != "layer":
        return mask.sparsity
    highest = max(mask.sparsity_of(name) for name in mask)
    if highest - mask.sparsity > 0.01:
        raise LotteryError(
            f"the mask prunes its matrices unevenly, up to {highest:.2f} of one where it prunes"
            f" {mask.sparsity:.2f} in all; let it grow with --scope global"
        )
    return highest


def _refuse_score(cfg: Any, settings: Settings) -> None:
    score, _ = find_score(cfg.score)
    needed = needed_by(score)
    if "start" in needed:
        raise LotteryError(
            f"--score {cfg.score} needs start weights, which pruning during training does not"
            " keep; choose --score magnitude, or draw a ticket with it"
        )
    if "gradient" in needed and settings.amp:
        raise LotteryError(
            f"--score {cfg.score} sums gradients, which fairseq leaves out of checkpoints under"
            " --amp; train in fp32 or --fp16"
        )


def _refuse_scope(cfg: Any, mask: Mask) -> None:
    """What ``select`` would refuse when the mask grows, refused now."""
    check_scope(cfg.scope, cfg.min_density)
    most = sum(droppable(mask, name, cfg.min_density) for name in mask)
    if count_to_prune(cfg.prune_to, mask.prunable) > most:
        raise LotteryError(
            f"--min-density {cfg.min_density:g} leaves {most} weights to prune, fewer than"
            f" --prune-to {cfg.prune_to:g} asks; lower one of them"
        )

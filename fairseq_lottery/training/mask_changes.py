"""How the mask of a run changes: by a pruner of its own, or by the one that it was killed in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Ticket
from fairseq_lottery.masks import (
    Mask,
    Pruner,
    PrunerInput,
    check_scope,
    count_to_prune,
    droppable,
    find_pruner,
    find_score,
    has_sparsity,
    needed_by,
    read_pruner,
    store_pruner,
)
from fairseq_lottery.masks.pruners import DEFAULT_PRUNER, OPTIONS, stored_name
from fairseq_lottery.options import TRAINING, Prunable, Ranking, Seed, options, stored_values
from fairseq_lottery.training.start.flag_checks import refuse_given, refuse_unreachable
from fairseq_lottery.training.start.restored_checkpoint import Restored
from fairseq_lottery.training.training_settings import Settings

#: what decides which weights a growing mask prunes; which there are to choose from
_RANKING = options(Ranking, Seed)
_PRUNABLE = options(Prunable)
#: needs that the optimizer sums gradients for
GRADIENTS = frozenset({"gradient", "dense_gradient"})


@dataclass(frozen=True)
class Growth:
    """How the mask of a run changes.

    Attributes:
        name: the value of ``--pruner``.
        pruner: what changes the mask.
        needs: what the pruner and ``--score`` read beside weights.
        begins: whether pruning begins with this start of the training.
    """

    name: str
    pruner: Pruner
    needs: frozenset[str]
    begins: bool

    def stored(self) -> dict[str, Any]:
        """The pruner as a checkpoint stores it now."""
        return store_pruner(self.name, self.pruner)

    def asks(self, question: Callable[[int], bool], update: int) -> bool:
        """Return what ``question``, a method of the pruner, answers for ``update``.

        Raises:
            LotteryError: it fails.
        """
        return bool(_call(question, update, f"pruner {self.name} at update {update}"))

    def changed_mask(self, change: Callable[[PrunerInput], Mask], given: PrunerInput) -> Mask:
        """Return what ``change``, a method of the pruner, makes of ``given.mask``.

        Raises:
            LotteryError: it fails, or breaks what the pruner says of its masks.
        """
        where = f"pruner {self.name} at update {given.update}"
        mask = _call(change, given, where)
        # a mask before the first step of a schedule that rises may be uneven over matrices
        if mask is given.mask and hasattr(self.pruner, "initial"):
            return mask
        if not isinstance(mask, Mask):
            raise LotteryError(f"{where} returned a {type(mask).__name__}, expected a Mask")
        if _matrices(mask) != _matrices(given.mask):
            raise LotteryError(f"{where} returned a mask of other matrices")
        due = _sparsity_due(self.name, self.pruner, given.update)
        if due is not None and not has_sparsity(mask, due):
            raise LotteryError(
                f"{where} returned a mask with {mask.pruned} of {mask.prunable} weights pruned,"
                f" expected sparsity {due:g}"
            )
        if self.pruner.only_shrinks and not mask.is_subset_of(given.mask):
            raise LotteryError(f"{where} regrew weights; set its only_shrinks to False")
        return mask


def _call(function: Callable[[Any], Any], argument: Any, where: str) -> Any:
    """Call a method of a pruner; what it raises becomes a sentence."""
    try:
        return function(argument)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's pruner raises whatever it likes
        raise LotteryError(f"{where} failed with {type(error).__name__}: {error}") from error


def _sparsity_due(name: str, pruner: Pruner, update: int) -> Optional[float]:
    """Return the sparsity that the pruner says its mask has; None if it is not fixed."""
    where = f"pruner {name} at update {update}"
    due = _call(pruner.sparsity_at, update, where)
    if due is not None and not (isinstance(due, (int, float)) and 0 <= due <= 1):
        raise LotteryError(f"{where} has the sparsity {due!r}, expected a share or None")
    return due


def _matrices(mask: Mask) -> tuple[dict[str, Any], dict[str, int]]:
    return {name: keep.shape for name, keep in mask.items()}, mask.protected


def plan_growth(
    cfg: Any,
    settings: Settings,
    mask: Mask,
    ticket: Optional[Ticket],
    restored: Optional[Restored],
) -> Optional[Growth]:
    """Return how ``cfg`` lets ``mask`` change; None if it stays.

    Raises:
        LotteryError: a schedule that cannot be carried out; or another one than that in the
            middle of which ``restored`` was saved, or another way to rank its weights.
    """
    first = restored.update if restored else (ticket.clock_update if ticket else 0)
    if cfg.prune_to is None:
        _refuse_unfinished(restored)
        return None
    kind, source = find_pruner(cfg.pruner)
    needs = frozenset({*needed_by(find_score(cfg.score)[0]), *kind.needs})
    stored = restored.state.get("growth") if restored and first else None
    _refuse_needs(cfg, settings, kind, restored)
    _refuse_stray_options(cfg, kind)
    refuse_unreachable(cfg, settings)
    if settings.ema and settings.ema_fp32:
        raise LotteryError(
            "--ema-fp32 keeps weights that a mask which changes cannot reach; leave it out, or"
            " train a ticket"
        )
    if stored:
        is_same_kind = stored_name(stored) == cfg.pruner
        then = read_pruner(stored, kind if is_same_kind and source else None)
        same = is_same_kind and _options_of(kind, cfg) == _options_of(kind, then)
        if then.is_active(first) and not same:
            name = stored_name(stored)
            whose = "" if name == DEFAULT_PRUNER else f"by {name[:50]} "
            raise LotteryError(
                f"the run was pruning {whose}{then.describe()}; finish that schedule before another"
            )
        if restored:
            _refuse_other_ranking(cfg, restored, then.is_active(first))
        if same:
            return Growth(cfg.pruner, then, needs, begins=False)
    pruner = _build(cfg, kind, mask, ticket, first)
    if pruner.start < first:
        raise LotteryError(
            f"--prune-start {pruner.start} lies before update {first}, where the run starts;"
            " start pruning there or later"
        )
    _refuse_scope(cfg, mask)
    flag = _flag_of_gradients(cfg, kind)
    if flag is not None and _call(pruner.is_due, first, f"pruner {cfg.pruner} at update {first}"):
        raise LotteryError(
            f"{flag} needs gradients, and there are none at update {first}, where"
            f" pruning starts; set --prune-start to {first + 1} or later"
        )
    return Growth(cfg.pruner, pruner, needs, begins=True)


def _options_of(kind: type[Pruner], source: Any) -> dict[str, Any]:
    """Values of the pruner's options: from flags, or from a pruner."""
    names = [field.name for field in fields(kind) if field.name in OPTIONS]  # type: ignore[arg-type]
    if isinstance(source, Pruner):
        return {name: getattr(source, name) for name in names}
    return {name: getattr(source, OPTIONS[name].name_in(TRAINING)) for name in names}


def _build(
    cfg: Any, kind: type[Pruner], mask: Mask, ticket: Optional[Ticket], update: int
) -> Pruner:
    """Return the pruner that ``cfg`` asks for, which begins with ``mask`` at ``update``."""
    values = _options_of(kind, cfg)
    has_initial = "initial" in {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if has_initial:
        values["initial"] = _sparsity_now(cfg.scope, mask, ticket)
    try:
        pruner = kind(**values)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's pruner raises whatever it likes
        raise LotteryError(f"pruner {cfg.pruner} cannot be built: {error}") from error
    if has_initial:
        return pruner
    due = _sparsity_due(cfg.pruner, pruner, update)
    if mask.pruned and due is not None and not has_sparsity(mask, due):
        raise LotteryError(
            f"--pruner {cfg.pruner} starts at sparsity {due:g}, and the run starts at"
            f" {_shortest(mask)}; set --prune-to to the sparsity that this mask was drawn or pruned"
            " to"
        )
    return pruner


def _shortest(mask: Mask) -> str:
    """Return the sparsity of a mask with as few digits as say it to the weight."""
    texts = (f"{mask.sparsity:.{digits}g}" for digits in range(2, 18))
    return next(text for text in texts if has_sparsity(mask, float(text)))


def _refuse_stray_options(cfg: Any, kind: type[Pruner]) -> None:
    """Refuse options that the pruner does not have: they would be ignored."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    others = [option for field, option in OPTIONS.items() if field not in known]
    refuse_given(cfg, others, f"is not an option of --pruner {cfg.pruner}; leave it out")


def _refuse_unfinished(restored: Optional[Restored]) -> None:
    """Refuse to resume a run that was pruning without saying how it goes on."""
    stored = restored.state.get("growth") if restored and restored.same_run else None
    if restored and stored and read_pruner(stored).is_active(restored.behind):
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
    for flag in ("score", "pruner"):
        source = then.get(f"{flag}_source")
        if is_growing and source and source != now.get(f"{flag}_source"):
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
    return {"growth": growth.stored(), "ranking": ranking or _ranking(cfg)}


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


def _flag_of_gradients(cfg: Any, kind: type[Pruner]) -> Optional[str]:
    """Return the flag, with its value, that needs gradients; None where none does."""
    if "gradient" in needed_by(find_score(cfg.score)[0]):
        return f"--score {cfg.score}"
    return f"--pruner {cfg.pruner}" if GRADIENTS & set(kind.needs) else None


def _refuse_needs(
    cfg: Any, settings: Settings, kind: type[Pruner], restored: Optional[Restored]
) -> None:
    if cfg.score == "random" and not kind.only_shrinks:
        raise LotteryError(
            f"--score random ranks weights alike at every update, so --pruner {cfg.pruner} would"
            " prune what it has regrown; choose another score"
        )
    if "start" in needed_by(find_score(cfg.score)[0]) and "start" not in kind.needs:
        raise LotteryError(
            f"--score {cfg.score} needs start weights, which pruning during training does not"
            " keep; choose --score magnitude, or draw a ticket with it"
        )
    if "start" in kind.needs and restored and not restored.state.get("start_weights"):
        raise LotteryError(
            f"--pruner {cfg.pruner} needs start weights, which {restored.path} does not hold; train"
            " with this pruner from the start, or choose another"
        )
    flag = _flag_of_gradients(cfg, kind)
    if flag is not None and settings.amp:
        raise LotteryError(
            f"{flag} sums gradients, which fairseq leaves out of checkpoints under"
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

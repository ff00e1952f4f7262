"""Drawing a ticket: sources, a score, a scope, a sparsity and a reset make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fairseq_lottery import __version__
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import ComponentPruning, components
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.formats.checkpoints.cut_model import refuse_cut
from fairseq_lottery.formats.container import read_header
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.formats.ticket import Ticket, refuse_other_shapes
from fairseq_lottery.formats.ticket_record import signature
from fairseq_lottery.masks import Mask, find_score, full_mask, score_all, select
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.options import (
    DRAW,
    Prunable,
    Ranking,
    Reset,
    Scope,
    Seed,
    Sources,
    check_scope,
    options,
    stored_values,
    values,
)
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.tickets.resets import RESETS, ResetInput, Weights

#: up to it double precision holds every whole number
_LARGEST_WHOLE = 2**53

Initialiser = Callable[[Source, int], Weights]


@dataclass(frozen=True)
class Found:
    """A mask that something else than a plan's score and scope has found.

    Attributes:
        mask: within what the plan may prune.
        how: what the record says of it: ``score``, ``score_source``, and whatever else.
    """

    mask: Mask
    how: Mapping[str, Any]


@dataclass(frozen=True)
class DrawPlan(Seed, Reset, Prunable, Ranking, Sources):
    """Everything that a drawn ticket depends on; see ``fairseq_lottery.options`` for each."""

    def __post_init__(self) -> None:
        for one in options(Reset):
            if one.axis is not None:
                one.axis.refuse_unknown(getattr(self, one.name))
        if self.mask_file is None:
            check_scope(**values(self, Scope))
            if self.asked is not None:
                check_sparsity(self.asked)
            elif self.components is None:
                raise LotteryError(
                    "give --sparsity, a --mask-file whose mask is taken as it is, or --components"
                )
        else:
            other = [one for one in options(Sources) if one.name in ("sparsity", "score_file")]
            for one in (*other, *options(Ranking, Prunable)):
                if getattr(self, one.name) != one.default:
                    raise LotteryError(f"--mask-file says what is pruned; drop {one.flag_in(DRAW)}")
        if self.score_file is not None and self.score != "magnitude":
            raise LotteryError("--score-file and --score both say what ranks a weight; give one")

    @property
    def asked(self) -> Optional[float]:
        """The sparsity, which a scope N:M says by itself; None where nothing says one.

        Raises:
            LotteryError: a sparsity that is not the scope's.
        """
        pattern = Pattern.parse(self.scope)
        if pattern is None:
            return self.sparsity
        if self.sparsity is not None:
            pattern.refuse_other(self.sparsity)
        return pattern.sparsity


def draw(
    plan: DrawPlan, initialise: Optional[Initialiser] = None, found: Optional[Found] = None
) -> Ticket:
    """Draw the ticket that ``plan`` describes; the same plan and files give the same ticket.

    Args:
        found: a mask instead of the one that ``plan`` ranks weights for, of its sparsity.
        initialise: builds fresh weights for a source's architecture, for ``reset="random"``
            (only fairseq can; the plugin and the command hand theirs in).

    Raises:
        LotteryError: unusable files or choices, in one sentence.
    """
    trained = read_source(plan.mask_from)
    start = read_source(plan.start_from) if plan.start_from else trained
    for source in (trained, start):
        source.refuse_leaks()
        if source.cut:
            refuse_cut(source.path)
    refuse_other_shapes(start.shapes, trained.shapes, f"--start-from {start.path}")
    dictionaries = trained.find_dictionaries()
    if start.in_file is not None:
        dictionaries.refuse_other(start.in_file, trained.path)
    mask, pruning, how = _mask(plan, trained, start, found)
    origin = trained if plan.reset == "keep" else start
    if plan.reset != "random":
        _refuse_lost(mask, origin, plan, "--mask-from" if plan.reset == "keep" else "--start-from")
    values = _values(plan, trained, start, mask, initialise)
    moments, numbers = _moments(plan, trained, origin, mask)
    if pruning is not None:
        values = pruning.without_biases(values)
        moments = {name: pruning.without_biases(moment) for name, moment in moments.items()}
    record: dict[str, Any] = {
        **how,
        "asked": plan.asked,
        "sparsity": mask.sparsity,
        "pruned": mask.pruned,
        "denominator": mask.prunable,
        **stored_values(plan, Reset, Seed),
        "alpha": plan.alpha if plan.reset in ("sign", "random-sign") else None,
        "moment_numbers": numbers,
        "update": start.update,
        "values_update": origin.update,
        "masters": trained.masters and origin.masters,
        "sources": {
            "mask_from": {"digest": trained.digest(), "update": trained.update},
            "start_from": {"digest": start.digest(), "update": start.update},
        },
        "architecture": trained.architecture,
        "dictionaries": dictionaries.digests(),
        **trained.adapter.record,
        "versions": {"fairseq_lottery": __version__, "torch": torch.__version__.split("+")[0]},
    }
    record["signature"] = signature(record)
    if plan.update_counter == "rewind" and start.update is None:
        raise LotteryError(
            f"{start.path} does not say its update, which --update-counter rewind needs"
        )
    return Ticket(mask, values, record, dictionaries, moments)


def _values(
    plan: DrawPlan, trained: Source, start: Source, mask: Mask, initialise: Optional[Initialiser]
) -> dict[str, Tensor]:
    """What survivors, and all that is never pruned, start from; zero where the mask prunes."""
    given = ResetInput(
        mask=mask,
        trained=trained.weights,
        start=start.weights,
        seed=plan.seed,
        alpha=plan.alpha,
        initial=_initial(plan, start),
        initialise=(lambda seed: initialise(trained, seed)) if initialise else None,
    )
    values = {name: tensor.clone().float() for name, tensor in RESETS[plan.reset](given).items()}
    refuse_other_shapes({n: tuple(t.shape) for n, t in values.items()}, trained.shapes, "the reset")
    for name in mask:
        values[name][~mask[name]] = 0
    return values


def _mask(
    plan: DrawPlan, trained: Source, start: Source, found: Optional[Found]
) -> tuple[Mask, Optional[ComponentPruning], dict[str, Any]]:
    """The mask, what it prunes as whole components, and how it was made."""
    if plan.mask_file is not None:
        return _mask_of_file(plan, trained, plan.mask_file)
    axes = {**stored_values(plan, Ranking, Prunable), **_component_flag(trained)}
    if found is not None:
        return found.mask, None, {**axes, **found.how}
    full = full_mask(trained.shapes, **values(plan, Prunable))
    current = trained.mask if trained.mask is not None else full
    if set(current) != set(full) or current.protected != full.protected:
        raise LotteryError(
            f"{trained.path} was pruned over {len(current)} matrices, and --prunable"
            f" {plan.prunable} names {len(full)}; use the prunable set of its own mask"
        )
    pruning = _prune_components(current, trained, plan.components)
    if pruning is not None:
        current = pruning.mask
        axes.update(pruning.record)
    if plan.asked is None:
        return current, pruning, {**axes, "score": "parts", "score_source": None}
    if plan.score_file is not None:
        scores: Mapping[str, Tensor] = _tensors(plan.score_file, "--score-file")
        _refuse_rounding(scores, f"--score-file {plan.score_file}")
        axes.update(score="score-file", score_source=sha256_of(plan.score_file))
    else:
        score, source = find_score(plan.score)
        axes["score_source"] = source
        scores = score_all(
            score,
            {name: trained.weights[name] for name in current},
            start=start.weights if plan.start_from else None,
            gradients=_tensors(plan.gradients, "--gradients") if plan.gradients else None,
            seed=plan.seed,
        )
    excluded = pruning.restrict(full) if pruning is not None else None
    mask = select(scores, current, plan.asked, excluded=excluded, **values(plan, Scope))
    return mask, pruning, axes


def _mask_of_file(
    plan: DrawPlan, trained: Source, path: str
) -> tuple[Mask, Optional[ComponentPruning], dict[str, Any]]:
    """As ``_mask``: the mask of a file as it is, and how that was made where a ticket says so."""
    given = read_source(path)
    if given.mask is None:
        raise LotteryError(f"{path} has no mask; it is dense")
    given.mask.check(trained.shapes)
    pruning = _prune_components(given.mask, trained, plan.components)
    how: dict[str, Any] = {
        one.key(): "mask-file" if one.axis else one.default for one in options(Ranking, Prunable)
    }
    record = given.record if given.kind == "ticket" else {}
    # how a mask of pruned components was made is not told by these entries alone
    if not (plan.components or record.get("parts")):
        how.update({name: record[name] for name in how if record.get(name) is not None})
    how.update({**_component_flag(given), "score_source": given.mask.digest()})
    if pruning is None:
        return given.mask, None, how
    return pruning.mask, pruning, {**pruning.record, **how}


def _prune_components(
    mask: Mask, source: Source, choice: Optional[str]
) -> Optional[ComponentPruning]:
    """What the draw prunes as whole components: by a choice, or heads that are pruned already.

    Heads that were pruned so that they attend evenly have no queries: all their rows are pruned.
    """
    queries = [keep for name, keep in (source.mask or {}).items() if "q_proj" in name]
    if choice is None and not any(bool((~keep.any(dim=1)).any()) for keep in queries):
        return None
    return components().prune_draw(mask, source, choice)


def _component_flag(source: Source) -> dict[str, bool]:
    """Entry of the record of a ticket whose mask comes from one that prunes heads or FFN units."""
    return {"closes": True} if source.prunes_components else {}


def _tensors(path: str, flag: str) -> dict[str, Tensor]:
    if not is_plain(path):
        raise LotteryError(f"{flag} {path} is no readable safetensors file (there is none)")
    try:
        read_header(path)
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise LotteryError(f"{flag} {path} is no readable safetensors file ({error})") from error


def _refuse_rounding(scores: Mapping[str, Tensor], what: str) -> None:
    """Refuse scores that are not the same in fp32, as which they are compared: ranks would tie."""
    for name, tensor in scores.items():
        if tensor.dtype in (torch.float16, torch.bfloat16, torch.float32):
            continue
        wide = tensor.double()
        held = (tensor.float().double() == wide) | wide.isnan()
        if not tensor.is_floating_point():
            held &= wide.abs() <= _LARGEST_WHOLE
        if not bool(held.all()):
            raise LotteryError(
                f"{what}: the scores of {name} are {str(tensor.dtype)[6:]} numbers that float32"
                " does not hold, and as such they are compared; write ranks or float32"
            )


def _refuse_lost(mask: Mask, source: Source, plan: DrawPlan, flag: str) -> None:
    """Refuse start weights that are pruned where the mask keeps."""
    if source.mask is None or not source.is_pruned:
        return
    if plan.reset == "shuffle-layers":
        raise LotteryError(
            f"{flag} {source.path} is pruned itself; --reset shuffle-layers needs dense weights"
        )
    if not mask.is_subset_of(source.mask):
        raise LotteryError(
            f"{flag} {source.path} is pruned where the mask keeps weights, so they have no value;"
            " start from weights of a dense run, or of one whose mask keeps all that this one keeps"
        )


def _initial(plan: DrawPlan, start: Source) -> Optional[Weights]:
    if plan.initial is None:
        return start.weights if start.update == 0 and not start.is_pruned else None
    initial = read_source(plan.initial)
    refuse_other_shapes(initial.shapes, start.shapes, f"--initial {initial.path}")
    if initial.update not in (0, None) or initial.is_pruned:
        raise LotteryError(
            f"--initial {initial.path} is pruned or of update {initial.update}; name the dense"
            " weights of update 0"
        )
    return initial.weights


def _moments(
    plan: DrawPlan, trained: Source, origin: Source, mask: Mask
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    if plan.moments == "fresh":
        return {}, {}
    moments, numbers = origin.optimizer_state()
    kept = {
        moment: {
            name: value.clone().masked_fill_(~mask[name], 0) if name in mask else value
            for name, value in by_name.items()
            if name in trained.weights
        }
        for moment, by_name in moments.items()
    }
    return kept, numbers

"""Draw a ticket from sources, a score, a scope, a sparsity and a reset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery import __version__
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import ComponentPruning, components
from fairseq_lottery.files import sha256_of
from fairseq_lottery.formats.checkpoints.optimizer_moments import Moments
from fairseq_lottery.formats.source import Source
from fairseq_lottery.formats.ticket import Ticket, refuse_other_shapes
from fairseq_lottery.formats.ticket_record import signature
from fairseq_lottery.masks import Mask, find_score, full_mask, score_all, select, shapes_of
from fairseq_lottery.options import (
    Prunable,
    Ranking,
    Reset,
    Scope,
    Seed,
    options,
    stored_values,
    values,
)
from fairseq_lottery.saliency import SALIENCIES, Select
from fairseq_lottery.tickets.draw_files import DrawFiles, read_draw_files
from fairseq_lottery.tickets.draw_plan import DrawPlan
from fairseq_lottery.tickets.resets import RESETS, ResetInput, Weights
from fairseq_lottery.tickets.shuffled_mask import shuffled_mask

Initialiser = Callable[[Source, int], Weights]
#: (source, score, mask, sparsity, select, rounds, mask of pruned components) -> mask of a score
#: that reads the model itself
MaskFinder = Callable[[Source, str, Mask, float, Select, Optional[int], Optional[Mask]], Mask]


@dataclass(frozen=True)
class PrecomputedMask:
    """A mask that replaces the one that a plan's score and scope would select.

    Attributes:
        mask: prunes only what the plan may prune.
        provenance: entries for the ticket's record, such as ``score`` and ``score_source``.
    """

    mask: Mask
    provenance: Mapping[str, Any]


def draw(
    plan: DrawPlan,
    initialise: Optional[Initialiser] = None,
    precomputed: Optional[PrecomputedMask] = None,
    find_mask: Optional[MaskFinder] = None,
) -> Ticket:
    """Draw the ticket that ``plan`` describes; the same plan and files give the same ticket.

    Args:
        initialise: builds fresh weights for a source's architecture, for ``reset="random"``.
            The plugin and the command pass a function that calls fairseq.
        precomputed: a mask of the plan's sparsity, used instead of ranking weights.
        find_mask: prunes a mask by a score that reads a source's model, for ``score="synflow"``.
            The plugin and the command pass a function that calls fairseq.

    Raises:
        LotteryError: a file or an option is not valid.
    """
    files = read_draw_files(plan)
    trained, start, dictionaries = files.trained, files.start, files.dictionaries
    mask, pruning, provenance = _mask(plan, files, precomputed, find_mask)
    if plan.reset != "random":
        flag = "--mask-from" if plan.reset == "keep" else "--start-from"
        _refuse_lost(mask, files.weights_source, plan, flag)
    moments = _moments(files, mask)
    values = _values(plan, files, mask, initialise)
    if pruning is not None:
        values = pruning.without_biases(values)
        moments = {name: pruning.without_biases(moment) for name, moment in moments.items()}
    record: dict[str, Any] = {
        **provenance,
        "asked": plan.target_sparsity,
        "sparsity": mask.sparsity,
        "pruned": mask.pruned,
        "denominator": mask.prunable,
        **{n: v for n, v in stored_values(plan, Reset, Seed).items() if v is not None},
        "alpha": plan.alpha if plan.reset in ("sign", "random-sign") else None,
        "moment_numbers": files.moment_numbers,
        "update": start.update,
        "values_update": files.weights_source.update,
        "masters": trained.masters and files.weights_source.masters,
        "sources": {
            "mask_from": _identity(trained),
            "start_from": _identity(start),
        },
        "architecture": trained.architecture,
        "dictionaries": dictionaries.digests(),
        **trained.adapter.record,
        "versions": {"fairseq_lottery": __version__, "torch": torch.__version__.split("+")[0]},
    }
    record["signature"] = signature(record)
    if plan.update_counter == "rewind" and start.update is None:
        raise LotteryError(
            f"{start.path} has no update number, which --update-counter rewind requires"
        )
    return Ticket(mask, values, record, dictionaries, moments)


def draw_mask(plan: DrawPlan) -> Mask:
    """Return the mask that ``draw`` would select, without computing start weights.

    Raises:
        LotteryError: a file or an option is not valid.
    """
    return _mask(plan, read_draw_files(plan), None)[0]


def _identity(source: Source) -> dict[str, Any]:
    """Return the record's entry for a file that the ticket was drawn from."""
    identity = {"digest": source.digest(), "update": source.update}
    return {**identity, "sha256": source.sha256} if source.sha256 else identity


def _values(
    plan: DrawPlan, files: DrawFiles, mask: Mask, initialise: Optional[Initialiser]
) -> dict[str, Tensor]:
    """Return the start values of all parameters, zero where the mask prunes."""
    trained = files.trained
    inputs = ResetInput(
        mask=mask,
        trained=trained.weights,
        start=files.start.weights,
        seed=plan.seed,
        alpha=plan.alpha,
        noise_scale=plan.noise_scale,
        initial=files.initial,
        initialise=(lambda seed: initialise(trained, seed)) if initialise else None,
    )
    values = {name: tensor.clone().float() for name, tensor in RESETS[plan.reset](inputs).items()}
    refuse_other_shapes(shapes_of(values), trained.shapes, "the reset")
    for name in mask:
        values[name][~mask[name]] = 0
    return values


def _mask(
    plan: DrawPlan,
    files: DrawFiles,
    precomputed: Optional[PrecomputedMask],
    find_mask: Optional[MaskFinder] = None,
) -> tuple[Mask, Optional[ComponentPruning], dict[str, Any]]:
    """Return the mask, its pruned components and its provenance for the record."""
    mask, pruning, provenance = _mask_by_scores(plan, files, precomputed, find_mask)
    if not plan.shuffle_mask:
        return mask, pruning, provenance
    if pruning is not None or provenance.get("closes"):
        raise LotteryError(
            "--shuffle-mask would not keep the pruned heads and FFN units of the mask; choose"
            " another mask"
        )
    return shuffled_mask(mask, plan.seed), None, {**provenance, "shuffle_mask": True}


def _mask_by_scores(
    plan: DrawPlan,
    files: DrawFiles,
    precomputed: Optional[PrecomputedMask],
    find_mask: Optional[MaskFinder],
) -> tuple[Mask, Optional[ComponentPruning], dict[str, Any]]:
    """Return what ``_mask`` returns, without a shuffle."""
    trained = files.trained
    if files.masked is not None:
        return _mask_of_file(plan, trained, files.masked)
    axes = {**stored_values(plan, Ranking, Prunable), **_component_flag(trained)}
    if precomputed is not None:
        return precomputed.mask, None, {**axes, **precomputed.provenance}
    full = full_mask(trained.shapes, **values(plan, Prunable))
    current = trained.mask if trained.mask is not None else full
    if set(current) != set(full) or current.protected != full.protected:
        raise LotteryError(
            f"--prunable {plan.prunable} selects {len(full)} matrices, but the mask of"
            f" {trained.path} has {len(current)}; use the prunable set of that mask"
        )
    pruning = _prune_components(current, trained, plan.components)
    if pruning is not None:
        current = pruning.mask
        axes.update(pruning.record)
    if plan.target_sparsity is None:
        return current, pruning, {**axes, "score": "parts", "score_source": None}
    excluded = pruning.restrict(full) if pruning is not None else None

    def choose(scores: Mapping[str, Tensor], mask: Mask, sparsity: float) -> Mask:
        return select(scores, mask, sparsity, excluded=excluded, **values(plan, Scope))

    if files.scores is not None:
        scores = files.scores
        axes.update(score="score-file", score_source=sha256_of(str(plan.score_file)))
    else:
        score, source = find_score(plan.score)
        axes["score_source"] = source
        if not _reads_weights(plan):
            if find_mask is None:
                raise LotteryError(f"--score {plan.score} requires a function that builds models")
            axes.update({} if plan.score_rounds is None else {"score_rounds": plan.score_rounds})
            final, rounds = plan.target_sparsity, plan.score_rounds
            mask = find_mask(trained, plan.score, current, final, choose, rounds, excluded)
            return mask, pruning, axes
        scores = score_all(
            score,
            {name: trained.weights[name] for name in current},
            start=files.start.weights if plan.start_from else None,
            gradients=files.gradients,
            seed=plan.seed,
        )
    return choose(scores, current, plan.target_sparsity), pruning, axes


def _reads_weights(plan: DrawPlan) -> bool:
    """Return whether the score reads weights and files; otherwise it reads the model.

    Raises:
        LotteryError: the score needs gradients of several rounds, which no file has.
    """
    saliency = SALIENCIES.get(plan.score)
    if saliency is None:
        return True
    if saliency.needs_data and (not saliency.reads_file or (plan.score_rounds or 1) > 1):
        rounds = f" --score-rounds {plan.score_rounds}" if plan.score_rounds else ""
        raise LotteryError(
            f"--score {plan.score} computes gradients in rounds, which a draw cannot; train with"
            f" fairseq-train --score {plan.score}{rounds} --prune-to S --prune-schedule one-shot,"
            " and give its checkpoint as --mask-file"
        )
    return saliency.needs_data


def _mask_of_file(
    plan: DrawPlan, trained: Source, source: Source
) -> tuple[Mask, Optional[ComponentPruning], dict[str, Any]]:
    """Return what ``_mask`` returns for the mask of a file; a ticket states its provenance."""
    assert source.mask is not None
    pruning = _prune_components(source.mask, trained, plan.components)
    provenance: dict[str, Any] = {
        option.key(): "mask-file" if option.axis else option.default
        for option in options(Ranking, Prunable)
    }
    record = source.record if source.kind == "ticket" else {}
    # these entries alone do not describe how components were pruned
    if not (plan.components or record.get("parts")):
        provenance.update(
            {name: record[name] for name in provenance if record.get(name) is not None}
        )
    provenance.update({**_component_flag(source), "score_source": source.mask.digest()})
    provenance.update({"shuffle_mask": True} if record.get("shuffle_mask") else {})
    if pruning is None:
        return source.mask, None, provenance
    return pruning.mask, pruning, {**pruning.record, **provenance}


def _prune_components(
    mask: Mask, source: Source, choice: Optional[str]
) -> Optional[ComponentPruning]:
    """Return the components that a choice prunes, or that are pruned already.

    Heads that were pruned to attend evenly have no queries: all rows of these are pruned.
    """
    queries = [keep for name, keep in (source.mask or {}).items() if "q_proj" in name]
    if choice is None and not any(bool((~keep.any(dim=1)).any()) for keep in queries):
        return None
    return components().prune_draw(mask, source, choice)


def _component_flag(source: Source) -> dict[str, bool]:
    """Return the record's flag for a mask that comes from one with pruned components."""
    return {"closes": True} if source.prunes_components else {}


def _refuse_lost(mask: Mask, source: Source, plan: DrawPlan, flag: str) -> None:
    """Refuse start weights whose own mask prunes what the new mask keeps."""
    if source.mask is None or not source.is_pruned:
        return
    if plan.reset == "shuffle-layers":
        raise LotteryError(
            f"{flag} {source.path} is pruned, but --reset shuffle-layers requires dense weights"
        )
    if not mask.is_subset_of(source.mask):
        raise LotteryError(
            f"{flag} {source.path} is pruned where the mask keeps weights; start from dense"
            " weights, or from those of a run whose mask keeps them too"
        )


def _moments(files: DrawFiles, mask: Mask) -> Moments:
    """Return the moments of the model's parameters, zero where the mask prunes."""
    return {
        moment: {
            name: value.clone().masked_fill_(~mask[name], 0) if name in mask else value
            for name, value in by_name.items()
            if name in files.trained.weights
        }
        for moment, by_name in files.moments.items()
    }

"""``heads search``: the smallest model with enough of the metric, and two controls of its size.

A search over heads and FFN units writes choices. A search over single weights (m-pruning) writes
tickets.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import save_ticket
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.commands.measurement import load_inputs
from fairseq_lottery.heads.commands.messages import record_of, show
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.loaded_heads import LoadedHeads
from fairseq_lottery.heads.measures.loaded_measures import Evaluator, measure_importance
from fairseq_lottery.heads.searches.importance_file import StepImportance, save_importance_steps
from fairseq_lottery.heads.searches.search import (
    Choice,
    Estimate,
    Step,
    grid,
    m_pruning,
    s_pruning,
    stepwise,
    survivors,
)
from fairseq_lottery.heads.searches.subnetworks import SUBNETWORKS, subnetworks, weight_subnetworks
from fairseq_lottery.masks import Mask, count_to_prune, full_mask, shapes_of
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.tickets.draw import PrecomputedMask

#: share per step: of the components of a kind, or of the weights that remain
_STEP = 0.1
#: the file with the importance at every step, beside those of the subnetworks
_IMPORTANCE = "importance"


def search(args: argparse.Namespace) -> None:
    """Prune while the metric is high enough; write the survivors and two controls."""
    _refuse_unused(args)
    paths = _paths(args)
    if args.kind == "weights":
        _search_weights(args, paths)
    else:
        _search_components(args, paths)


def _search_components(args: argparse.Namespace, paths: dict[str, Path]) -> None:
    loaded, sample, start = load_inputs(args)
    evaluate = Evaluator(loaded, sample, args.metric, args.remove_bpe)
    estimates: list[StepImportance] = []

    def estimate(components: ComponentMask) -> Scores:
        scores = measure_importance(
            loaded, sample, per=args.per, start=components, normalise=args.normalise
        )
        estimates.append(StepImportance(components, scores))
        return scores

    if args.kind:
        steps = _by_kind(args, start, estimate, evaluate)
    else:
        steps = s_pruning(start, estimate, evaluate.more_is_better, args.enough, args.at_least)
    good, rows = _survivors(steps)
    record = record_of(args, weights=loaded.source.digest(), steps=rows)
    for name, components in subnetworks(good, args.seed).items():
        save_choice(paths[name], components, {**record, "subnetwork": name}, args.overwrite)
        show(paths[name], components)
    if estimates:
        kinds = [args.kind] if args.kind else ["heads", "blocks"]
        save_importance_steps(paths[_IMPORTANCE], estimates, kinds, record, args.overwrite)


def _by_kind(
    args: argparse.Namespace, start: ComponentMask, estimate: Estimate, evaluate: Evaluator
) -> Iterator[Step[ComponentMask]]:
    """Prune in equal steps up to the requested share, or to the largest possible one."""
    inputs = StrategyInput(start, kind=args.kind, at_least=args.at_least)
    most = (inputs.pruned + sum(inputs.prunable.values())) / inputs.total
    if args.to is not None:
        most = args.to
        count = count_to_prune(most, inputs.total)
        if count <= inputs.pruned:
            raise LotteryError(
                f"--to {most:g} prunes {count} of {inputs.total} {args.kind}, but {inputs.pruned}"
                " are pruned already; give a larger share"
            )
        _ = replace(inputs, fraction=most).to_prune  # rejects the share before hours of measuring
    shares = grid(min(_STEP if args.step is None else args.step, most), most)
    shares = [share for share in shares if count_to_prune(share, inputs.total) > inputs.pruned]
    if args.one_shot:
        inputs = replace(inputs, scores=estimate(start))
    each_step = None if args.one_shot else estimate
    return stepwise(inputs, shares, evaluate.more_is_better, each_step, args.enough)


def _search_weights(args: argparse.Namespace, paths: dict[str, Path]) -> None:
    loaded, sample, _ = load_inputs(args)
    full = _dense_mask(loaded)
    evaluate = Evaluator(loaded, sample, args.metric, args.remove_bpe)
    weights = {name: loaded.source.weights[name] for name in full}

    step_size = _STEP if args.step is None else args.step
    steps = m_pruning(full, weights, evaluate.more_is_better, args.enough, step_size)
    good, rows = _survivors(steps)
    if not good.pruned:
        print(f"no step keeps {args.enough:g} of the metric: nothing is pruned in all three files")
    record = record_of(args, weights=loaded.source.digest(), steps=rows)
    for name, mask in weight_subnetworks(good, weights, args.seed).items():
        plan = DrawPlan(
            mask_from=args.file, sparsity=mask.sparsity, scope="global",
            prunable=_prunable(loaded), reset="keep", seed=args.seed,
        )  # fmt: skip
        how = {"score": f"m-pruning-{name}", "score_source": mask.digest(), "search": record}
        ticket = draw(plan, precomputed=PrecomputedMask(mask, how))
        save_ticket(paths[name], ticket, args.overwrite)
        print(f"{paths[name]}: {mask.pruned} of {mask.prunable} weights pruned")
        print(ticket.record["signature"])


def _dense_mask(loaded: LoadedHeads) -> Mask:
    """Return the mask that prunes nothing; reject a model that no ticket can be drawn from."""
    source = loaded.source
    source.find_dictionaries()
    if source.shapes != shapes_of(source.adapter.without_head(loaded.weights)):
        raise LotteryError(
            f"heads or units were cut out of {source.path}; restore them with fairseq-lottery"
            " export --to dense, and search in that"
        )
    if source.is_pruned:
        raise LotteryError(
            f"{source.path} is pruned already, but a search over weights requires a dense model;"
            " prune it further with fairseq-lottery ticket"
        )
    return full_mask(source.shapes, _prunable(loaded))


def _prunable(loaded: LoadedHeads) -> str:
    """Return the prunable set of m-pruning: Prasanna et al. do not prune embeddings.

    A classifier does not use the matrix of the masked-LM head, so pruning it would have no effect.
    """
    is_classifier = any(map(loaded.source.adapter.is_head, loaded.weights))
    return "layers" if is_classifier else "no-embeddings"


def _survivors(steps: Iterator[Step[Choice]]) -> tuple[Choice, list[dict[str, Any]]]:
    """Run a search to its end and print each step; return the result, and rows for the record."""
    rows: list[dict[str, Any]] = []

    def note(step: Step[Choice]) -> None:
        if isinstance(step.choice, Mask):
            numbers: dict[str, Any] = {"pruned": step.choice.pruned}
            text = f"{step.choice.pruned} of {step.choice.prunable} weights"
        else:
            pruned = {kind: step.choice.count_pruned(kind) for kind in KINDS}
            numbers = {"phase": step.phase, **pruned}
            text = ", ".join(f"{number:>4} {kind}" for kind, number in pruned.items())
        rows.append({**numbers, "metric": step.metric, "enough": step.enough})
        enough = "" if step.enough else ", not enough"
        print(f"{step.phase:>13}: {text} pruned: {step.metric:.4f}{enough}", flush=True)

    return survivors(steps, note).choice, rows


def _refuse_unused(args: argparse.Namespace) -> None:
    """Refuse flags that the requested search does not use, before a model is read."""
    if not args.kind and (args.step is not None or args.one_shot or args.to is not None):
        raise LotteryError("--step, --one-shot and --to require --kind")
    if args.kind == "weights":
        for name in ("one_shot", "to", "at_least", "components", "normalise"):
            if getattr(args, name):
                flag = "--" + name.replace("_", "-")
                raise LotteryError(f"{flag} applies to heads and units; leave it out for weights")
        if args.enough == 0:
            raise LotteryError("--enough 0 would prune all weights; give a share above 0")
        if Path(args.out).suffix != ".safetensors":
            raise LotteryError(
                f"--out {args.out} will be tickets; give a name that ends in .safetensors"
            )
    for name in ("step", "to"):
        value = getattr(args, name)
        if value is not None and not 0 < value <= 1:
            raise LotteryError(f"--{name} {value:g} is outside (0, 1]; 0.5 is a half")


def _paths(args: argparse.Namespace) -> dict[str, Path]:
    """Return subnetwork, or importance -> output file; refuse to overwrite without --overwrite."""
    out = Path(args.out)
    names = SUBNETWORKS if args.kind == "weights" else (*SUBNETWORKS, _IMPORTANCE)
    paths = {name: out.with_name(f"{out.stem}-{name}{out.suffix}") for name in names}
    for path in paths.values():
        if os.path.lexists(path) and not args.overwrite:
            raise LotteryError(f"{path} exists already; remove it or choose another --out")
    return paths

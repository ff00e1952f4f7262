"""``heads search``: the smallest model with enough of the metric, and two controls of its size.

Over heads and FFN units, whose results are choices; or over single weights (m-pruning), whose
results are tickets.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import save_ticket
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.commands.measurement import started
from fairseq_lottery.heads.commands.messages import record_of, show
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import save_parts
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.loaded_heads import LiveHeads
from fairseq_lottery.heads.measures.loaded_measures import Judged, measured
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
from fairseq_lottery.masks import Mask, count_to_prune, full_mask
from fairseq_lottery.tickets.draw import DrawPlan, Found, draw

#: of a kind, or of the weights that remain
_STEP = 0.1
#: the prunable set of m-pruning: Prasanna et al. leave the embeddings alone
_PRUNABLE = "no-embeddings"


def search(args: argparse.Namespace) -> None:
    """Prune while enough of the metric is left; write what survives and two controls."""
    _refuse_stray(args)
    paths = _paths(args)
    if args.kind == "weights":
        _search_weights(args, paths)
    else:
        _search_parts(args, paths)


def _search_parts(args: argparse.Namespace, paths: dict[str, Path]) -> None:
    made, sample, start = started(args)
    judged = Judged(made, sample, args.metric, args.remove_bpe)

    def estimate(parts: Parts) -> Scores:
        return measured(made, sample, per=args.per, start=parts, normalise=args.normalise)

    def counts(step: Step[Parts]) -> tuple[dict[str, Any], str]:
        closed = {kind: step.choice.count_closed(kind) for kind in KINDS}
        said = ", ".join(f"{number:>4} {kind}" for kind, number in closed.items())
        return {"phase": step.phase, **closed}, f"{said} closed"

    if args.kind:
        steps = _by_kind(args, start, estimate, judged)
    else:
        steps = s_pruning(start, estimate, judged.more_is_better, args.enough, args.at_least)
    found, rows = _survivors(steps, counts)
    record = record_of(args, weights=made.source.digest(), steps=rows)
    for name, parts in subnetworks(found, args.seed).items():
        save_parts(paths[name], parts, {**record, "subnetwork": name}, args.overwrite)
        show(paths[name], parts)


def _by_kind(
    args: argparse.Namespace, start: Parts, estimate: Estimate, judged: Judged
) -> Iterator[Step[Parts]]:
    """Equal steps up to the share asked for, or to all that may be closed."""
    given = StrategyInput(start, kind=args.kind, at_least=args.at_least)
    most = (given.closed + sum(given.closable.values())) / given.total
    if args.to is not None:
        most = args.to
        if count_to_prune(most, given.total) <= given.closed:
            raise LotteryError(
                f"--to {most:g} closes {count_to_prune(most, given.total)} of {given.total}"
                f" {args.kind}, and {given.closed} are closed already; give a larger share"
            )
        _ = replace(given, fraction=most).wanted  # refuses it before hours of measuring
    shares = grid(min(_STEP if args.step is None else args.step, most), most)
    shares = [share for share in shares if count_to_prune(share, given.total) > given.closed]
    if args.one_shot:
        given = replace(given, scores=estimate(start))
    anew = None if args.one_shot else estimate
    return stepwise(given, shares, judged.more_is_better, anew, args.enough)


def _search_weights(args: argparse.Namespace, paths: dict[str, Path]) -> None:
    made, sample, _ = started(args)
    full = _everything(made)
    judged = Judged(made, sample, args.metric, args.remove_bpe)
    weights = {name: made.source.weights[name] for name in full}

    def counts(step: Step[Mask]) -> tuple[dict[str, Any], str]:
        pruned = step.choice.pruned
        return {"pruned": pruned}, f"{pruned} of {full.prunable} weights pruned"

    step_size = _STEP if args.step is None else args.step
    steps = m_pruning(full, weights, judged.more_is_better, args.enough, step_size)
    found, rows = _survivors(steps, counts)
    if not found.pruned:
        print(f"no step leaves {args.enough:g} of the metric: nothing is pruned in all three")
    record = record_of(args, weights=made.source.digest(), steps=rows)
    for name, mask in weight_subnetworks(found, weights, args.seed).items():
        plan = DrawPlan(
            mask_from=args.file, sparsity=mask.sparsity, scope="global", prunable=_PRUNABLE,
            reset="keep", seed=args.seed,
        )  # fmt: skip
        how = {"score": f"m-pruning-{name}", "score_source": mask.digest(), "search": record}
        ticket = draw(plan, found=Found(mask, how))
        save_ticket(paths[name], ticket, args.overwrite)
        print(f"{paths[name]}: {mask.pruned} of {mask.prunable} weights pruned")
        print(ticket.record["signature"])


def _everything(made: LiveHeads) -> Mask:
    """Return the mask that prunes nothing, of a model that a ticket can be drawn from."""
    source = made.source
    source.find_dictionaries()
    if source.shapes != {name: tuple(weight.shape) for name, weight in made.weights.items()}:
        raise LotteryError(
            f"{source.path} had heads or units cut out; search in the whole model, which"
            " fairseq-lottery export --to dense gives"
        )
    if source.is_pruned:
        raise LotteryError(
            f"{source.path} is pruned already, and the search over weights starts from a dense"
            " model; prune it on with fairseq-lottery ticket"
        )
    return full_mask(source.shapes, _PRUNABLE)


def _survivors(
    steps: Iterator[Step[Choice]], counts: Callable[[Step[Choice]], tuple[dict[str, Any], str]]
) -> tuple[Choice, list[dict[str, Any]]]:
    """Run a search to its end, a line a step: the result, and all steps for the record."""
    rows: list[dict[str, Any]] = []

    def note(step: Step[Choice]) -> None:
        numbers, said = counts(step)
        rows.append({**numbers, "metric": step.metric, "enough": step.enough})
        enough = "" if step.enough else ", not enough"
        print(f"{step.phase:>13}: {said}: {step.metric:.4f}{enough}", flush=True)

    return survivors(steps, note).choice, rows


def _refuse_stray(args: argparse.Namespace) -> None:
    """Refuse flags that the search asked for does not have, before a model is read."""
    if not args.kind and (args.step is not None or args.one_shot or args.to is not None):
        raise LotteryError(
            "--step, --one-shot and --to are of a search with --kind; give that with them"
        )
    if args.kind == "weights":
        for name in ("one_shot", "to", "at_least", "parts", "normalise"):
            if getattr(args, name):
                flag = "--" + name.replace("_", "-")
                raise LotteryError(f"{flag} is about heads and units; do without it for weights")
        if args.enough == 0:
            raise LotteryError("--enough 0 would leave no weight; give a share above 0")
        if Path(args.out).suffix != ".safetensors":
            raise LotteryError(f"--out {args.out} will be tickets, whose names end in .safetensors")
    for name in ("step", "to"):
        value = getattr(args, name)
        if value is not None and not 0 < value <= 1:
            raise LotteryError(f"--{name} {value:g} is outside (0, 1]; 0.5 is a half")


def _paths(args: argparse.Namespace) -> dict[str, Path]:
    """Return where each subnetwork is written; none of them may be there."""
    out = Path(args.out)
    paths = {name: out.with_name(f"{out.stem}-{name}{out.suffix}") for name in SUBNETWORKS}
    for path in paths.values():
        if os.path.lexists(path) and not args.overwrite:
            raise LotteryError(f"{path} exists already; remove it or choose another --out")
    return paths

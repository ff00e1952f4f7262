"""Searching for the smallest model that still does, and two controls of its size."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.commands.measurement import started
from fairseq_lottery.heads.commands.messages import record_of, show, tell
from fairseq_lottery.heads.commands.weight_search import refuse_stray, search_weights
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import save_parts
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.loaded_measures import Judged, measured, prepared
from fairseq_lottery.heads.searches.search import Estimate, grid, s_pruning, stepwise
from fairseq_lottery.heads.searches.search_steps import Step
from fairseq_lottery.heads.searches.subnetworks import SUBNETWORKS, subnetworks
from fairseq_lottery.masks import count_to_prune

#: share of a kind that a step closes
_STEP = 0.1


def search(args: argparse.Namespace) -> None:
    """Close parts while enough of the metric is left; write what survives and two controls."""
    _refuse_stray(args)
    paths = _paths(args)
    if args.kind == "weights":
        search_weights(args, paths)
        return
    made, sample, start = started(args)
    judged = Judged(made, sample, args.metric, args.remove_bpe)

    def estimate(parts: Parts) -> Scores:
        return prepared(measured(made, sample, per=args.per, start=parts), args.normalise)

    if args.kind:
        steps = _by_kind(args, start, estimate, judged)
    else:
        steps = s_pruning(
            start, estimate, judged.more_is_better, args.enough, at_least=args.at_least
        )
    found, rows = None, []
    for step in steps:
        closed = {kind: step.choice.count_closed(kind) for kind in KINDS}
        rows.append({"phase": step.phase, **closed, "metric": step.metric, "enough": step.enough})
        counts = ", ".join(f"{number:>4} {kind}" for kind, number in closed.items())
        tell(step, f"{counts} closed")
        found = step.choice if step.enough else found
    assert found is not None  # the full model is enough of itself
    record = record_of(args, weights=made.source.digest(), steps=rows)
    for name, parts in subnetworks(found, args.seed).items():
        save_parts(paths[name], parts, {**record, "subnetwork": name}, args.overwrite)
        show(str(paths[name]), parts)


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
    step = _STEP if args.step is None else args.step
    shares = grid(min(step, most), most)
    shares = [share for share in shares if count_to_prune(share, given.total) > given.closed]
    if args.one_shot:
        given = replace(given, scores=estimate(start))
    anew = None if args.one_shot else estimate
    return stepwise(given, shares, judged.more_is_better, anew, args.enough)


def _refuse_stray(args: argparse.Namespace) -> None:
    """Refuse flags that the search asked for does not have, before a model is read."""
    if not args.kind and (args.step is not None or args.one_shot or args.to is not None):
        raise LotteryError(
            "--step, --one-shot and --to are of a search with --kind; give that with them"
        )
    if args.kind == "weights":
        refuse_stray(args)
    for name in ("step", "to"):
        value = getattr(args, name)
        if value is not None and not 0 < value <= 1:
            raise LotteryError(f"--{name} {value:g} is outside (0, 1]; 0.5 is a half")


def _paths(args: argparse.Namespace) -> dict[str, Path]:
    """Where each subnetwork is written; none of them may be there."""
    out = Path(args.out)
    paths = {name: out.with_name(f"{out.stem}-{name}{out.suffix}") for name in SUBNETWORKS}
    for path in paths.values():
        if os.path.lexists(path) and not args.overwrite:
            raise LotteryError(f"{path} exists already; remove it or choose another --out")
    return paths

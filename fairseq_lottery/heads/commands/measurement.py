"""Steps that run a model on examples of its data folder."""

import argparse
import os
from dataclasses import replace
from itertools import product
from typing import Any, Callable, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.commands.messages import record_of
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import load_parts, save_json
from fairseq_lottery.heads.measures.head_changes import difference
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.loaded_heads import LiveHeads, Sample, live_heads
from fairseq_lottery.heads.measures.loaded_measures import Judged, ablated, changed, measured
from fairseq_lottery.heads.measures.measures import find_measure
from fairseq_lottery.heads.measures.score_table import grid, load_scores, save_scores
from fairseq_lottery.options.axes import RANKING, STRATEGY, UNSHARED

#: strategies that take a share
CURVED = [name for name in STRATEGY.names if name not in UNSHARED]

Number = TypeVar("Number", int, float)


def started(args: argparse.Namespace) -> tuple[LiveHeads, Sample, Parts]:
    """The model, the sentences, and what is open so far."""
    if os.path.lexists(args.out) and not args.overwrite:  # before hours of measuring
        raise LotteryError(f"{args.out} exists already; remove it or choose another name")
    sample = Sample(args.subset, args.sentences, args.max_tokens)
    made = live_heads(args.file, args.data, args.cpu)
    start = load_parts(args.parts)[0] if args.parts else Parts(made.anatomy, {})
    return made, sample, start


def importance(args: argparse.Namespace) -> None:
    """Scores of all parts, by a measure."""
    own = find_measure(args.measure)[1]
    made, sample, start = started(args)
    scores = measured(made, sample, args.measure, args.per, start, args.normalise)
    _save(args, made, scores, **({} if own is None else {"measure_source": own}))


def _save(args: argparse.Namespace, made: LiveHeads, scores: Scores, **more: Any) -> None:
    record = record_of(args, weights=made.source.digest(), **more)
    save_scores(args.out, made.anatomy, scores, record, args.overwrite)
    print(*grid(scores.get("heads", {})), sep="\n")


def ablate(args: argparse.Namespace) -> None:
    """What closing each head alone changes, or keeping one of a layer."""
    if args.one_left and args.blocks:
        raise LotteryError("--one-left is about heads; do without --blocks")
    made, sample, start = started(args)
    judged = Judged(made, sample, args.metric, args.remove_bpe)
    full = judged(start)
    kinds = ("heads", "blocks") if args.blocks else ("heads",)
    effects = ablated(judged, start, full, kinds, args.one_left)
    # scores are high where a part matters
    sign = -1 if args.metric == "bleu" else 1
    scores = {kind: {n: sign * v for n, v in modules.items()} for kind, modules in effects.items()}
    print(f"{args.metric} of the full model: {full:.4f}; by how much it is worse:")
    _save(args, made, scores, full=full)


def curve(args: argparse.Namespace) -> None:
    """The metric by share closed, for each strategy and seed."""
    strategies, shares = args.strategies.split(","), _numbers("--shares", args.shares, float)
    seeds = _numbers("--seeds", args.seeds, int)
    for strategy in strategies:
        if strategy not in CURVED:
            raise LotteryError(
                f"there is no curve of {strategy!r}; choose of {', '.join(CURVED)}, with commas"
            )
    for share in shares:
        if not 0 <= share <= 1:
            raise LotteryError(f"--shares {share:g} is outside [0, 1]; 0.5 closes a half")
    if not args.scores and set(RANKING) & set(strategies):
        raise LotteryError("lowest and highest rank by scores of heads importance; give --scores")
    made, sample, start = started(args)
    scores = load_scores(args.scores)[1] if args.scores else None
    given = StrategyInput(start, kind=args.kind, scores=scores, at_least=args.at_least)
    judged = Judged(made, sample, args.metric, args.remove_bpe)
    full = judged(start)
    print(f"{args.metric} with nothing more closed: {full:.4f}")
    points: list[dict[str, Any]] = []
    known: dict[str, float] = {}  # equal choices are measured once
    for strategy, share, seed in product(strategies, shares, seeds):
        closed, metric, why = 0, None, None
        try:
            parts = STRATEGIES[strategy](replace(given, fraction=share, seed=seed))
        except LotteryError as error:
            found = why = str(error)
        else:
            digest, closed = parts.digest(), parts.count_closed(args.kind)
            metric = known[digest] = known[digest] if digest in known else judged(parts)
            found = f"{metric:.4f}"
        points.append({"strategy": strategy, "share": share, "seed": seed, "closed": closed,
                       "metric": metric, "why": why})  # fmt: skip
        print(f"{strategy:<16} {share:<6g} seed {seed}  {closed:>5} closed  {found}", flush=True)
    if not known:
        raise LotteryError(
            f"no strategy can close any of --shares {args.shares} ({points[0]['why']})"
        )
    record = record_of(args, weights=made.source.digest())
    save_json(args.out, {"full": full, "points": points, "record": record}, args.overwrite)


def _numbers(flag: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise LotteryError(f"{flag} {text} must be numbers with commas") from None


def changes(args: argparse.Namespace) -> None:
    """What a training has changed of each head."""
    if args.parts:
        raise LotteryError("changes looks at heads as they were trained; do without --parts")
    after, sample, _ = started(args)
    before = live_heads(args.before, args.data, args.cpu)
    scores = changed(before, after, sample, args.of, args.per)
    if args.control:
        control = live_heads(args.control, args.data, args.cpu)
        scores = difference(scores, changed(before, control, sample, args.of, args.per))
    _save(args, after, scores, before_weights=before.source.digest())

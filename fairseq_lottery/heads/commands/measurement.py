"""Steps that run a model on examples of its data folder."""

import argparse
from dataclasses import replace
from itertools import product
from typing import Any, Callable, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import refuse_target
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.commands.messages import record_of
from fairseq_lottery.heads.components.choice_file import load_choice, save_json
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.head_changes import difference
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.loaded_heads import LoadedHeads, Sample, load_heads
from fairseq_lottery.heads.measures.loaded_measures import (
    Evaluator,
    measure_ablation,
    measure_changes,
    measure_importance,
)
from fairseq_lottery.heads.measures.measures import find_measure
from fairseq_lottery.heads.measures.score_table import grid, load_scores, save_scores
from fairseq_lottery.options.axes import RANKING, SHARED

Number = TypeVar("Number", int, float)


def load_inputs(args: argparse.Namespace) -> tuple[LoadedHeads, Sample, ComponentMask]:
    """Load the model, its sentences, and the components that are kept at the start."""
    refuse_target(args.out, args.overwrite)  # before hours of measuring
    sample = Sample(args.subset, args.sentences, args.max_tokens)
    loaded = load_heads(args.file, args.data, args.cpu)
    start = (
        load_choice(args.components)[0] if args.components else ComponentMask(loaded.anatomy, {})
    )
    return loaded, sample, start


def importance(args: argparse.Namespace) -> None:
    """Score all components by a measure."""
    source_digest = find_measure(args.measure)[1]
    loaded, sample, start = load_inputs(args)
    scores = measure_importance(loaded, sample, args.measure, args.per, start, args.normalise)
    more = {} if source_digest is None else {"measure_source": source_digest}
    _save(args, loaded, scores, **more)


def _save(args: argparse.Namespace, loaded: LoadedHeads, scores: Scores, **more: Any) -> None:
    record = record_of(args, weights=loaded.source.digest(), **more)
    save_scores(args.out, loaded.anatomy, scores, record, args.overwrite)
    print(*grid(scores.get("heads", {})), sep="\n")


def ablate(args: argparse.Namespace) -> None:
    """Measure how the metric changes if each head is pruned alone, or kept alone in its layer."""
    if args.one_left and args.blocks:
        raise LotteryError("--one-left applies to heads; leave --blocks out")
    loaded, sample, start = load_inputs(args)
    evaluate = Evaluator(loaded, sample, args.metric, args.remove_bpe)
    full = evaluate(start)
    kinds = ("heads", "blocks") if args.blocks else ("heads",)
    effects = measure_ablation(evaluate, start, full, kinds, args.one_left)
    # scores are high for components that matter
    sign = -1 if evaluate.is_larger_better else 1
    scores = {  # + 0.0 turns -0.0 into 0.0
        kind: {name: sign * values + 0.0 for name, values in modules.items()}
        for kind, modules in effects.items()
    }
    print(f"{args.metric} of the full model: {full:.4f}; it gets worse by:")
    _save(args, loaded, scores, full=full)


def curve(args: argparse.Namespace) -> None:
    """Measure the metric by pruned share, for each strategy and seed."""
    strategies, shares = args.strategies.split(","), _numbers("--shares", args.shares, float)
    seeds = _numbers("--seeds", args.seeds, int)
    for strategy in strategies:
        if strategy not in SHARED:
            raise LotteryError(
                f"strategy {strategy!r} has no curve; choose from {', '.join(SHARED)}, separated by"
                " commas"
            )
    for share in shares:
        if not 0 <= share <= 1:
            raise LotteryError(f"--shares {share:g} is outside [0, 1]; 0.5 prunes a half")
    if not args.scores and set(RANKING) & set(strategies):
        raise LotteryError("lowest and highest rank by scores of heads importance; give --scores")
    loaded, sample, start = load_inputs(args)
    scores = load_scores(args.scores)[1] if args.scores else None
    inputs = StrategyInput(start, kind=args.kind, scores=scores, at_least=args.at_least)
    evaluate = Evaluator(loaded, sample, args.metric, args.remove_bpe)
    full = evaluate(start)
    print(f"{args.metric} before pruning: {full:.4f}")
    points: list[dict[str, Any]] = []
    known: dict[str, float] = {}  # equal choices are evaluated once
    for strategy, share, seed in product(strategies, shares, seeds):
        pruned, metric, problem = 0, None, None
        try:
            components = STRATEGIES[strategy](replace(inputs, fraction=share, seed=seed))
        except LotteryError as error:
            text = problem = str(error)
        else:
            digest, pruned = components.digest(), components.count_pruned(args.kind)
            metric = known[digest] = known[digest] if digest in known else evaluate(components)
            text = f"{metric:.4f}"
        points.append({"strategy": strategy, "share": share, "seed": seed, "closed": pruned,
                       "metric": metric, "why": problem})  # fmt: skip
        print(f"{strategy:<16} {share:<6g} seed {seed}  {pruned:>5} pruned  {text}", flush=True)
    if not known:
        raise LotteryError(
            f"no strategy can prune any of --shares {args.shares} ({points[0]['why']})"
        )
    record = record_of(args, weights=loaded.source.digest())
    save_json(args.out, {"full": full, "points": points, "record": record}, args.overwrite)


def _numbers(flag: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError:
        raise LotteryError(f"{flag} {text} must be numbers separated by commas") from None


def changes(args: argparse.Namespace) -> None:
    """Measure how much a training has changed each head."""
    if args.components:
        raise LotteryError("changes compares heads as they were trained; leave --components out")
    after, sample, _ = load_inputs(args)
    # a start has no head of its task, which only importance requires
    examples_of = None if args.of == "importance" else args.file
    before = load_heads(args.before, args.data, args.cpu, examples_of)
    scores = measure_changes(before, after, sample, args.of, args.per)
    if args.control:
        control = load_heads(args.control, args.data, args.cpu, examples_of)
        scores = difference(scores, measure_changes(before, control, sample, args.of, args.per))
    _save(args, after, scores, before_weights=before.source.digest())

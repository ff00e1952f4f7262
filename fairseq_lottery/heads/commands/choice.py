"""Choosing what to close, closing it, and comparing choices and measures: no model runs."""

import argparse
import json
from dataclasses import asdict
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_source
from fairseq_lottery.heads.choices.stability import agreement
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.closing.closed_checkpoint import close_checkpoint
from fairseq_lottery.heads.closing.closed_draw import anatomy_of
from fairseq_lottery.heads.commands.messages import record_of, show
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import load_parts, save_parts
from fairseq_lottery.heads.measures.rank_agreement import rank_agreement
from fairseq_lottery.heads.measures.score_table import is_scores, load_scores
from fairseq_lottery.options.axes import STRATEGY


def choose(args: argparse.Namespace) -> None:
    """Close a share of the parts by a strategy."""
    STRATEGY.refuse_unknown(args.strategy)
    scores = made = None
    if args.scores:
        anatomy, scores, made = load_scores(args.scores)
    else:
        anatomy = anatomy_of(read_source(args.of))
    mode = "uniform" if args.uniform else "zero"
    start = load_parts(args.parts)[0] if args.parts else Parts(anatomy, {}, mode)
    if start.anatomy != anatomy:
        raise LotteryError(f"--parts {args.parts} is of another model")
    if args.uniform and start.mode != "uniform":
        raise LotteryError(f"the heads that {args.parts} closes give zero; do without --uniform")
    types = _types(args.types)
    given = StrategyInput(
        start, args.kind, args.share, args.count, types, scores, args.seed, args.at_least
    )
    parts = STRATEGIES[args.strategy](given)
    record = record_of(args, **({"scored": made} if made else {}))
    save_parts(args.out, parts, record, args.overwrite)
    show(args.out, parts)


def _types(text: Optional[str]) -> Optional[tuple[str, ...]]:
    """The types of --types, each once and in their order; None where it is not given."""
    if text is None:
        return None
    types = tuple(dict.fromkeys(text.split(",")))
    if "" in types:
        raise LotteryError(
            f"--types {text!r} has an empty name; give some as enc_self,enc_dec, or do without it"
        )
    return types


def close(args: argparse.Namespace) -> None:
    """Write a trained model with the parts of a choice closed."""
    show(args.out, close_checkpoint(args.file, args.parts, args.out, args.overwrite))


def compare(args: argparse.Namespace) -> None:
    """Agreement of choices, or of two measures."""
    types = _types(args.types)
    if all(is_scores(path) for path in args.files):
        if types is not None:
            raise LotteryError("--types is about choices; do without it for files of scores")
        if len(args.files) != 2:
            raise LotteryError(f"two files of scores are compared, and {len(args.files)} are given")
        first, second = (load_scores(path)[1] for path in args.files)
        found: Any = rank_agreement(first, second, args.kind)
    else:
        found = agreement([load_parts(path)[0] for path in args.files], args.kind, types)
    if args.json:
        plain = {k: None if v != v else v for k, v in asdict(found).items()}
        print(json.dumps(plain, indent=2))
        return
    for name, value in asdict(found).items():
        print(f"{name:>12}  {value:.4f}" if isinstance(value, float) else f"{name:>12}  {value}")

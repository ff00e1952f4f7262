"""Steps that run no model: make a choice, prune it, and compare choices or measures."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_source
from fairseq_lottery.heads.choices.head_roles import HeadRole, load_role
from fairseq_lottery.heads.choices.kept_counts import keep_counts, read_counts
from fairseq_lottery.heads.choices.stability import agreement
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.choices.survivors import combine as combine_choices
from fairseq_lottery.heads.choices.task_agreement import TaskAgreement, task_agreement
from fairseq_lottery.heads.commands.messages import record_of, show
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice, save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.importance_steps import agreement_by_step, evolution
from fairseq_lottery.heads.measures.rank_agreement import rank_agreement
from fairseq_lottery.heads.measures.score_table import is_scores, load_scores
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of
from fairseq_lottery.heads.pruning.pruned_checkpoint import prune_components
from fairseq_lottery.heads.searches.importance_file import (
    is_importance_steps,
    load_importance_steps,
)
from fairseq_lottery.options.axes import STRATEGY


def choose(args: argparse.Namespace) -> None:
    """Choose components to prune, by a strategy."""
    STRATEGY.refuse_unknown(args.strategy)
    _refuse_other_flags(args)
    scores = score_record = None
    if args.scores:
        anatomy, scores, score_record = load_scores(args.scores)
    else:
        anatomy = anatomy_of(read_source(args.of))
    mode = "uniform" if args.uniform else "zero"
    start = load_choice(args.components)[0] if args.components else ComponentMask(anatomy, {}, mode)
    if start.anatomy != anatomy:
        raise LotteryError(
            f"--components {args.components} is for another model than {args.scores or args.of}"
        )
    if args.uniform and start.mode != "uniform":
        raise LotteryError(
            f"pruned heads of --components {args.components} output zero; leave --uniform out"
        )
    types = _types(args.types)
    role = _role(args, anatomy)
    inputs = StrategyInput(
        start, args.kind, args.share, args.count, types, scores, args.seed, args.at_least, role
    )
    if args.keep:
        for name in ("share", "count", "types", "at_least"):
            if getattr(args, name):
                flag = "--" + name.replace("_", "-")
                raise LotteryError(f"--keep excludes {flag}; leave {flag} out")
        components = keep_counts(inputs, read_counts(args.keep), args.strategy)
    else:
        components = STRATEGIES[args.strategy](inputs)
    record = record_of(args, **({"scored": score_record} if score_record else {}))
    save_choice(args.out, components, record, args.overwrite)
    show(args.out, components)


def _refuse_other_flags(args: argparse.Namespace) -> None:
    """Refuse flags of the strategy role with another strategy, and the strategy without them."""
    given = [args.role, args.without_role]
    if args.strategy == "role" and (args.roles is None or given.count(None) != 1):
        raise LotteryError("--strategy role requires --roles, and --role or --without-role")
    if args.strategy != "role" and (args.roles is not None or given != [None, None]):
        raise LotteryError("--roles, --role and --without-role require --strategy role")


def _role(args: argparse.Namespace, anatomy: Anatomy) -> Optional[HeadRole]:
    """Return the role by which heads are pruned; None for other strategies."""
    if args.roles is None:
        return None
    return load_role(args.roles, args.role or args.without_role, anatomy, args.role is not None)


def _types(text: Optional[str]) -> Optional[tuple[str, ...]]:
    """Return the types of --types, each once and in their order; None without the flag."""
    if text is None:
        return None
    types = tuple(dict.fromkeys(text.split(",")))
    if "" in types:
        raise LotteryError(
            f"--types {text!r} has an empty name; give names such as enc_self,enc_dec, or leave it"
            " out"
        )
    return types


def combine(args: argparse.Namespace) -> None:
    """Write a choice that keeps the survivors of several choices."""
    choices = [load_choice(path)[0] for path in args.files]
    types = _types(args.types)
    components = combine_choices(
        choices, args.survivors, args.kind, types, args.share, args.count, args.seed
    )
    record = record_of(args, digests=[choice.digest() for choice in choices])
    save_choice(args.out, components, record, args.overwrite)
    show(args.out, components)


def prune(args: argparse.Namespace) -> None:
    """Write a trained model with the components of a choice pruned."""
    show(args.out, prune_components(args.file, args.components, args.out, args.overwrite))


def compare(args: argparse.Namespace) -> None:
    """Print the agreement of choices, of two measures, or of the importance in searches."""
    types = _types(args.types)
    tasks = _tasks(args.files)
    if tasks is not None:
        choices = {task: [load_choice(p)[0] for p in paths] for task, paths in tasks.items()}
        _print_tasks(task_agreement(choices, args.kind, types), args.json)
        return
    if all(is_importance_steps(path) for path in args.files):
        if types is not None:
            raise LotteryError("--types applies to choices; leave it out for importance")
        _compare_searches(args.files, args.kind, args.json)
        return
    if all(is_scores(path) for path in args.files):
        if types is not None:
            raise LotteryError("--types applies to choices; leave it out for files of scores")
        if len(args.files) != 2:
            raise LotteryError(f"expected two files of scores, not {len(args.files)}")
        first, second = (load_scores(path)[1] for path in args.files)
        result: Any = rank_agreement(first, second, args.kind)
    else:
        result = agreement([load_choice(path)[0] for path in args.files], args.kind, types)
    if args.json:
        print(json.dumps(_plain(result), indent=2))
        return
    for name, value in asdict(result).items():
        print(f"{name:>12}  {value:.4f}" if isinstance(value, float) else f"{name:>12}  {value}")


def _tasks(files: Sequence[str]) -> Optional[dict[str, list[str]]]:
    """Return task -> its files, of arguments TASK=FILE; None if no argument names a task."""
    tasks: dict[str, list[str]] = {}
    for text in files:
        task, equals, path = text.partition("=")
        if equals and "/" not in task and not os.path.exists(text):
            tasks.setdefault(task, []).append(path)
    if not tasks:
        return None
    if sum(map(len, tasks.values())) < len(files) or len(tasks) < 2:
        raise LotteryError("give every choice as TASK=FILE, of at least two tasks, or none")
    return tasks


def _print_tasks(result: TaskAgreement, as_json: bool) -> None:
    if as_json:
        within = {task: _plain(one) for task, one in result.within.items()}
        print(
            json.dumps({"within": within, "between": list(map(_plain, result.between))}, indent=2)
        )
        return
    names = {name for one in result.between for name in (one.first, one.second)}
    width = max(map(len, names))
    print(f"{'within':<{2 * width + 2}}   kappa   alpha  jaccard  chance       p  all keep")
    for task, one in result.within.items():
        print(
            f"{task:<{2 * width + 2}}  {one.kappa:>6.3f}  {one.alpha:>6.3f}  {one.jaccard:>7.3f}"
            f"  {one.chance:>6.3f}  {one.jaccard_p:>6.4f}  {one.intersection:>8}"
        )
    print("between")
    for pair in result.between:
        print(
            f"{pair.first:<{width}}  {pair.second:<{width}}{'':16}  {pair.jaccard:>7.3f}"
            f"  {pair.chance:>6.3f}  {pair.jaccard_p:>6.4f}  {pair.shared:>8}"
        )


def _compare_searches(files: Sequence[str], kind: str, as_json: bool) -> None:
    """Print each search's importance against its first step, and all searches' at each step."""
    searches = [load_importance_steps(path) for path in files]
    tables = {path: evolution(one, kind) for path, one in zip(files, searches)}
    if len(searches) > 1:
        tables["all"] = agreement_by_step(searches, kind)
    if as_json:
        plain = {name: [_plain(step) for step in steps] for name, steps in tables.items()}
        print(json.dumps(plain, indent=2))
        return
    for name, steps in tables.items():
        title = f"the {len(files)} searches with each other" if name == "all" else name
        print(f"{title}\n  step  {kind + ' kept':>14}  compared  spearman  kendall")
        for step in steps:
            kept = ",".join(map(str, step.kept))
            print(
                f"  {step.step:>4}  {kept:>14}  {step.components:>8g}  {step.spearman:>8.4f}"
                f"  {step.kendall:>7.4f}"
            )


def _plain(result: Any) -> dict[str, Any]:
    """Return a dataclass as JSON stores it, with null for NaN."""
    return {name: None if value != value else value for name, value in asdict(result).items()}

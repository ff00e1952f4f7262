"""Evaluate the models on the line between two checkpoints: linear mode connectivity.

With the folder of a run instead of two checkpoints, do so for all children of one update that were
trained in several orders of the examples (instability analysis).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from fairseq_lottery.analysis.command_output import add_output, deliver, refuse_output
from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import refuse_missing

if TYPE_CHECKING:
    from fairseq_lottery.analysis.registry import Row
    from fairseq_lottery.analysis.weights.connectivity import Connection

EXAMPLE = "fairseq-lottery connect child1/checkpoint_last.pt child2/checkpoint_last.pt"
REQUIRES = ("torch", "numpy", "safetensors", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``connect``."""
    add = parser.add_argument
    add("a", metavar="CHECKPOINT_A", help="checkpoint, compact file, ticket or snapshot; or the"
        " folder of a run, alone")  # fmt: skip
    add("b", metavar="CHECKPOINT_B", nargs="?", help="second file, of the same architecture")
    add("--data", metavar="FOLDER", help="data folder (that of the first training)")
    add("--subset", default="valid", help="subset of the data (valid)")
    add("--points", type=int, default=11, metavar="N", help="number of points on the line, with"
        " both ends (11)")  # fmt: skip
    add("--sentences", type=int, metavar="N", help="number of sentences, evenly spread (all)")
    add("--join-masks", action="store_true", help="accept different masks; points between the"
        " models keep the weights that either mask keeps")  # fmt: skip
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--cpu", action="store_true", help="do not use a GPU")
    add_output(parser)
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate the line, and print its points and barriers."""
    refuse_output(args)
    refuse_missing(*([args.a, args.b] if args.b is not None else []))
    if args.b is None and not Path(args.a).is_dir():
        raise LotteryError(
            f"{args.a} is not a folder of a run; give a second checkpoint, or such a folder"
        )
    import fairseq  # noqa: F401 - before the plugin, which registers with it
    from tqdm import tqdm

    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.results import Results
    from fairseq_lottery.analysis.weights.connectivity import connect

    with tqdm(unit=" sentences", disable=None) as bar:

        def connection(a: object, b: object) -> Connection:
            return connect(
                str(a), str(b), args.data, args.subset, args.points, args.sentences,
                args.max_tokens, args.cpu, args.join_masks, bar.update,
            )  # fmt: skip

        if args.b is None:
            pairs, rows, lines = _all_children(args.a, connection)
        else:
            one = connection(args.a, args.b)
            pairs, rows = [_facts(one, args.a, args.b)], list(one.rows())
            lines = _line(one, args.subset)
    results = Results("connect", {"subset": args.subset, "pairs": pairs}, rows)
    deliver(results, args, lines)


def _facts(connection: Connection, a: object, b: object) -> dict[str, Any]:
    return {
        "files": [str(a), str(b)], "weights": list(connection.digests),
        "examples": connection.examples, "tokens": connection.tokens, "masks": connection.masks,
    }  # fmt: skip


def _line(connection: Connection, subset: str) -> list[str]:
    """Return the points and the barriers of one pair as text."""
    lines = connection.lines
    text = ["  ".join(["alpha", *(f"{name:>8}" for name in lines)])]
    for alpha, *values in zip(connection.loss.alphas, *(line.values for line in lines.values())):
        text.append("  ".join([f"{alpha:5.2f}", *(f"{value:8.4f}" for value in values)]))
    for name, line in lines.items():
        unit = "nats per token" if name == "loss" else "of tokens wrong"
        text.append(
            f"barrier of the {name}: {line.barrier:.4f} {unit} (highest at alpha {line.top:.2f}),"
            f" {line.bump:.4f} above the straight line between the ends"
        )
    counts = f"{connection.examples} examples of {subset}, {connection.tokens} tokens"
    return [*text, f"{counts}; masks: {connection.masks}"]


def _all_children(
    folder: str, connection: Callable[[object, object], Connection]
) -> tuple[list[dict[str, Any]], list[Row], list[str]]:
    """Return facts, rows and text of all pairs of children in a folder."""
    from fairseq_lottery.analysis.weights.children import find_children

    pairs: list[dict[str, Any]] = []
    rows: list[Row] = []
    text = ["  update  sparsity  seed  orders  loss barrier     bump  error barrier     bump"]
    for one in find_children(folder):
        for orders in one.pairs:
            a, b = (one.models[order] for order in orders)
            between = connection(a, b)
            place = {"update": one.update, "sparsity": one.sparsity, "seed": one.seed}
            pairs.append({**place, "orders": list(orders), **_facts(between, a, b)})
            rows += [{**one.columns(orders), **row} for row in between.rows()]
            cells = [
                f"{one.update:8}", f"{one.sparsity:8g}", f"{one.seed:4}",
                f"{f'{orders[0]}, {orders[1]}':>6}", f"{between.loss.barrier:12.4f}",
                f"{between.loss.bump:7.4f}",
            ]  # fmt: skip
            if between.error is not None:
                cells += [f"{between.error.barrier:13.4f}", f"{between.error.bump:7.4f}"]
            text.append("  ".join(cells))
    return pairs, rows, text

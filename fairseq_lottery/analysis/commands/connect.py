"""Evaluate the models on the line between two checkpoints: linear mode connectivity."""

import argparse
from pathlib import Path

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import refuse_missing

EXAMPLE = "fairseq-lottery connect child1/checkpoint_last.pt child2/checkpoint_last.pt"
REQUIRES = ("torch", "numpy", "safetensors", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``connect``."""
    add = parser.add_argument
    add("a", metavar="CHECKPOINT_A", help="checkpoint, compact file, ticket or snapshot")
    add("b", metavar="CHECKPOINT_B", help="second file, of the same architecture")
    add("--data", metavar="FOLDER", help="data folder (that of the first training)")
    add("--subset", default="valid", help="subset of the data (valid)")
    add("--points", type=int, default=11, metavar="N", help="number of points on the line, with"
        " both ends (11)")  # fmt: skip
    add("--sentences", type=int, metavar="N", help="number of sentences, evenly spread (all)")
    add("--join-masks", action="store_true", help="accept different masks; points between the"
        " models keep the weights that either mask keeps")  # fmt: skip
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--json", action="store_true", help="print line and barriers as JSON")
    add("--out", type=Path, metavar="DIR", help="write line and barriers into a new folder")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate the line, and print its points and barriers."""
    refuse_missing(args.a, args.b)
    if args.out is not None and args.out.exists():
        raise LotteryError(f"{args.out} exists already; remove it or choose another name")
    import fairseq  # noqa: F401 - before the plugin, which registers with it
    from tqdm import tqdm

    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.results import Results
    from fairseq_lottery.analysis.weights.connectivity import connect

    with tqdm(unit=" sentences", disable=None) as bar:
        connection = connect(
            args.a, args.b, args.data, args.subset, args.points, args.sentences,
            args.max_tokens, args.cpu, args.join_masks, bar.update,
        )  # fmt: skip
    inputs = {
        "files": [str(args.a), str(args.b)], "weights": list(connection.digests),
        "subset": args.subset, "examples": connection.examples, "tokens": connection.tokens,
        "masks": connection.masks,
    }  # fmt: skip
    results = Results("connect", inputs, list(connection.rows()))
    if args.out is not None:
        results.save(args.out)
    if args.json:
        print(results.as_json())
        return
    lines = connection.lines
    print("  ".join(["alpha", *(f"{name:>8}" for name in lines)]))
    for alpha, *values in zip(connection.loss.alphas, *(line.values for line in lines.values())):
        print("  ".join([f"{alpha:5.2f}", *(f"{value:8.4f}" for value in values)]))
    for name, line in lines.items():
        unit = "nats per token" if name == "loss" else "of tokens wrong"
        print(
            f"barrier of the {name}: {line.barrier:.4f} {unit} (highest at alpha {line.top:.2f}),"
            f" {line.bump:.4f} above the straight line between the ends"
        )
    print(
        f"{connection.examples} examples of {args.subset}, {connection.tokens} tokens; masks:"
        f" {connection.masks}"
    )

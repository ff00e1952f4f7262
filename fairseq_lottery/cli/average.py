"""Average checkpoints of one run; keeps the mask, and refuses to mix masks."""

import argparse

EXAMPLE = "fairseq-lottery average slt50/ --last 5 --out slt50/averaged.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, or a folder and how many of its last checkpoints."""
    parser.add_argument("inputs", nargs="+", help="checkpoints, or one save-dir with --last")
    parser.add_argument("--last", type=int, metavar="N", help="the N latest of the folder")
    parser.add_argument("--out", required=True, metavar="FILE", help="checkpoint to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    """Average and write."""
    from fairseq_lottery.environment import require

    for package in ("torch", "numpy", "safetensors"):
        require(package)
    from fairseq_lottery.tickets.average import average, last_checkpoints

    paths = last_checkpoints(args.inputs, args.last) if args.last is not None else args.inputs
    average(paths, args.out, overwrite=args.overwrite)
    print(f"{args.out}: the mean of {', '.join(map(str, paths))}")

"""Average checkpoints of one run under their common mask; reject those whose masks differ."""

import argparse

EXAMPLE = "fairseq-lottery average slt50/ --last 5 --out slt50/averaged.pt"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``average``."""
    parser.add_argument("inputs", nargs="+", help="checkpoints, or one save-dir with --last")
    parser.add_argument(
        "--last", type=int, metavar="N", help="average the N latest checkpoints of the folder"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="checkpoint to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")


def run(args: argparse.Namespace) -> None:
    """Write the average, and print which checkpoints were averaged."""
    from fairseq_lottery.tickets.average import average, last_checkpoints

    paths = last_checkpoints(args.inputs, args.last) if args.last is not None else args.inputs
    average(paths, args.out, overwrite=args.overwrite)
    print(f"{args.out}: the mean of {', '.join(map(str, paths))}")

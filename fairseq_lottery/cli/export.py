"""Write a checkpoint that any plain fairseq loads, or any file of ours as small as can be.

--to dense (the default) gives a checkpoint without this plugin's parts, also of a compact one.
--to compact takes checkpoints, tickets and snapshots; docs/format.md says how they are coded.
"""

import argparse

EXAMPLE = "fairseq-lottery export slt50/checkpoint_best.pt --out slt50.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A file in, a file out."""
    parser.add_argument("file", help="checkpoint, ticket, snapshot or compact file")
    parser.add_argument("--to", choices=("dense", "compact"), default="dense", help="(dense)")
    parser.add_argument(
        "--round", choices=("fp16", "bf16"), dest="round_to", help="with --to compact: lossy"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    """Convert, and say how large the result is."""
    from fairseq_lottery.environment import require

    require("torch", "numpy", "safetensors", "zstandard", "fairseq")
    import fairseq  # noqa: F401 - loaded first, so that the plugin registers

    from fairseq_lottery.tasks.export import export

    export(args.file, args.out, args.to, args.round_to, overwrite=args.overwrite)
    if args.out.endswith(".safetensors"):
        from fairseq_lottery.tickets.inspection import inspect_file
        from fairseq_lottery.tickets.size import line

        print(f"{args.out}: {line(inspect_file(args.out))}")
    else:
        print(f"{args.out}: loads with plain fairseq, without --user-dir")

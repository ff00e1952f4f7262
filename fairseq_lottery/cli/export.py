"""Write a checkpoint that any plain fairseq loads, without this plugin."""

import argparse

EXAMPLE = "fairseq-lottery export slt50/checkpoint_best.pt --out slt50.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A checkpoint in, a checkpoint out."""
    parser.add_argument("checkpoint", help="trained with --task translation_lottery")
    parser.add_argument("--out", required=True, metavar="FILE", help="checkpoint to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    """Strip what only this plugin knows and write the rest."""
    from fairseq_lottery.environment import require

    for package in ("torch", "numpy", "safetensors", "fairseq"):
        require(package)
    import fairseq  # noqa: F401 - loaded first, so that the plugin registers

    from fairseq_lottery.tasks.export import export

    export(args.checkpoint, args.out, overwrite=args.overwrite)
    print(f"{args.out}: loads with plain fairseq, without --user-dir")

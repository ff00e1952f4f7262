"""Compare the masks that are drawn along a training, to find early-bird tickets."""

import argparse
from pathlib import Path

from fairseq_lottery.analysis.command_output import add_output, deliver, refuse_output
from fairseq_lottery.cli.user_module import add_user_dir, import_user_module

EXAMPLE = "fairseq-lottery early-bird dense --sparsity 0.7"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``early-bird``."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder of a training, with snapshots or"
        " checkpoints of several updates")  # fmt: skip
    add("--sparsity", type=float, required=True, metavar="SHARE", help="share of the prunable"
        " weights that each mask prunes")  # fmt: skip
    add("--scope", default="layer", help="weights that are ranked together: layer,"
        " global, uniform or erk (layer)")  # fmt: skip
    add("--prunable", default="all-matrices", metavar="NAME", help="matrices that may be pruned"
        " (all-matrices)")  # fmt: skip
    add("--epsilon", type=float, default=0.1, metavar="SHARE", help="largest distance between the"
        " masks of an early-bird ticket (0.1)")  # fmt: skip
    add("--masks", type=int, default=5, metavar="N", help="number of successive masks that must be"
        " close (5)")  # fmt: skip
    add_output(parser)
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the distance of each mask to the one before it and to the last one."""
    from fairseq_lottery.errors import LotteryError

    if args.masks < 2:
        raise LotteryError(f"--masks {args.masks} compares nothing; give at least 2")
    refuse_output(args)
    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.results import Results
    from fairseq_lottery.analysis.weights.early_bird import (
        all_distances,
        distance_rows,
        draw_along,
        first_early_bird,
    )

    drawn = draw_along(args.folder, args.sparsity, args.scope, args.prunable)
    rows = list(distance_rows(drawn, args.sparsity))
    number = first_early_bird(all_distances([one.mask for one in drawn]), args.epsilon, args.masks)
    early_bird = None if number is None else drawn[number].update
    inputs = {
        "folder": str(args.folder), "scope": args.scope, "prunable": args.prunable,
        "epsilon": args.epsilon, "masks": args.masks, "early_bird": early_bird,
    }  # fmt: skip
    results = Results("early-bird", inputs, rows)
    values = {(row["component"], row["statistic"]): row["value"] for row in rows}
    lines = [f"{'update':>8}  {'previous':>8}  {'last':>8}  {'by chance':>9}"]
    for one in drawn:
        cells = [values.get((one.update, name)) for name in ("previous", "last", "expected")]
        texts = ["-" if cell is None else f"{cell:.4f}" for cell in cells]
        lines.append(f"{one.update:>8}  {texts[0]:>8}  {texts[1]:>8}  {texts[2]:>9}")
    found = "none" if early_bird is None else f"the mask of update {early_bird}"
    lines.append(f"early-bird ticket ({args.masks} masks within {args.epsilon:g}): {found}")
    deliver(results, args, lines)

"""Compare the masks of two files: print the overlap of their kept weights, against chance."""

import argparse
import json

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError

EXAMPLE = "fairseq-lottery compare slt50.safetensors random50.safetensors"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``compare``."""
    parser.add_argument("a", help="ticket, checkpoint or snapshot")
    parser.add_argument("b", help="second file, of the same architecture")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the Jaccard index of the survivors of each matrix and of all matrices."""
    import_user_module(args.user_dir)
    from fairseq_lottery.formats import read_source
    from fairseq_lottery.masks import overlap

    masks = []
    for path in (args.a, args.b):
        mask = read_source(path).mask
        if mask is None:
            raise LotteryError(f"{path} is dense and has no mask; give a pruned model or a ticket")
        masks.append(mask)
    rows = overlap(*masks)
    if args.json:
        named = {name or "all": {"overlap": r[0], "chance": r[1]} for name, r in rows.items()}
        print(json.dumps({"same": masks[0] == masks[1], "matrices": named}, indent=2))
        return
    print(f"{'matrix':<52} {'overlap':>8} {'chance':>8}")
    for name, (jaccard, chance) in rows.items():
        print(f"{name or 'all matrices':<52} {jaccard:>8.4f} {chance:>8.4f}")
    print("overlap: weights that both keep / weights that either keeps; chance: independent masks")
    if masks[0] == masks[1]:
        print("the two masks are the same")

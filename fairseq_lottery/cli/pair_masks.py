"""Join masks of pairs of languages in one file, for a multilingual model.

Each pair is trained and translated under its own mask, and all share their weights. A family of
pairs may share a mask. Without --out, the masks of a file are compared only.
"""

import argparse
import json
from typing import TYPE_CHECKING

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from fairseq_lottery.masks import PairMasks

EXAMPLE = """fairseq-lottery pair-masks --out masks.safetensors en-de=en-de.safetensors \\
      en-fr=en-fr.safetensors de-en,fr-en=to-en.safetensors
  fairseq-lottery pair-masks masks.safetensors"""
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pair-masks``."""
    add = parser.add_argument
    add("masks", nargs="+", metavar="PAIRS=FILE", help="pairs of languages, with commas, and a"
        " ticket, checkpoint or snapshot with their mask; or one file of this command")  # fmt: skip
    add("--out", metavar="FILE", help="file to write, as .safetensors")
    add("--json", action="store_true", help="print JSON instead of tables")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Write the masks, and print the sparsity of each and the overlap of every two."""
    import_user_module(args.user_dir)
    from fairseq_lottery.formats.pair_masks import load_pair_masks, save_pair_masks

    if "=" in args.masks[0]:
        masks = _join(args.masks)
    elif len(args.masks) == 1 and not args.out:
        masks = load_pair_masks(args.masks[0])
    else:
        raise LotteryError(
            f"{args.masks[0]} names no pairs; give PAIRS=FILE, for instance"
            " en-de,en-nl=t.safetensors, or one file of pair-masks without --out"
        )
    if args.out:
        if not args.out.endswith(".safetensors"):
            raise LotteryError(f"--out {args.out} must end in .safetensors; rename it")
        save_pair_masks(args.out, masks, args.overwrite)
    sparsities = {pair: mask.sparsity for pair, mask in masks.items()}
    rows = list(masks.similarities())
    if args.json:
        named = [dict(zip(("first", "second", "overlap", "chance"), row)) for row in rows]
        content = {"pairs": sparsities, "union": masks.union.sparsity, "similarities": named}
        print(json.dumps(content, indent=2))
        return
    print(f"{'pair':<24} {'sparsity':>9}")
    for pair, sparsity in {**sparsities, "all together": masks.union.sparsity}.items():
        print(f"{pair:<24} {sparsity:>9.4f}")
    print(f"\n{'two pairs':<24} {'overlap':>9} {'chance':>9}")
    for first, second, jaccard, chance in rows:
        print(f"{f'{first} {second}':<24} {jaccard:>9.4f} {chance:>9.4f}")
    print("overlap: weights that both keep / weights that either keeps; chance: independent masks")


def _join(arguments: list[str]) -> "PairMasks":
    """Return the masks of ``PAIRS=FILE`` arguments."""
    from fairseq_lottery.formats import read_source
    from fairseq_lottery.masks import PairMasks

    by_pair = {}
    for argument in arguments:
        pairs, equals, path = argument.partition("=")
        if not equals or not pairs or not path:
            raise LotteryError(
                f"{argument} names no pairs; give PAIRS=FILE, for instance"
                " en-de,en-nl=t.safetensors"
            )
        mask = read_source(path).mask
        if mask is None:
            raise LotteryError(f"{path} is dense and has no mask; give a pruned model or a ticket")
        for pair in pairs.split(","):
            if pair in by_pair:
                raise LotteryError(f"the pair {pair} is given twice; give it once")
            by_pair[pair] = mask
    return PairMasks(by_pair)

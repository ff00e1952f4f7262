"""Join masks of pairs of languages in one file, for a multilingual model.

Each pair is trained and translated under its own mask, and all share their weights. A family of
pairs may share a mask. With --sparsity, each mask is drawn from the weights of its file. Without
--out, the masks of a file are compared only.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import model_file, refuse_missing, refuse_target
from fairseq_lottery.options import DRAW, Prunable, Ranking, Seed, add_flags, options, values
from fairseq_lottery.options.nm_pattern import Pattern

if TYPE_CHECKING:
    from fairseq_lottery.masks import Mask, PairMasks

EXAMPLE = """fairseq-lottery pair-masks --out masks.safetensors en-de=en-de.safetensors \\
      en-fr=en-fr.safetensors de-en,fr-en=to-en.safetensors
  fairseq-lottery pair-masks --sparsity 0.3 --out drawn.safetensors \\
      en-de=en-de/checkpoint_last.pt en-fr=en-fr/checkpoint_last.pt
  fairseq-lottery pair-masks masks.safetensors"""
#: options of draws that apply to the masks of all pairs
_DRAWN = (Ranking, Prunable, Seed)
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pair-masks``."""
    add = parser.add_argument
    add("masks", nargs="+", metavar="PAIRS=FILE", help="pairs of languages, with commas, and a"
        " ticket, checkpoint or snapshot with their mask; or one file of this command")  # fmt: skip
    add("--sparsity", type=float, metavar="SHARE", help="draw each mask from the weights of its"
        " file, and prune this share; not needed with a scope N:M")  # fmt: skip
    add("--start-from", metavar="FILE", help="start weights, for scores that need them")
    add_flags(parser, *_DRAWN, place=DRAW)
    add("--out", metavar="FILE", help="file to write, as .safetensors")
    add("--json", action="store_true", help="print JSON instead of tables")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Write the masks, and print the sparsity of each and the overlap of every two."""
    import_user_module(args.user_dir)
    from fairseq_lottery.formats.pair_masks import load_pair_masks, save_pair_masks

    is_file = len(args.masks) == 1 and "=" not in args.masks[0]
    groups = {}
    if not is_file or args.out or args.sparsity is not None:
        groups = _groups(args.masks)
        refuse_missing(*map(model_file, (*groups.values(), args.start_from)))
    if args.out:
        if not args.out.endswith(".safetensors"):
            raise LotteryError(f"--out {args.out} must end in .safetensors; rename it")
        refuse_target(args.out, args.overwrite)
    if groups:
        masks = _join(args, groups)
    else:
        _refuse_draw_options(args)
        masks = load_pair_masks(args.masks[0])
    if args.out:
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


def _groups(arguments: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Return pairs of languages -> file of their mask, from ``PAIRS=FILE``."""
    groups: dict[tuple[str, ...], str] = {}
    known: set[str] = set()
    for argument in arguments:
        names, _, path = argument.partition("=")
        if not names or not path:
            raise LotteryError(
                f"{argument} names no pairs; give PAIRS=FILE, for instance"
                " en-de,en-nl=t.safetensors, or one file of pair-masks without --out and"
                " --sparsity"
            )
        pairs = tuple(names.split(","))
        for pair in pairs:
            if pair in known:
                raise LotteryError(f"the pair {pair} is given twice; give it once")
            known.add(pair)
        groups[pairs] = path
    return groups


def _join(args: argparse.Namespace, groups: Mapping[tuple[str, ...], str]) -> "PairMasks":
    """Return the masks of groups of pairs: those of their files, or drawn from these."""
    from fairseq_lottery.masks import PairMasks

    is_drawn = args.sparsity is not None or Pattern.parse(args.scope) is not None
    if not is_drawn:
        _refuse_draw_options(args)
    by_pair = {}
    for pairs, path in groups.items():
        mask = _draw(args, pairs, path) if is_drawn else _read(path)
        by_pair.update(dict.fromkeys(pairs, mask))
    return PairMasks(by_pair)


def _read(path: str) -> "Mask":
    from fairseq_lottery.formats import read_source

    mask = read_source(path).mask
    if mask is None:
        raise LotteryError(
            f"{path} is dense and has no mask; give a pruned model or a ticket, or --sparsity"
        )
    return mask


def _draw(args: argparse.Namespace, pairs: Sequence[str], path: str) -> "Mask":
    """Return the mask of pairs that ``ticket --mask-from`` would draw with a seed of its own."""
    from fairseq_lottery.masks.streams import torch_seed
    from fairseq_lottery.tickets import DrawPlan
    from fairseq_lottery.tickets.draw import draw_mask

    plan = DrawPlan(
        mask_from=path,
        start_from=args.start_from,
        sparsity=args.sparsity,
        seed=torch_seed(f"pair-masks|{args.seed}|{','.join(sorted(pairs))}"),
        **values(args, Ranking, Prunable, place=DRAW),
    )
    return draw_mask(plan)


def _refuse_draw_options(args: argparse.Namespace) -> None:
    """Refuse options of draws without a draw."""
    for option in options(*_DRAWN):
        if getattr(args, option.name_in(DRAW)) != option.default_in(DRAW):
            flag = option.flag_in(DRAW)
            raise LotteryError(f"{flag} requires --sparsity; add --sparsity or omit {flag}")
    if args.start_from:
        raise LotteryError("--start-from requires --sparsity; add --sparsity or omit --start-from")

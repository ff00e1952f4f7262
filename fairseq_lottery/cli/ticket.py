"""Draw a ticket: rank trained weights, prune the lowest, reset the survivors.

The axes are independent: --score, --scope and --prunable say which weights stay, --reset
what they start from, --clock where the schedule continues.
"""

import argparse
from typing import Any, Optional

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module

EXAMPLE = (
    "fairseq-lottery ticket --mask-from dense/checkpoint_last.pt"
    " --start-from dense/snapshot_4000.safetensors --sparsity 0.5 --out slt50.safetensors"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The axes of a draw; choices are checked, and listed, by the rooms that own them."""
    add = parser.add_argument
    add("--mask-from", required=True, metavar="FILE", help="weights to rank")
    add("--start-from", metavar="FILE", help="weights that survivors go back to")
    add("--sparsity", type=float, metavar="S", help="share of the prunable weights pruned;"
        " a scope N:M says it itself")  # fmt: skip
    add("--out", required=True, metavar="FILE", help="ticket to write, as .safetensors")
    add("--score", default="magnitude", metavar="NAME", help="magnitude, magnitude-increase,"
        " movement, random, or package.module:function")  # fmt: skip
    add("--scope", default="layer", help="layer (per matrix), global, or N:M as 2:4 (N of every"
        " M weights in a row stay)")  # fmt: skip
    add("--floor", type=float, default=0.0, help="least density per matrix under global scope")
    add("--prunable", default="all-matrices", metavar="SET", help="all-matrices, no-embeddings,"
        " attention, ffn")  # fmt: skip
    add("--keep-dense", metavar="REGEX", help="parameters that stay dense")
    add("--score-file", metavar="FILE", help="safetensors with name -> scores")
    add("--mask-file", metavar="FILE", help="take the mask of this file as it is")
    add("--parts", metavar="FILE", help="close the heads and FFN units that this file closes;"
        " --sparsity is then of what stays open; without it nothing else is pruned")  # fmt: skip
    add("--gradients", metavar="FILE", help="safetensors with name -> accumulated gradient")
    add("--reset", default="rewind", metavar="NAME", help="rewind, sign, keep, random,"
        " random-sign, shuffle, shuffle-layers")  # fmt: skip
    add("--alpha", default="glorot", help="magnitude of sign resets: glorot, std, mean")
    add("--initial", metavar="FILE", help="weights at update 0, for --alpha std")
    add("--clock", default="restart", help="restart (from update 0) or rewind (on from it)")
    add("--moments", default="fresh", help="optimizer state: fresh or keep")
    add("--seed", type=int, default=1, help="of random scores and resets")
    add_user_dir(parser)
    add("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    """Draw, write, and print the signature."""
    from fairseq_lottery.environment import require
    from fairseq_lottery.files import refuse_missing

    refuse_missing(args.mask_from, args.start_from)
    for package in ("torch", "numpy", "safetensors"):
        require(package)
    from fairseq_lottery.errors import LotteryError
    from fairseq_lottery.masks import PrunableShare
    from fairseq_lottery.tickets import draw, save_ticket
    from fairseq_lottery.tickets.draw import DrawPlan

    if not args.out.endswith(".safetensors"):
        raise LotteryError(f"--out {args.out} must end in .safetensors, by which a ticket is known")
    names = [name for name in DrawPlan.__dataclass_fields__]
    plan = DrawPlan(**{name: getattr(args, name) for name in names})
    initialise = None
    if args.user_dir is not None:
        require("fairseq")
        import_user_module(args.user_dir)
    if plan.reset == "random":
        require("fairseq")
        import fairseq  # noqa: F401 - loaded first, so that the plugin registers

        from fairseq_lottery.tasks import initial_weights

        initialise = initial_weights
    ticket = draw(plan, initialise)
    save_ticket(args.out, ticket, overwrite=args.overwrite)
    for name in _emptied(ticket, args.parts) if plan.scope == "global" else ():
        print(f"warning: {name} has no weight left; a global scope wants a --floor")
    if not ticket.record["masters"]:
        print("warning: half-precision weights without fp32 masters: ranks have ties")
    share = PrunableShare.of(ticket.mask, ticket.values)
    if share.is_small:
        print(f"warning: {share}")
    print(f"{args.out}: {ticket.mask.pruned} of {ticket.mask.prunable} weights pruned")
    print(ticket.record["signature"])


def _emptied(ticket: Any, parts: Optional[str]) -> list[str]:
    """Matrices without a weight left, but for those that a choice of parts closes whole."""
    from fairseq_lottery.structured import load_parts, pruned_by

    shapes = {name: tuple(keep.shape) for name, keep in ticket.mask.items()}
    closed = pruned_by(load_parts(parts)[0], shapes) if parts else {}
    return [
        name
        for name in ticket.mask
        if ticket.mask.sparsity_of(name) == 1 and (name not in closed or closed[name].any())
    ]

"""Draw a ticket: rank trained weights, prune the lowest, reset the survivors.

The options are independent: --score, --scope and --prunable select the kept weights, --reset their
initial values, and --update-counter the update at which training starts.
"""

import argparse
from typing import Any, Optional

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import (
    DRAW,
    MaskControl,
    Prunable,
    Ranking,
    Reset,
    ScoreRounds,
    Seed,
    Sources,
    add_flags,
    options,
)

_GROUPS = (Sources, Ranking, ScoreRounds, Prunable, Reset, MaskControl, Seed)

EXAMPLE = (
    "fairseq-lottery ticket --mask-from dense/checkpoint_last.pt"
    " --start-from dense/snapshot_4000.safetensors --sparsity 0.5 --out slt50.safetensors"
)
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ticket``."""
    add_flags(parser, *_GROUPS, place=DRAW)
    add = parser.add_argument
    add("--out", required=True, metavar="FILE", help="ticket to write, as .safetensors")
    add_user_dir(parser)
    add("--overwrite", action="store_true", help="replace --out if it exists")


def run(args: argparse.Namespace) -> None:
    """Draw and write the ticket, and print its signature."""
    from fairseq_lottery.files import model_file, refuse_missing

    refuse_missing(model_file(args.mask_from), model_file(args.start_from))
    from fairseq_lottery.formats import save_ticket
    from fairseq_lottery.masks import PrunableShare, collapse_of
    from fairseq_lottery.masks.distributions import dense_note
    from fairseq_lottery.saliency import SALIENCIES
    from fairseq_lottery.tickets import DrawPlan, draw

    if not args.out.endswith(".safetensors"):
        raise LotteryError(f"--out {args.out} must end in .safetensors; rename it")
    names = [option.name for option in options(*_GROUPS)]
    plan = DrawPlan(**{name: getattr(args, name) for name in names})
    initialise = find_mask = None
    import_user_module(args.user_dir)
    reads_model = plan.score in SALIENCIES and not SALIENCIES[plan.score].needs_data
    if plan.reset == "random" or reads_model:
        require("fairseq")
        import fairseq  # noqa: F401 - before the plugin, which registers its parts with it

        from fairseq_lottery.inference.flow_mask import find_flow_mask
        from fairseq_lottery.inference.model_builder import initial_weights

        initialise, find_mask = initial_weights, find_flow_mask
    ticket = draw(plan, initialise, find_mask=find_mask)
    save_ticket(args.out, ticket, overwrite=args.overwrite)
    collapse = collapse_of(_emptied_matrices(ticket, args.components))
    if collapse:
        print(f"warning: {collapse}")
    note = dense_note(str(ticket.record.get("scope")), ticket.mask)
    if note:
        print(f"note: {note}")
    if not ticket.record["masters"]:
        print("warning: half-precision weights without fp32 masters; scores may be equal")
    share = PrunableShare.of(ticket.mask, ticket.values)
    if share.is_small:
        print(f"warning: {share}")
    print(f"{args.out}: {ticket.mask.pruned} of {ticket.mask.prunable} weights pruned")
    print(ticket.record["signature"])


def _emptied_matrices(ticket: Any, choice: Optional[str]) -> list[str]:
    """Return the matrices without survivors, except those that a choice prunes completely."""
    from fairseq_lottery.heads.components.choice_file import load_choice
    from fairseq_lottery.heads.components.pruned_weights import weight_masks
    from fairseq_lottery.masks import shapes_of

    shapes = shapes_of(ticket.mask)
    components = weight_masks(load_choice(choice)[0], shapes) if choice else {}
    return [
        name
        for name in ticket.mask
        if ticket.mask.sparsity_of(name) == 1 and (name not in components or components[name].any())
    ]

"""Models with parts closed, or weights pruned, and nothing trained: what a choice does by itself.

Run in the training's environment as ``python -m fairseq_lottery.heads.workflow.close_stage``.
"""

from __future__ import annotations

import argparse

from fairseq_lottery.errors import one_sentence
from fairseq_lottery.heads.closing.closed_checkpoint import close_checkpoint, prune_checkpoint


def main(argv: list[str] | None = None) -> None:
    """Close the same parts in some models, or prune the same weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--parts")
    what.add_argument("--mask")
    parser.add_argument(
        "--close", nargs=2, action="append", required=True, metavar=("MODEL", "OUT")
    )
    args = parser.parse_args(argv)
    for model, out in args.close:
        if args.mask is not None:
            prune_checkpoint(model, args.mask, out, overwrite=True)
        else:
            close_checkpoint(model, args.parts, out, overwrite=True)


if __name__ == "__main__":
    with one_sentence():
        main()

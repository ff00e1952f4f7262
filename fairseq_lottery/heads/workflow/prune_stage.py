"""Prune the components of a choice, or the weights of a mask, in trained models.

A stage runs it in the training's environment as
``python -m fairseq_lottery.heads.workflow.prune_stage``.
"""

from __future__ import annotations

import argparse

from fairseq_lottery.errors import one_sentence
from fairseq_lottery.heads.pruning.pruned_checkpoint import prune_components, prune_weights


def main(argv: list[str] | None = None) -> None:
    """Prune each model by the same choice or mask."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--components")
    source.add_argument("--mask")
    parser.add_argument(
        "--prune", nargs=2, action="append", required=True, metavar=("MODEL", "OUT")
    )
    args = parser.parse_args(argv)
    for model, out in args.prune:
        if args.mask is not None:
            prune_weights(model, args.mask, out, overwrite=True)
        else:
            prune_components(model, args.components, out, overwrite=True)


if __name__ == "__main__":
    with one_sentence():
        main()

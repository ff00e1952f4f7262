"""Models with heads or FFN units closed and nothing trained: what a choice does by itself.

Run in the training's environment as ``python -m fairseq_lottery.workflow.stages.close``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tickets.closed import close_checkpoint
from fairseq_lottery.workflow.trainings.training import model_file


def main(argv: list[str] | None = None) -> None:
    """Close the same parts in each of a training's models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", type=Path, required=True, help="folder of the training")
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", required=True)
    args = parser.parse_args(argv)
    for model in args.models:
        file = model_file(model)
        close_checkpoint(args.of / file, args.parts, args.out / file, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except LotteryError as error:
        print(f"fairseq-lottery: {error}", file=sys.stderr)
        sys.exit(2)

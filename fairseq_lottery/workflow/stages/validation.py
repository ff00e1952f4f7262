"""Score a cell by the validation that fairseq stored in its model.

Run in the training's environment as ``python -m fairseq_lottery.workflow.stages.validation``.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.formats.source import read_checkpoint
from fairseq_lottery.records.json_files import write_lines
from fairseq_lottery.records.stage_records import SCORES
from fairseq_lottery.workflow.stages.adopt import settings_in
from fairseq_lottery.workflow.stages.selected_model import add_model_arguments, measure


def read_validation(model: Path) -> dict[str, Any]:
    """Return metric, score, signature and subset of the validation stored in a model.

    fairseq stores the metric by which it selects the best checkpoint, on the first subset of
    ``--valid-subset``, rounded to three decimals.

    Raises:
        LotteryError: the model was saved without a validation.
    """
    state = read_checkpoint(model)
    score: Any = (state.get("extra_state") or {}).get("val_loss")
    is_number = isinstance(score, (int, float)) and not isinstance(score, bool)
    if not is_number or not math.isfinite(score):
        raise LotteryError(
            f"validation in {model} is {score!r}, expected a finite number; train with"
            " --validate-interval-updates that divides --save-interval-updates"
        )
    settings = settings_in(state)
    metric = str(settings.get("best_checkpoint_metric"))
    # the criterions of this package compute the same losses as fairseq's in adopted runs
    criterion = re.sub("_lottery$", "", str(settings.get("criterion")))
    return {
        "metric": metric,
        "score": float(score),
        "signature": f"fairseq|metric:{metric}|criterion:{criterion}",
        "subset": str(settings.get("valid_subset")).split(",")[0],
    }


def main(argv: list[str] | None = None) -> None:
    """Write scores.jsonl for one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    measured = measure(args.model, args.sparsity, args.components, args.kind, args.share)
    row = read_validation(args.model)
    write_lines(args.out / SCORES, [{**row, **measured.row}])
    print(f"{row['metric']} {row['score']:.3f} {row['signature']}")


if __name__ == "__main__":
    with one_sentence():
        main()

"""Score a cell by metrics of its model on all examples of a set.

Run in the training's environment as ``python -m fairseq_lottery.workflow.stages.score_examples``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_lottery.errors import one_sentence
from fairseq_lottery.inference.loaded_model import load_for_evaluation
from fairseq_lottery.inference.scores.task_scores import measure_scores
from fairseq_lottery.records.json_files import write_lines
from fairseq_lottery.records.stage_records import SCORES
from fairseq_lottery.workflow.stages.selected_model import add_model_arguments, measure


def main(argv: list[str] | None = None) -> None:
    """Write scores.jsonl for one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--data", required=True)
    parser.add_argument("--subset", required=True)
    parser.add_argument("--metrics", nargs="+", required=True)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    measured = measure(args.model, args.sparsity, args.components, args.kind, args.share)
    loaded = load_for_evaluation(args.model, args.data, args.cpu)
    scores = measure_scores(loaded, args.subset, args.metrics)
    write_lines(args.out / SCORES, [{**score.row, **measured.row} for score in scores])
    for score in scores:
        print(f"{score.metric} {score.score:.3f} of {score.examples} examples {score.signature}")


if __name__ == "__main__":
    with one_sentence():
        main()
